"""The suites: pytest modules of a few lines; each names its tasks."""
