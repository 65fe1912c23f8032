"""Roll-ups: use by hour and business day of each meter, computed set-based out of the readings.

`store_readings` notes what a batch touched; `roll_up` takes the notes of days that are over away and
computes the touched meter-days anew from raw and packed readings, so a late, repeated or disordered batch
ends in the same figures as one in time. What is not rolled up yet (today, and what came just now) is
computed by the same statement when it is asked for: figures never lag.

A day begins just after the project's midnight and ends with the next one; its use is what the registers
gained since the last reading before it, within one counter epoch (C14).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from backend.kernel.band_calendar import BANDS as BAND_NAMES
from backend.kernel.db import Row, UnitOfWork

from .history import packed_of_days
from .packing import PackDamaged
from .registers import Reading
from .rollup_sql import (
    CLAIM,
    DAYS,
    DAYS_NOW,
    HOURLY,
    HOURS,
    HOURS_NOW,
    PENDING,
    ROLL_UP,
    STAGE,
    STAGED,
)

_AT_ONCE = 2000  # meter-days of one statement
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended('metering roll-up', $1))"
# Whoever reads the raw rows of a day keeps its partition: what is packed meanwhile is still there.
_KEEP_RAW = "SELECT FROM metering_reading LIMIT 0"


@dataclass(frozen=True, slots=True)
class Use:
    """What went through a meter in a business `day`, or in an `hour` of it counted from its midnight, in the
    unit of its kind; `bands` in Wh by name. A day says the registers at its ends.

    `epoch` is the counter epoch (0: it served nobody). `gaps`: how many pauses of more than two sweeps
    ended here. `backward`: how often a day's total went back; then `used` is less than what was used.
    """

    day: date
    hour: int | None
    epoch: int
    opening: int | None
    closing: int | None
    used: int
    bands: Mapping[str, int]
    cold_wh: int | None
    max_power_w: int | None
    samples: int
    gaps: int
    backward: int


@dataclass(frozen=True, slots=True)
class Rolled:
    """What `roll_up` did: how many stored batches it took, meter-days it computed; and the meters that
    it left as they were, because what is packed of them is damaged."""

    batches: int
    meter_days: int
    damaged: frozenset[UUID]


async def roll_up(work: UnitOfWork, *, until: datetime, gateways: int = 10) -> Rolled:
    """Roll up what was stored of a day of about so many gateways, as far as it was read at or before
    `until` (a midnight, or unfinished days are computed again and again). No batch taken: nothing to do,
    or another process does it."""
    rows: list[Row] = []
    if await work.fetchval(_ALONE, work.group_id):
        rows = await work.fetch(CLAIM, work.group_id, until, gateways)
    if not rows:
        return Rolled(0, 0, frozenset())
    await work.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'")
    await work.execute(_KEEP_RAW)
    wanted: dict[date, set[UUID]] = {row["day"]: set(row["meter_ids"]) for row in rows}
    computed, damaged = 0, set[UUID]()
    while wanted:
        day = min(wanted)  # a day opens where the one before it closed
        await work.execute("SELECT metering_ensure_month($1)", day)
        meters = sorted(wanted.pop(day), key=lambda meter_id: meter_id.int)
        for place in range(0, len(meters), _AT_ONCE):
            some = meters[place : place + _AT_ONCE]
            opened_anew, unread = await _compute(work, some, day)
            for row in opened_anew:
                wanted.setdefault(row["day"], set()).update(row["meter_ids"])
            computed += len(some) - len(unread)
            damaged |= unread
    return Rolled(max(row["batches"] for row in rows), computed, frozenset(damaged))


async def _compute(
    work: UnitOfWork, meter_ids: Sequence[UUID], day: date
) -> tuple[list[Row], set[UUID]]:
    """A day of some meters: the later days that open anew for it, and the meters left alone."""
    around = _around(day, day)
    damaged = await _stage(work, meter_ids, around)
    left = [meter_id for meter_id in meter_ids if meter_id not in damaged]
    return await work.fetch(ROLL_UP, work.group_id, left, day, day, *around), damaged


async def _stage(
    work: UnitOfWork, meter_ids: Sequence[UUID], around: tuple[datetime, datetime]
) -> set[UUID]:
    """Put what is packed where the statements find it; returns the meters of which some is damaged."""
    first, last = around
    packed, damaged = await packed_of_days(
        work, meter_ids=meter_ids, first=first.date(), last=last.date()
    )
    await work.execute(STAGE)
    await work.execute("TRUNCATE history_stage")
    if packed:
        await work.copy("history_stage", columns=STAGED, records=[_staged(each) for each in packed])
    return damaged


def _around(first: date, last: date) -> tuple[datetime, datetime]:
    """Instants that enclose the days in every zone."""
    start, end = first - timedelta(days=1), last + timedelta(days=2)
    return datetime.combine(start, time(), UTC), datetime.combine(end, time(), UTC)


def _staged(reading: Reading) -> tuple[object, ...]:
    bands = (reading.bands.get(name) for name in BAND_NAMES)
    head = (reading.meter_id, reading.at, reading.total)
    return (*head, *bands, reading.cold_wh, reading.power_w)


async def use_by_day(work: UnitOfWork, *, meter_id: UUID, first: date, last: date) -> list[Use]:
    """The business days `first` to `last` in which a meter was read, by day and epoch.

    Raises PackDamaged.
    """
    first_open = await _first_open(work, meter_id, last)
    rows = await work.fetch(DAYS, work.group_id, meter_id, first, first_open)
    if first_open <= last:
        around = await _for_now(work, meter_id, first_open, last)
        now = work.group_id, [meter_id], first_open, last, *around
        rows += [row for row in await work.fetch(DAYS_NOW, *now) if row["day"] >= first]
    return [_day_of(row) for row in rows]


async def use_by_hour(work: UnitOfWork, *, meter_id: UUID, first: date, last: date) -> list[Use]:
    """The hours of the business days `first` to `last` in which a meter was read, by day, epoch and
    hour. Raises PackDamaged."""
    first_open = await _first_open(work, meter_id, last)
    rows = await work.fetch(HOURS, work.group_id, meter_id, first, first_open)
    if first_open <= last:
        around = await _for_now(work, meter_id, first_open, last)
        now = work.group_id, [meter_id], first_open, last, *around
        rows += [row for row in await work.fetch(HOURS_NOW, *now) if row["day"] >= first]
    return [use for row in rows for use in _hours_of(row)]


async def _first_open(work: UnitOfWork, meter_id: UUID, last: date) -> date:
    """The first day that may not be rolled up yet; the day after `last` when all are."""
    pending: date | None = await work.fetchval(PENDING, work.group_id, meter_id)
    end = last + timedelta(days=1)
    # A day earlier, for the zone of the project may not be that of the marks.
    return end if pending is None else min(pending - timedelta(days=1), end)


async def _for_now(
    work: UnitOfWork, meter_id: UUID, first: date, last: date
) -> tuple[datetime, datetime]:
    """Get ready to compute days now; the instants that enclose them. Raises PackDamaged."""
    around = _around(first, last)
    await work.execute(_KEEP_RAW)
    if await _stage(work, [meter_id], around):
        raise PackDamaged("packed samples of this meter are damaged")
    return around


def _day_of(row: Row) -> Use:
    return Use(
        day=row["day"],
        hour=None,
        epoch=row["epoch"],
        opening=row["opening"],
        closing=row["closing"],
        used=row["closing"] - row["opening"],
        bands={n: row[f"{n}_wh"] for n in BAND_NAMES if row[f"{n}_wh"] is not None},
        cold_wh=row["cold_wh"],
        max_power_w=row["max_power_w"],
        samples=int(row["samples"]),
        gaps=int(row["gaps"]),
        backward=int(row["backward"]),
    )


def _hours_of(row: Row) -> Iterator[Use]:
    """The hours that a row of metering_hours holds."""
    hours = [hour for hour in range(25) if row["hours"] >> hour & 1]
    figures = {name: _figures(row[name], len(hours)) for name in HOURLY}
    for place, hour in enumerate(hours):
        at = {name: held[place] for name, held in figures.items()}
        bands = {name: at[f"{name}_wh"] for name in BAND_NAMES}
        yield Use(
            day=row["day"],
            hour=hour,
            epoch=row["epoch"],
            opening=None,
            closing=None,
            used=at["used"] or 0,
            bands={name: value for name, value in bands.items() if value is not None},
            cold_wh=at["cold_wh"],
            max_power_w=at["max_power_w"],
            samples=at["samples"] or 0,
            gaps=at["gaps"] or 0,
            backward=0,
        )


def _figures(text: str | None, count: int) -> list[int | None]:
    if text is None:
        return [None] * count
    return [int(figure) if figure else None for figure in text.split(",")]
