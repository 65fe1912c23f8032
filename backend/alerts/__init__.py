"""Alarms, exception cases a person works off, and messages to customers."""
