"""Readings that the cloud has not got yet, on disk before they are offered for sending.

Order of sending: when the line comes up, the newest reading of every meter first, so that balances and
alarms are right at once; then new readings as they are made; between them the rest, oldest first.

When the disk's share is used up: readings in between are thinned, from the oldest on, to the last one of
each 2 hours, then 6 hours, then day (registers are cumulative: energy and money are still whole, only
their course is coarser). When that frees nothing more, the oldest go. All of it is counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

from backend.uplink.message import Read, Registers, encode

from .database import RESERVE, Database

_THIN_TO_S = (2 * 3600, 6 * 3600, 24 * 3600)
_CHINA_S = 8 * 3600  # days end at midnight there
_AT_ONCE = 500

_THIN = """
delete from reading where frame_no in (
  select frame_no from reading as old where exists (
    select 1 from reading as newer where newer.meter = old.meter and newer.at > old.at
      and newer.at < ((old.at + :zone) / :width + 1) * :width - :zone)
  order by frame_no limit :most)
"""
_OLDEST_GO = (
    "delete from reading where frame_no in (select frame_no from reading order by frame_no limit ?)"
)
_DROPPED = "readings dropped"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A reading that waits: its number and the READ payload."""

    frame_no: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: how many readings, the oldest one's instant, bytes on disk; and how many were ever
    dropped for want of room."""

    readings: int
    oldest: datetime | None
    used_bytes: int
    dropped: int


class Spool:
    """The readings in `database`. Every method raises StoreBroken."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, meter: str, registers: Registers) -> int:
        """Keep a reading of `meter` durably; how many old ones had to go for it."""
        return await self._database.run(partial(self._add, meter=meter, registers=registers))

    async def newest(self) -> list[Waiting]:
        """The newest reading of every meter."""
        return await self._database.run(_newest)

    async def batch(self, *, after: int, limit: int) -> list[Waiting]:
        """Up to `limit` readings: those numbered above `after` first, then the oldest."""
        return await self._database.run(partial(_batch, after=after, limit=limit))

    async def last_no(self) -> int:
        """The number of the last reading that was ever kept; 0: none."""
        return await self._database.run(_last_no)

    async def sent(self, frame_nos: Iterable[int]) -> None:
        """The cloud has these: forget them."""
        numbers = [(number,) for number in frame_nos]
        await self._database.run(
            lambda connection: connection.executemany(
                "delete from reading where frame_no = ?", numbers
            )
        )

    async def backlog(self) -> Backlog:
        """What waits now."""
        return await self._database.run(partial(read_backlog, page_bytes=self._database.page_bytes))

    def _add(self, connection: sqlite3.Connection, *, meter: str, registers: Registers) -> int:
        dropped = 0
        if _used(connection, self._database.page_bytes) > self._database.most_bytes - RESERVE:
            dropped = _make_room(connection)
            connection.execute(
                "insert into counter values (?, ?)"
                " on conflict (name) do update set value = value + excluded.value",
                (_DROPPED, dropped),
            )
        number = _last_no(connection) + 1
        _, body = encode(Read(meter=meter, frame_no=number, **asdict(registers)))
        connection.execute(
            "insert into reading values (?, ?, ?, ?)",
            (number, meter, int(registers.at.timestamp()), body),
        )
        return dropped


def read_backlog(connection: sqlite3.Connection, *, page_bytes: int) -> Backlog:
    """What waits, over any connection to the file. Raises sqlite3.Error."""
    count, oldest = connection.execute("select count(*), min(at) from reading").fetchone()
    row = connection.execute("select value from counter where name = ?", (_DROPPED,)).fetchone()
    return Backlog(
        readings=count,
        oldest=None if oldest is None else datetime.fromtimestamp(oldest, UTC),
        used_bytes=_used(connection, page_bytes),
        dropped=0 if row is None else row[0],
    )


def _make_room(connection: sqlite3.Connection) -> int:
    for width in _THIN_TO_S:
        values = {"zone": _CHINA_S, "width": width, "most": _AT_ONCE}
        gone = connection.execute(_THIN, values).rowcount
        if gone > 0:
            return gone
    return connection.execute(_OLDEST_GO, (_AT_ONCE,)).rowcount


def _used(connection: sqlite3.Connection, page_bytes: int) -> int:
    (pages,) = connection.execute("pragma page_count").fetchone()
    (free,) = connection.execute("pragma freelist_count").fetchone()
    return (int(pages) - int(free)) * page_bytes


def _last_no(connection: sqlite3.Connection) -> int:
    row = connection.execute("select seq from sqlite_sequence where name = 'reading'").fetchone()
    return 0 if row is None else int(row[0])


def _newest(connection: sqlite3.Connection) -> list[Waiting]:
    rows = connection.execute(
        "select frame_no, body from reading"
        " where frame_no in (select max(frame_no) from reading group by meter) order by frame_no"
    )
    return [Waiting(*row) for row in rows]


def _batch(connection: sqlite3.Connection, *, after: int, limit: int) -> list[Waiting]:
    rows = connection.execute(
        "select frame_no, body from reading order by frame_no <= ?, frame_no limit ?",
        (after, limit),
    )
    return [Waiting(*row) for row in rows]
