"""What browsers get: pages written by hand, checked as text (no browser is needed)."""
