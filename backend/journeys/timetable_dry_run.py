"""A timetable replayed on the last days before it is made: what households would not have been able to use.

From use hour by hour; a day that readings do not tell all through is left out, and said to be.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import add
from uuid import UUID

from backend.accounts.queries import accounts_page
from backend.control.calendars import cut_calendar
from backend.control.dry_run_rules import OffUse, replay_timetable
from backend.control.timetable_rules import Timetable
from backend.kernel.clock import business_day
from backend.kernel.db import unit_of_work
from backend.kernel.scope import Scope
from backend.metering.hourly_use import HOURS, hours_used
from backend.metering.rules import MeterKind
from backend.tenancy.rules import Permission

from .policy_dry_run import DAYS

_SLACK = 1  # an hour without a reading is no silence: meters are read each half hour


@dataclass(frozen=True, slots=True)
class AccountOff:
    """An account on the days that are known of it; `off.used` in Wh."""

    account_id: UUID
    no: str
    name: str
    off: OffUse


async def timetable_dry_run(
    *,
    scope: Scope,
    project_id: UUID,
    timetable: Timetable,
    first: int,
    after_no: str | None,
    at: datetime,
) -> list[AccountOff]:
    """A page of a project's accounts by number, each with what the timetable would have kept it from using of
    electricity on the last 31 days. Writes nothing. Raises NotFound, Forbidden."""
    since = at - timedelta(days=DAYS)
    async with unit_of_work(scope.group_id) as work:
        calendar = await cut_calendar(work, scope=scope, project_id=project_id, at=since)
        scope.require(Permission.METER_CONTROL, project_id)
        accounts = await accounts_page(
            work, scope=scope, project_id=project_id, after_no=after_no, limit=first
        )
        begins = business_day(since, calendar.zone)
        rows = await hours_used(
            work,
            firsts=[(account.id, begins) for account in accounts],
            last=business_day(at, calendar.zone),
        )
    days: dict[UUID, dict[date, tuple[int, ...]]] = defaultdict(dict)
    for row in rows:
        by_hour = row.by_hour(_SLACK)
        if by_hour is not None and row.kind == MeterKind.ELECTRICITY:
            before = days[row.account_id].get(row.day, (0,) * HOURS)
            days[row.account_id][row.day] = tuple(map(add, before, by_hour))
    return [
        AccountOff(
            account.id,
            account.no,
            account.name,
            replay_timetable(timetable, calendar.marks, days[account.id].items()),
        )
        for account in accounts
    ]
