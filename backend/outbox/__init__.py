"""Durable memory to and from the outside: events emitted in the caller's transaction, and an inbox."""
