"""Boxes that dial in, over real sockets and a real database."""
