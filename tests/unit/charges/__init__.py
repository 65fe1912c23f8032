"""Rating of a month to date."""
