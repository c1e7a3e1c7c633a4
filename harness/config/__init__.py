"""The schema of everything in ``conf/``, and how it is composed."""
