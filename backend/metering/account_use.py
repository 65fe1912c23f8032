"""What accounts used, out of the roll-ups of all meters that served them: for estimates, not for charging."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from backend.kernel.band_calendar import BANDS
from backend.kernel.db import UnitOfWork

from .rules import MeterKind

_SERVED = (
    " FROM metering_assignment a"
    " JOIN metering_meter m ON m.group_id = $1 AND m.id = a.meter_id AND m.kind = $3"
    " JOIN metering_day d ON d.group_id = $1 AND d.meter_id = a.meter_id"
    "   AND d.epoch = a.counter_epoch AND d.day >= $4 AND d.day <= $5"
    " WHERE a.group_id = $1 AND a.account_id = ANY($2)"
)
_DAYS = (
    "SELECT a.account_id, d.day, sum(greatest(d.closing - d.opening, 0))::bigint AS total,"
    " sum(d.spike_wh)::bigint AS spike, sum(d.peak_wh)::bigint AS peak,"
    " sum(d.flat_wh)::bigint AS flat, sum(d.valley_wh)::bigint AS valley,"
    " sum(d.deep_wh)::bigint AS deep, bool_or(d.backward > 0 OR d.gaps > 0) AS doubtful"
    + _SERVED
    + " GROUP BY a.account_id, d.day"
)
_MONTHS = (
    "SELECT a.account_id, date_trunc('month', d.day)::date AS month,"
    " sum(greatest(d.closing - d.opening, 0))::bigint AS total"
    + _SERVED
    + " GROUP BY a.account_id, 2"
)


class DayUse(NamedTuple):
    """What an account used on a business day: `total` in the unit of the kind, `bands` in Wh by name as
    far as its meters have them, `doubtful`: a pause ended in it, or a register went back."""

    account_id: UUID
    day: date
    total: int
    bands: dict[str, int]
    doubtful: bool


async def use_of_days(
    work: UnitOfWork, *, account_ids: Sequence[UUID], kind: MeterKind, first: date, last: date
) -> list[DayUse]:
    """The days that are rolled up, of all accounts by one statement."""
    rows = await work.fetch(_DAYS, work.group_id, list(account_ids), kind, first, last)
    return [
        DayUse(
            row["account_id"],
            row["day"],
            row["total"],
            {band: max(row[band], 0) for band in BANDS if row[band] is not None},
            row["doubtful"],
        )
        for row in rows
    ]


async def use_of_months(
    work: UnitOfWork, *, account_ids: Sequence[UUID], kind: MeterKind, first: date, last: date
) -> dict[UUID, dict[date, int]]:
    """Totals by month (its first day) of each account, of the days `first` to `last`."""
    rows = await work.fetch(_MONTHS, work.group_id, list(account_ids), kind, first, last)
    found: dict[UUID, dict[date, int]] = {}
    for row in rows:
        found.setdefault(row["account_id"], {})[row["month"]] = row["total"]
    return found
