"""The agent's memory: one SQLite file, WAL, synchronous=FULL.

FULL and not NORMAL: with NORMAL a power cut may take back the last commits, and with them that a sale was
about to be written to a meter, or that a frame number was used. It costs one sync a reading, which the
bus (a reading takes it tenths of a second) never notices. All work runs in a thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from backend.kernel.errors import Unavailable

FILE = "gateway.sqlite3"
RESERVE = 4 * 1024 * 1024  # what readings never take, so that commands can still be written down

_TABLES = """
create table if not exists counter (name text primary key, value integer not null) strict;
create table if not exists reading (
  frame_no integer primary key autoincrement,
  meter text not null, at integer not null, body blob not null
) strict;
create index if not exists reading_of_meter on reading (meter, at);
create table if not exists command (
  seq integer primary key autoincrement,
  cmd_id text not null unique, meter text not null, op text not null,
  issued integer not null, expires integer not null, body blob not null,
  started integer not null default 0, res blob, sent integer not null default 0
) strict;
create index if not exists command_of_meter on command (meter, issued);
"""

Result = TypeVar("Result")


class StoreBroken(Unavailable):
    """The disk is full or fails. Nothing of the work is kept."""

    code = "STORE_BROKEN"


class Database:
    """The file in the folder `data`, of at most `most_bytes` (the log beside it takes up to 4 MB more).

    Raises StoreBroken from its constructor too.
    """

    def __init__(self, data: Path, *, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(data / FILE, check_same_thread=False)
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = full")
            self._connection.execute("pragma journal_size_limit = 4194304")
            self._connection.executescript(_TABLES)
            (page,) = self._connection.execute("pragma page_size").fetchone()
        except sqlite3.Error as failure:
            raise StoreBroken(f"the store in {data} cannot be opened: {failure}") from failure
        self.page_bytes = int(page)

    async def run(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do `change` as one durable transaction. Raises StoreBroken, and then none of it is kept."""
        return await asyncio.to_thread(self._run, change)

    def _run(self, change: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            with self._lock, self._connection:
                return change(self._connection)
        except sqlite3.Error as failure:
            raise StoreBroken(f"the store refuses: {failure}") from failure

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
