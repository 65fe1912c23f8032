"""Readings: stored by COPY beside the ORM, once each, in time or late (C24; docs/adr/0003, 0010)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.ids import uuid7
from backend.outbox.operations import emit

from .closed_days import store_late
from .registers import COLUMNS, Reading, reading_of, settled

__all__ = ["COLUMNS", "Reading", "reading_of", "store_readings"]

_TO_CHINA = timedelta(hours=8, microseconds=-1)  # midnight ends a day
_COLUMNS = ", ".join(COLUMNS)
_STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS reading_stage"
    " (LIKE metering_latest INCLUDING DEFAULTS) ON COMMIT DELETE ROWS;"
    " DELETE FROM reading_stage"  # of a batch before in this same transaction
)
# The stage holds one group's rows only; with an argument a statement is prepared once a connection.
_STAGED = f"SELECT {_COLUMNS} FROM reading_stage WHERE group_id = $1"
_INSERT = f"INSERT INTO metering_reading ({_COLUMNS}) {_STAGED}"
_INSERT_NEW = f"{_INSERT} ON CONFLICT (group_id, meter_id, at) DO NOTHING"
_INSERT_NEW_FROM = f"{_INSERT} AND at >= $2 ON CONFLICT (group_id, meter_id, at) DO NOTHING"
_OPEN_DAYS = "SELECT d AS day FROM unnest($1::date[]) AS d WHERE metering_open_day(d)"
_SET_LATEST = ", ".join(f"{column} = EXCLUDED.{column}" for column in COLUMNS[2:])
_INTO_LATEST = f"INSERT INTO metering_latest ({_COLUMNS})"
_IF_NEWER = (
    f" ON CONFLICT (group_id, meter_id) DO UPDATE SET {_SET_LATEST}"
    " WHERE metering_latest.at < EXCLUDED.at"
)
_MOVE_LATEST = f"{_INTO_LATEST} {_STAGED}{_IF_NEWER}"
_MOVE_LATEST_OF_MANY = (
    f"{_INTO_LATEST} SELECT DISTINCT ON (meter_id) {_COLUMNS} FROM reading_stage WHERE group_id = $1"
    f" ORDER BY meter_id, at DESC{_IF_NEWER}"
)


async def store_readings(work: UnitOfWork, *, readings: Sequence[Reading]) -> int:
    """Store a batch by one COPY; returns how many were new.

    A reading is unique by (meter, instant): repeats change nothing (C24). The latest state moves only
    forward in time, so a late batch does not undo it. A late reading of a closed day is packed beside
    what is packed of that day. What the batch touched is noted for the roll-up.
    """
    kept = _once_each(readings)
    if not kept:
        return 0
    await work.execute(_STAGE)
    await work.copy(
        "reading_stage", columns=COLUMNS, records=[each.record(work.group_id) for each in kept]
    )
    one_each = len({reading.meter_id for reading in kept}) == len(kept)
    move = _MOVE_LATEST if one_each else _MOVE_LATEST_OF_MANY
    moved = await work.execute(move, work.group_id)
    days = {reading.at.date() for reading in kept}
    opened = {row["day"] for row in await work.fetch(_OPEN_DAYS, sorted(days))}
    if opened != days:
        stored = await _store_some_late(work, kept, opened)
    elif moved == len(kept):
        # Each is newer than all that its meter had, and its row in metering_latest is ours until we
        # commit: none can be there already, and asking the index first would cost half as much again.
        stored = await work.execute(_INSERT, work.group_id)
    else:
        stored = await work.execute(_INSERT_NEW, work.group_id)
    if stored:
        await _note(work, kept)
        await _tell_charging(work, kept)
    return stored


def _once_each(readings: Sequence[Reading]) -> list[Reading]:
    """By meter, so that two batches never wait for each other crosswise, and instant."""
    once: dict[tuple[int, datetime], Reading] = {}
    for reading in readings:
        if reading.at is not reading.received_at or reading.at.tzinfo is not UTC:
            reading = settled(reading)  # one that was read just now, by our own clock, is
        once.setdefault((reading.meter_id.int, reading.at), reading)
    return [once[key] for key in sorted(once)]


async def _store_some_late(work: UnitOfWork, kept: Sequence[Reading], opened: set[date]) -> int:
    """What is of open days as raw rows, the rest beside what is packed. Closed days lie before all
    open ones."""
    late = [reading for reading in kept if reading.at.date() not in opened]
    stored = await store_late(work, readings=late)
    if opened:
        first = datetime.combine(min(opened), time(), UTC)
        stored += await work.execute(_INSERT_NEW_FROM, work.group_id, first)
    return stored


async def _note(work: UnitOfWork, kept: Sequence[Reading]) -> None:
    """What the roll-up has to look at, by the business days of China: it is only to bring together what
    belongs together, so another zone's days need not be."""
    by_day: dict[date, list[Reading]] = defaultdict(list)
    for reading in kept:
        by_day[(reading.at + _TO_CHINA).date()].append(reading)
    for day, found in by_day.items():
        instants = [reading.at for reading in found]
        await work.execute(
            "INSERT INTO metering_touched (group_id, day, about, id, first_at, last_at, meter_ids)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            work.group_id,
            day,
            found[0].meter_id,
            uuid7(kept[0].received_at),
            min(instants),
            max(instants),
            list(dict.fromkeys(reading.meter_id for reading in found)),
        )


async def _tell_charging(work: UnitOfWork, kept: Sequence[Reading]) -> None:
    """News of what was stored of meters whose money the cloud holds: each with its oldest reading, so that
    one that came late is seen to be late (C13). Few groups have such meters; their index says so at once."""
    oldest: dict[UUID, datetime] = {}
    for reading in reversed(kept):  # by meter, then instant
        oldest[reading.meter_id] = reading.at
    rows = await work.fetch(
        "SELECT id FROM metering_meter"
        " WHERE group_id = $1 AND credit_mode = 'CLOUD' AND id = ANY($2) ORDER BY id",
        work.group_id,
        list(oldest),
    )
    if rows:
        now = kept[0].received_at
        await emit(
            work,
            topic="charge.due",
            key=str(uuid7(now)),
            payload={str(row["id"]): oldest[row["id"]].isoformat() for row in rows},
            at=now,
        )
