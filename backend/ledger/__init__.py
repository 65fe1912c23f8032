"""The double-entry book of each project: append-only entries that sum to zero, lots, balances."""
