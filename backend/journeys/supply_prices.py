"""What accounts pay now for what they use, and what their month costs so far (C16, C18)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.charges.queries import months_of
from backend.charges.rules import Month, Supply
from backend.kernel.db import UnitOfWork
from backend.tariffs.calendar import month_of, plan_at, step_period_start
from backend.tariffs.present import Present, present
from backend.tariffs.queries import timelines
from backend.tariffs.rules import StepPeriod, TariffKind

_YEAR = timedelta(days=366)
_SOON = timedelta(seconds=1)


class SupplyPrice(NamedTuple):
    """What the next unit of a supply costs, None without a tariff; its month to date, None when nothing is
    charged by the cloud. `used`: base units used in the step period."""

    now: Present | None
    used: int
    yearly: bool
    month: Month | None


async def supply_prices(
    work: UnitOfWork, *, supplies: Mapping[Supply, bool], at: datetime
) -> dict[Supply, SupplyPrice]:
    """Prices and months of supplies, each with whether the cloud holds its money: two statements a kind of
    supply, one for all months."""
    today = month_of(at)
    months = await months_of(work, supplies=list(supplies), first=(today - _YEAR).replace(day=1))
    found: dict[Supply, SupplyPrice] = {}
    for kind in sorted({supply.kind for supply in supplies}):
        ids: list[UUID] = [supply.account_id for supply in supplies if supply.kind == kind]
        held = await timelines(work, account_ids=ids, kind=TariffKind(kind), until=at + _SOON)
        for account_id in ids:
            supply = Supply(account_id, kind)
            plan = plan_at(held.get(account_id, ()), at)
            if plan is None:
                found[supply] = SupplyPrice(None, 0, False, months.get((supply, today)))
                continue
            first = step_period_start(plan, today)
            used = _used(months.items(), supply, first)
            now = present(plan, at, used=used if supplies[supply] else None)
            yearly = plan.terms.step_period is StepPeriod.YEAR
            found[supply] = SupplyPrice(now, used, yearly, months.get((supply, today)))
    return found


def _used(months: Iterable[tuple[tuple[Supply, date], Month]], supply: Supply, first: date) -> int:
    return sum(held.used for (whose, when), held in months if whose == supply and when >= first)
