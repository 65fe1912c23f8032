"""Commands as they come, on disk before the meter is touched: each is carried out once, whatever crashes."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from backend.uplink.errors import MessageRefused
from backend.uplink.frame import FrameType
from backend.uplink.message import Cmd, Op, Res, decode, encode

from .database import Database, StoreBroken

_SWITCHES = (Op.TRIP, Op.KEEP_POWER, Op.RELEASE, Op.CLOSE, Op.ALLOW_CLOSE)
_SETS = (Op.SET_PRICES, Op.SET_CALENDAR, Op.SET_THRESHOLDS, Op.SET_LOAD_LIMITS, Op.SET_CLOCK)
# The newest of a family is what is meant. A sale has none: its number says what becomes of it.
_FAMILIES = {op: _SWITCHES for op in _SWITCHES} | {op: (op,) for op in _SETS}
_KEPT = timedelta(hours=24)  # after its end nobody can send a command again with any effect

_SUPERSEDED = """
select 1 from command as mine join command as newer on newer.meter = mine.meter
where mine.cmd_id = ? and newer.op in (select value from json_each(?))
  and (newer.issued > mine.issued or newer.issued = mine.issued and newer.seq > mine.seq)
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A command and how far it came: `started` before the meter was touched, `res` when it ended."""

    cmd: Cmd
    started: bool
    res: Res | None


class Journal:
    """The commands in `database`. Every method raises StoreBroken."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, cmd: Cmd, *, at: datetime) -> Entry:
        """Write `cmd` down unless its id is there; what is there under its id."""
        return await self._database.run(partial(_take, cmd=cmd, at=at))

    async def start(self, cmd_id: UUID) -> None:
        """The meter is about to be touched."""
        await self._database.run(
            lambda connection: connection.execute(
                "update command set started = 1 where cmd_id = ?", (str(cmd_id),)
            )
        )

    async def finish(self, res: Res) -> None:
        """The command ended with `res`, which is still to be sent."""
        _, body = encode(res)
        await self._database.run(
            lambda connection: connection.execute(
                "update command set res = ? where cmd_id = ?", (body, str(res.cmd_id))
            )
        )

    async def told(self, cmd_id: UUID) -> None:
        """The RES was given to the line."""
        await self._database.run(
            lambda connection: connection.execute(
                "update command set sent = 1 where cmd_id = ?", (str(cmd_id),)
            )
        )

    async def unfinished(self) -> list[Entry]:
        """Commands that a crash left without an end, oldest first."""
        return await self._database.run(_unfinished)

    async def untold(self) -> list[Res]:
        """Answers that no line has taken yet, oldest first."""
        return await self._database.run(_untold)

    async def superseded(self, cmd: Cmd) -> bool:
        """Whether a command of the same family issued later is known for the same meter (C22)."""
        family = _FAMILIES.get(cmd.op)
        if family is None:
            return False
        values = (str(cmd.cmd_id), json.dumps(family))
        row = await self._database.run(
            lambda connection: connection.execute(_SUPERSEDED, values).fetchone()
        )
        return row is not None


def _take(connection: sqlite3.Connection, *, cmd: Cmd, at: datetime) -> Entry:
    old = int((at - _KEPT).timestamp())
    connection.execute("delete from command where expires < ? and res is not null", (old,))
    _, body = encode(cmd)
    connection.execute(
        "insert into command (cmd_id, meter, op, issued, expires, body)"
        " values (?, ?, ?, ?, ?, ?) on conflict (cmd_id) do nothing",
        (
            str(cmd.cmd_id),
            cmd.meter,
            cmd.op,
            int(cmd.issued.timestamp()),
            int(cmd.expires.timestamp()),
            body,
        ),
    )
    row = connection.execute(
        "select body, started, res from command where cmd_id = ?", (str(cmd.cmd_id),)
    ).fetchone()
    return _entry(row)


def _unfinished(connection: sqlite3.Connection) -> list[Entry]:
    rows = connection.execute(
        "select body, started, res from command where res is null order by seq"
    )
    return [entry for entry in map(_readable, rows) if entry is not None]


def _untold(connection: sqlite3.Connection) -> list[Res]:
    rows = connection.execute(
        "select body, started, res from command where res is not null and sent = 0 order by seq"
    )
    entries = (_readable(row) for row in rows)
    return [entry.res for entry in entries if entry is not None and entry.res is not None]


def _readable(row: tuple[bytes, int, bytes | None]) -> Entry | None:
    """None for what another version of the product wrote: it must not keep this one from starting."""
    try:
        return _entry(row)
    except StoreBroken:
        return None


def _entry(row: tuple[bytes, int, bytes | None]) -> Entry:
    body, started, answered = row
    try:
        cmd = decode(FrameType.CMD, body)
        res = None if answered is None else decode(FrameType.RES, answered)
    except MessageRefused as unknown:
        raise StoreBroken("a stored command is not readable by this version") from unknown
    assert isinstance(cmd, Cmd)
    assert res is None or isinstance(res, Res)
    return Entry(cmd, bool(started), res)
