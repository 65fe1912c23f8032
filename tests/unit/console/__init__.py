"""What the console calls things, held against what the backend makes."""
