"""What each hour of a day costs an account by the tariff that it pays by now: for forecasts, not charges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.charges.rules import Supply
from backend.kernel.db import UnitOfWork
from backend.tariffs.calendar import month_of, plan_at, step_period_start
from backend.tariffs.present import Present, present
from backend.tariffs.queries import timelines
from backend.tariffs.rules import Plan, TariffKind, step_of

_SOON = timedelta(seconds=1)
_HOUR = 60
_YEAR = 365
_MONTHS = 12
_BASE_UNITS = 1000  # of a kWh or m³
_USED = (
    "SELECT account_id, month, used FROM charges_month"
    " WHERE group_id = $1 AND account_id = ANY($2) AND kind = $3 AND month >= $4"
)


class HourPrices(NamedTuple):
    """What a unit costs in each of the 24 hours, in hao per kWh (m³), and the fixed fee of a day, in hao."""

    hours: tuple[int, ...]
    daily: int

    def cost(self, hour: int, used: int) -> int:
        """What `used` base units cost in an hour, half up to a whole hao."""
        return (used * self.hours[hour] * 2 + _BASE_UNITS) // (2 * _BASE_UNITS)


async def hour_prices(
    work: UnitOfWork, *, supplies: Mapping[Supply, bool], day: date, at: datetime, zone: ZoneInfo
) -> dict[Supply, HourPrices]:
    """The hours of a day for supplies, each with whether the cloud holds its money, by the plan that holds
    at an instant and the step they are in then; a supply without a tariff is absent. Three statements a
    kind at most."""
    noon = datetime.combine(day, time(12), zone)
    found: dict[Supply, HourPrices] = {}
    ready: dict[tuple[str, int | None], HourPrices] = {}
    for kind in sorted({supply.kind for supply in supplies}):
        of_kind = [supply for supply in supplies if supply.kind == kind]
        ids = [supply.account_id for supply in of_kind]
        held = await timelines(work, account_ids=ids, kind=TariffKind(kind), until=at + _SOON)
        plans = {each: plan_at(held.get(each, ()), at) for each in ids}
        stepped = {
            each.account_id: plan
            for each in of_kind
            if (plan := plans[each.account_id]) is not None and plan.steps and supplies[each]
        }
        used = await _used(work, stepped, kind, at, zone)
        for supply in of_kind:
            plan = plans[supply.account_id]
            if plan is None:
                continue
            so_far = used.get(supply.account_id, 0) if supplies[supply] else None
            key = (plan.version, None if so_far is None else step_of(plan, so_far))
            if key not in ready:
                ready[key] = prices_of(present(plan, noon, used=so_far, zone=zone))
            found[supply] = ready[key]
    return found


def prices_of(now: Present) -> HourPrices:
    """A day's bands by the hour; an hour that a band ends in has the mean of its minutes."""
    daily = now.monthly * _MONTHS // _YEAR
    if not now.bands:
        return HourPrices((now.price,) * 24, daily)
    hours = []
    for hour in range(24):
        begins, ends = hour * _HOUR, (hour + 1) * _HOUR
        whole = sum(
            band.price * max(0, min(end, ends) - max(start, begins))
            for band in now.bands
            for start, end in band.spans
        )
        hours.append((whole * 2 + _HOUR) // (2 * _HOUR))
    return HourPrices(tuple(hours), daily)


async def _used(
    work: UnitOfWork, plans: Mapping[UUID, Plan], kind: str, at: datetime, zone: ZoneInfo
) -> dict[UUID, int]:
    """What accounts used in the step period they are in."""
    if not plans:
        return {}
    month = month_of(at, zone)
    firsts = {each: step_period_start(plan, month) for each, plan in plans.items()}
    rows = await work.fetch(_USED, work.group_id, list(plans), kind, min(firsts.values()))
    found: dict[UUID, int] = defaultdict(int)
    for row in rows:
        if row["month"] >= firsts[row["account_id"]]:
            found[row["account_id"]] += row["used"]
    return found
