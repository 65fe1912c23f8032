"""The meters' own memory: one SQLite file, written before any answer leaves (synchronous=FULL).

It is not the product's database: a meter keeps its wallet whatever happens to the cloud. A memory is
whatever a kind of meter puts into a JSON object; sales have a table of their own, so that a test can
sum them up. All methods block; call them in a thread.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TABLES = """
create table if not exists memory (serial text primary key, state text not null) strict;
create table if not exists sold (
  serial text not null, epoch integer not null, purchase_count integer not null,
  amount_fen integer not null, at integer not null,
  primary key (serial, epoch, purchase_count)
) strict;
"""
_LAST_SALES = """
select serial, purchase_count, amount_fen, at from (
  select *, row_number() over (
    partition by serial order by epoch desc, purchase_count desc) as place
  from sold where ? is null or serial = ?
) where place <= ? order by serial, place
"""


@dataclass(frozen=True, slots=True)
class Sale:
    """One sale that a meter took; `at` in unix seconds."""

    purchase_count: int
    amount_fen: int
    at: int


class MeterStore:
    """Memory of all meters of a site. Safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_TABLES)

    def load_all(self) -> dict[str, dict[str, Any]]:
        """Every memory that was kept, by serial."""
        with self._lock:
            rows = self._db.execute("select serial, state from memory").fetchall()
        return {serial: json.loads(state) for serial, state in rows}

    def keep_all(self, memories: Mapping[str, Mapping[str, Any]]) -> None:
        """Write many memories in one durable transaction. Raises sqlite3.Error, and then none is kept."""
        rows = [(serial, json.dumps(memory)) for serial, memory in memories.items()]
        with self._lock, self._db:
            self._db.executemany("insert or replace into memory values (?, ?)", rows)

    def keep(
        self, serial: str, memory: Mapping[str, Any], sale: Sale | None = None, epoch: int = 0
    ) -> None:
        """Write one memory, with the sale that made it, in one durable transaction; `epoch` tells
        the sales of a replaced meter from those of the one before.

        Raises sqlite3.Error, and then nothing is kept.
        """
        state = json.dumps(memory)
        with self._lock, self._db:
            self._db.execute("insert or replace into memory values (?, ?)", (serial, state))
            if sale is not None:
                self._db.execute(
                    "insert into sold values (?, ?, ?, ?, ?)",
                    (serial, epoch, sale.purchase_count, sale.amount_fen, sale.at),
                )

    def sales(self, serial: str, *, limit: int) -> list[Sale]:
        """The last `limit` sales of a meter, newest first."""
        return self._sales(serial, limit).get(serial, [])

    def all_sales(self, *, limit: int) -> dict[str, list[Sale]]:
        """The last `limit` sales of each meter, newest first, by serial."""
        return self._sales(None, limit)

    def _sales(self, serial: str | None, limit: int) -> dict[str, list[Sale]]:
        with self._lock:
            rows = self._db.execute(_LAST_SALES, (serial, serial, limit)).fetchall()
        found: dict[str, list[Sale]] = {}
        for name, *sale in rows:
            found.setdefault(name, []).append(Sale(*sale))
        return found

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
