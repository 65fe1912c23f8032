"""Tariffs without a database."""
