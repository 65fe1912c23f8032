"""What the use of CLOUD meters was charged: supplies, positions, months to date, charges; credit classes."""
