"""Is this answer right: numbers, mathematics, code."""
