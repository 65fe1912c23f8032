"""How long history is kept, and its way: raw rows, packed days, nothing (docs/adr/0010).

A UTC day is closed when it is `OPEN_DAYS` old: group by group its raw rows are packed, a few meters a
transaction, and when all of them are packed and rolled up its partition is dropped. A process killed
anywhere leaves what is packed, and the next one goes on. What has been kept for long enough is dropped by
the month.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

import asyncpg

from backend.kernel.db import UnitOfWork, platform_connection

from .closed_days import pack_raw
from .rules import first_open_day

# Packing is work of this process (half a millisecond a meter-day): few meters at once, so that what else
# it does never waits for long.
METERS_AT_ONCE = 20
_MONTHS = (
    "SELECT to_date(right(inhrelid::regclass::text, 6), 'YYYYMM') AS first FROM pg_inherits"
    " WHERE inhparent = $1::text::regclass ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days samples (packed), hours and days (roll-ups) are kept at least: they go by the
    month. Less than 35 days is not done (0010_history.sql)."""

    samples: int = 400
    hours: int = 400
    days: int = 3660

    def tables(self) -> dict[str, int]:
        """Days by table, those first that others are made of."""
        return {
            "metering_packed": self.samples,
            "metering_hours": self.hours,
            "metering_day": self.days,
        }


DEFAULT_RETENTION = Retention()


async def prepare(*, at: datetime) -> None:
    """Make the partitions that the days around `at` need."""
    async with platform_connection() as connection:
        await connection.execute("SELECT metering_prepare($1)", at.date())


async def days_to_close(*, at: datetime) -> list[date]:
    """The UTC days that have raw rows and should not have them any more at `at`, in their order."""
    async with platform_connection() as connection:
        rows = await connection.fetch(
            "SELECT to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') AS day FROM pg_inherits"
            " WHERE inhparent = 'metering_reading'::regclass ORDER BY 1"
        )
    return [row["day"] for row in rows if row["day"] < first_open_day(at)]


async def next_meters(work: UnitOfWork, *, after: UUID | None) -> Sequence[UUID]:
    """The next `METERS_AT_ONCE` meters of the group after `after`; none: that was all."""
    rows = await work.fetch(
        "SELECT id FROM metering_meter WHERE group_id = $1 AND ($2::uuid IS NULL OR id > $2)"
        " ORDER BY id LIMIT $3",
        work.group_id,
        after,
        METERS_AT_ONCE,
    )
    return [row["id"] for row in rows]


async def pack_some(work: UnitOfWork, *, day: date, after: UUID | None) -> tuple[int, UUID | None]:
    """Pack a closed day of the next meters after `after`: (samples packed, the last of these meters or
    None when there was none left). Doing it again packs nothing twice."""
    meter_ids = await next_meters(work, after=after)
    if not meter_ids:
        return 0, None
    return await pack_raw(work, day=day, meter_ids=meter_ids), meter_ids[-1]


async def drop_raw(*, day: date) -> bool:
    """Drop the raw rows of a closed day; False when some are not packed or rolled up yet, or when they
    are in use: then another time."""
    return await _dropped("SELECT metering_drop_day($1)", day)


async def drop_outlived(*, at: datetime, retention: Retention) -> list[str]:
    """Drop the months that have been kept for long enough; returns their names."""
    dropped: list[str] = []
    for table, days in retention.tables().items():
        kept_from = at.date() - timedelta(days=days)
        async with platform_connection() as connection:
            months = [row["first"] for row in await connection.fetch(_MONTHS, table)]
        for month in months:
            if (month + timedelta(days=31)).replace(day=1) > kept_from:
                break
            if await _dropped("SELECT metering_drop_month($1, $2, $3)", table, month, kept_from):
                dropped.append(f"{table}_{month:%Y%m}")
    return dropped


async def _dropped(question: str, *arguments: object) -> bool:
    async with platform_connection() as connection:
        try:
            gone: bool = await connection.fetchval(question, *arguments)
        except asyncpg.LockNotAvailableError:
            return False
    return gone
