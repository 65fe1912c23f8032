"""Payment notices: verify, keep in the inbox, answer, nothing else."""
