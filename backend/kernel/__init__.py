"""Shared words of every room: money, quantity, time, ids, errors, scope, unit of work, settings."""
