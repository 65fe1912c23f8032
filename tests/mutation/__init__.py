"""How many small wrong changes of the money rules the tests notice (docs/mutation.md)."""
