"""Proof of reconciliation."""
