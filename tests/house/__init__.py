"""The rules of the house, each held by a checker and proved by a bad sample (docs/adr/0002)."""
