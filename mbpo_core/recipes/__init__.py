"""Functions that return a complete recipe."""
