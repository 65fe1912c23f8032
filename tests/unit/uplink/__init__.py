"""Proof of the sealed uplink."""
