"""Warn in time that money runs out: days before, and before an office closes for longer than it lasts.

Once an episode: the alarm that stands is the episode. It ends, and the next one may begin, when money
lasts a day longer than the project warns of, as it does after a top-up (C27).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.accounts.queries import drawing_from
from backend.alerts.alarm_rules import LEVELS, AlarmKind
from backend.alerts.alarms import Alarm, NewAlarm, end_alarms, raise_alarms
from backend.charges.forecast_rules import Forecast
from backend.charges.forecasts import Kept
from backend.control.calendar_rules import CutCalendar, next_window, no_cut_day
from backend.control.calendars import cut_calendars
from backend.kernel.clock import business_day, utc
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.tenancy.models import Project

from .news import china_time, tell_customers

_DAY = timedelta(days=1)
_MORE = 1  # days above what is warned of, before there is a next warning
_LOOK_AHEAD = 40  # days; as far as `next_window` looks


class Looked(NamedTuple):
    """What a look found of a place, the hao that are left there; `meter_id`: of a meter's own money."""

    kept: Kept
    left: int
    meter_id: UUID | None


def opens_again(calendar: CutCalendar, at: datetime) -> datetime | None:
    """When a project's office opens after it closes next (UTC): what does not last till then must be topped
    up before. Its hours are those in which cuts may happen (backend/control/calendar_rules.py)."""
    today = business_day(at, calendar.zone)
    for ahead in range(_LOOK_AHEAD):
        day = today + ahead * _DAY
        hour = time(*divmod(calendar.window.closes, 60))
        closes = utc(datetime.combine(day, hour, calendar.zone))
        if closes > at and not no_cut_day(calendar, day):
            return next_window(calendar, closes)
    return None


def is_due(found: Forecast, *, days: int, opens: datetime | None, at: datetime) -> bool:
    """Whether a place is warned of: zero is `days` away or less, or comes before the office `opens`."""
    zero = found.zero_at
    return zero is not None and (zero <= at + days * _DAY or (opens is not None and zero < opens))


async def warn(
    work: UnitOfWork, *, project: Project, looked: Sequence[Looked], at: datetime
) -> int:
    """Begin and end the episodes of places of a project; how many began. What is used up already is left to
    the alarms of arrears."""
    calendars = await cut_calendars(work, project_ids=[project.id], at=at)
    opens = opens_again(calendars[project.id], at)
    days = project.warn_days_left
    due, over = {}, []
    for each in looked:
        found = each.kept.found
        if is_due(found, days=days, opens=opens, at=at):
            if each.left > 0:
                due[str(each.kept.ref)] = each
        elif not is_due(found, days=days + _MORE, opens=opens, at=at):
            over.append(str(each.kept.ref))
    note = "it lasts longer again"
    await end_alarms(work, kind=AlarmKind.DAYS_LEFT, subjects=over, note=note, at=at)
    began = await raise_alarms(work, alarms=[_alarm(each) for each in due.values()], at=at)
    await _tell(work, [(alarm, due[alarm.subject]) for alarm in began], at)
    return len(began)


async def end_warnings(work: UnitOfWork, *, refs: Sequence[UUID], at: datetime) -> None:
    """End the episodes of places that are no more: accounts that were closed, meters taken down."""
    note, subjects = "nothing is paid from it any more", [str(ref) for ref in refs]
    await end_alarms(work, kind=AlarmKind.DAYS_LEFT, subjects=subjects, note=note, at=at)


def _alarm(each: Looked) -> NewAlarm:
    kept = each.kept
    zero = kept.found.zero_at
    assert zero is not None, "what has no end is not warned of"
    return NewAlarm(
        project_id=kept.project_id,
        kind=AlarmKind.DAYS_LEFT,
        subject=str(kept.ref),
        account_id=kept.account_id,
        meter_id=each.meter_id,
        gateway_id=None,
        level=LEVELS[AlarmKind.DAYS_LEFT],
        detail={
            "days": str(kept.found.days_left),
            "zero": zero.isoformat(),
            "left": str(Money(each.left)),
        },
    )


async def _tell(work: UnitOfWork, began: Sequence[tuple[Alarm, Looked]], at: datetime) -> None:
    """The customers of a place: all who draw from a purse, or whom a meter serves."""
    refs = [each.kept.ref for _, each in began if each.kept.assignment_id is None]
    drawing = await drawing_from(work, purses=refs)
    for alarm, each in began:
        kept, zero = each.kept, each.kept.found.zero_at
        whom = [account_id for account_id, purse in drawing.items() if purse == kept.ref]
        if kept.assignment_id is not None:
            whom = [kept.account_id]
        assert zero is not None, "what has no end is not warned of"
        for account_id in whom:
            await tell_customers(
                work,
                account_id=account_id,
                event="days_left",
                key=f"days-left-{alarm.id.hex}-{account_id.hex[-8:]}",
                params={
                    "days": str(kept.found.days_left),
                    "time": china_time(zero),
                    "amount": str(Money(each.left)),
                },
                at=at,
            )
