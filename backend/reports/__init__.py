"""Reports and exports: what is read out of the rooms for people to take along."""
