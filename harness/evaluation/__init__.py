"""Running cells, keeping them, and saying what they show."""
