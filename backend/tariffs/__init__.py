"""Tariffs: what use costs, as dated immutable versions, and which account pays by which."""
