"""The stand-in's own SQLite file: another machine's book. Our database is still out of its reach."""

import sqlite3

from tortoise.transactions import in_transaction  # BAD


def save(book: sqlite3.Connection) -> None:
    """Keep an order."""
    book.execute("BEGIN")
    book.commit()
