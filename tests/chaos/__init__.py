"""Proof machinery in small sizes, and proof that it can fail."""
