"""Stand-in servers of the outside world with real signatures and faults, and embedded data stores."""
