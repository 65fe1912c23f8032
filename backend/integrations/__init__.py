"""Adapters to the outside: payment channels and message providers, each behind the port of its room."""
