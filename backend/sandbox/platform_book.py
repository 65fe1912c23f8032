"""What a payment platform's stand-in remembers: a SQLite file or memory, and in it the platform's own key.

A file lets a demo restart without forgetting who paid, and merchants set up before the restart still trust
the answers.
"""

from __future__ import annotations

import sqlite3

from backend.sandbox.pay_keys import new_private_pem

_PLATFORM = "CREATE TABLE IF NOT EXISTS platform (private_pem TEXT NOT NULL);"


class PlatformBook:
    """One process, one connection, every statement its own commit."""

    def __init__(self, path: str, /, *, tables: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(_PLATFORM)
        self._db.executescript(tables)

    def platform_pem(self) -> str:
        """The platform's private key, made when first asked for."""
        row = self._db.execute("SELECT private_pem FROM platform").fetchone()
        if row is None:
            row = (new_private_pem(),)
            self._db.execute("INSERT INTO platform VALUES (?)", row)
        return str(row[0])
