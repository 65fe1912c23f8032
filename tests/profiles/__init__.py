"""Profiles: what ships, and what is said of a wrong one."""
