"""How bytes reach a bus, and who may speak on it next."""
