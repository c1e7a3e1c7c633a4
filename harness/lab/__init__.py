"""The embedded tiny world and its models."""
