"""What accounts used hour by hour, out of the roll-ups of the meters that served them: for forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import UnitOfWork

HOURS = 24
# One row a meter and day; the table's key is asked meter by meter.
_HOURS = (
    "SELECT s.id, s.account_id, m.kind, m.credit_mode, s.ended_at IS NULL AS live, h.day, h.hours,"
    " h.used, h.gaps FROM unnest($2::uuid[], $3::date[]) AS k(account_id, first)"
    " JOIN metering_assignment s ON s.group_id = $1 AND s.account_id = k.account_id"
    " JOIN metering_meter m ON m.group_id = $1 AND m.id = s.meter_id"
    "   AND m.credit_mode IN ('METER', 'CLOUD')"
    " JOIN metering_hours h ON h.group_id = $1 AND h.meter_id = s.meter_id"
    "   AND h.epoch = s.counter_epoch AND h.day >= k.first AND h.day <= $4"
)


class HoursUsed(NamedTuple):
    """What an assignment used on a business day, in base units of its kind, as metering_hours keeps it.
    `live`: it serves the account still."""

    assignment_id: UUID
    account_id: UUID
    kind: str
    credit_mode: str
    live: bool
    day: date
    hours: int
    used: str
    gaps: str | None

    def by_hour(self, slack: int) -> tuple[int, ...] | None:
        """The use of its 24 hours; None when readings do not tell the whole day (see `whole_day`)."""
        return whole_day(self.hours, self.used, self.gaps, slack)


async def hours_used(
    work: UnitOfWork, *, firsts: Sequence[tuple[UUID, date]], last: date
) -> list[HoursUsed]:
    """The days that are rolled up of accounts whose meters are sold to, each account's from its own first
    to `last`, by one statement."""
    rows = await work.fetch(
        _HOURS,
        work.group_id,
        [account_id for account_id, _ in firsts],
        [first for _, first in firsts],
        last,
    )
    return [HoursUsed._make(row) for row in rows]


def whole_day(hours: int, used: str, gaps: str | None, slack: int) -> tuple[int, ...] | None:
    """The use of each of the 24 hours out of a row of metering_hours; None when the day is not known all
    through: its meter was silent when it began or ended, or its register went back.

    What was read after a silence within the day is shared evenly over the silent hours, nothing lost
    (C15). `slack`: up to so many hours without a reading are no silence. The hour that a zone repeats
    counts with the last.
    """
    read = [hour for hour in range(HOURS + 1) if hours >> hour & 1]
    if read[0] > slack or read[-1] < HOURS - 1 - slack:
        return None
    figures = [int(each) if each else 0 for each in used.split(",")]
    if min(figures) < 0:
        return None
    silences = [0] * len(read) if gaps is None else [int(each or 0) for each in gaps.split(",")]
    if silences[0]:
        return None
    found = [0] * (HOURS + 1)
    before = -1
    for hour, figure, silence in zip(read, figures, silences, strict=True):
        first = before + 1 if silence else hour
        span = hour - first + 1
        for place in range(span):
            found[first + place] += figure * (place + 1) // span - figure * place // span
        before = hour
    found[HOURS - 1] += found.pop()
    return tuple(found)


async def rolled_up(work: UnitOfWork, *, day: date) -> bool:
    """Whether nothing that came of a day, or of one before it, waits to be rolled up."""
    waits: bool = await work.fetchval(
        "SELECT EXISTS (SELECT FROM metering_touched WHERE group_id = $1 AND day <= $2)",
        work.group_id,
        day,
    )
    return not waits
