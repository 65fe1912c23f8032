"""Gateways, meters, assignments, readings and the latest state."""
