"""The meters' own memory: one SQLite file, written before any answer leaves (synchronous=FULL).

It is not the product's database: a meter keeps its wallet whatever happens to the cloud.
All methods block; call them in a thread.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from .state import MeterState

_TABLES = """
create table if not exists meter (
  serial text primary key, as_of integer not null,
  spike_ws integer not null, peak_ws integer not null,
  flat_ws integer not null, valley_ws integer not null,
  remaining_hao integer not null, charge_rest integer not null,
  purchase_count integer not null, forced integer not null, forced_open integer not null
) strict;
create table if not exists sale (
  serial text not null, purchase_count integer not null,
  amount_fen integer not null, at integer not null,
  primary key (serial, purchase_count)
) strict;
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

    def load(self, serial: str) -> MeterState | None:
        """The state last kept for `serial`, None for a meter never seen."""
        with self._lock:
            row = self._db.execute(
                "select as_of, spike_ws, peak_ws, flat_ws, valley_ws, remaining_hao, charge_rest,"
                " purchase_count, forced, forced_open from meter where serial = ?",
                (serial,),
            ).fetchone()
        if row is None:
            return None
        as_of, spike, peak, flat, valley, remaining, rest, count, forced, forced_open = row
        return MeterState(
            as_of=as_of,
            energy_ws=(spike, peak, flat, valley),
            remaining_hao=remaining,
            charge_rest=rest,
            purchase_count=count,
            forced=bool(forced),
            forced_open=bool(forced_open),
        )

    def keep(self, serial: str, state: MeterState, sale: Sale | None = None) -> None:
        """Write `state`, with the sale that made it, in one durable transaction.

        Raises sqlite3.Error, and then nothing is kept.
        """
        with self._lock, self._db:
            self._db.execute(
                "insert or replace into meter values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    serial,
                    state.as_of,
                    *state.energy_ws,
                    state.remaining_hao,
                    state.charge_rest,
                    state.purchase_count,
                    state.forced,
                    state.forced_open,
                ),
            )
            if sale is not None:
                self._db.execute(
                    "insert into sale values (?, ?, ?, ?)",
                    (serial, sale.purchase_count, sale.amount_fen, sale.at),
                )

    def sales(self, serial: str, *, limit: int) -> list[Sale]:
        """The last `limit` sales of a meter, newest first."""
        with self._lock:
            rows = self._db.execute(
                "select purchase_count, amount_fen, at from sale where serial = ?"
                " order by purchase_count desc limit ?",
                (serial, limit),
            ).fetchall()
        return [Sale(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
