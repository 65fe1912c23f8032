"""When a circuit is to have power by its timetable, and when that changes next (A24).

Pure. A day has at most eight slots, by its kind: workday, weekend, holiday, exam. What a timetable opened it
closes again; a payment does not (C21).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple

from backend.kernel.clock import utc
from backend.kernel.errors import InvalidInput

from .calendar_rules import CutCalendar, DayKind, Mark, day_kind

MOST_SLOTS = 8  # reference/domain-notes.md 2.15: what dormitory meters of the field hold
ALONE = 10  # one operator plans for so many meters; more are a mass cut and take two (C22)
_DAY = 24 * 60
_LOOK_AHEAD = 14  # days
_NAME_LENGTH = 32
# Where a timetable says nothing of a kind of day, what holds instead.
_ELSE = {DayKind.HOLIDAY: DayKind.WEEKEND, DayKind.WEEKEND: DayKind.WORKDAY}


class Slot(NamedTuple):
    """From `minute` of the day on the circuit is on, or off."""

    minute: int
    on: bool


DayPlan = tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Timetable:
    """定时: the day plans by kind of day; WORKDAY is always there."""

    plans: Mapping[DayKind, DayPlan]


class Timed(NamedTuple):
    """Whether the circuit is to have power; `until`: when that changes, None when not within two weeks."""

    on: bool
    until: datetime | None


def plan_on(timetable: Timetable, marks: Mapping[date, frozenset[Mark]], day: date) -> DayPlan:
    """The slots of a day. Exams without a plan of their own are days like any other."""
    kind = day_kind(marks, day)
    if kind is DayKind.EXAM and kind not in timetable.plans:
        kind = day_kind({day: marks[day] - {Mark.EXAM}}, day)
    while kind not in timetable.plans:
        kind = _ELSE[kind]
    return timetable.plans[kind]


def supply_at(timetable: Timetable, calendar: CutCalendar, at: datetime) -> Timed:
    """Whether there is to be power at an instant, and until when (UTC)."""
    local = at.astimezone(calendar.zone)
    today, minute = local.date(), 60 * local.hour + local.minute
    on = [s.on for s in plan_on(timetable, calendar.marks, today) if s.minute <= minute][-1]
    for ahead in range(_LOOK_AHEAD):
        day = today + timedelta(days=ahead)
        for slot in plan_on(timetable, calendar.marks, day):
            begins = utc(datetime.combine(day, time(*divmod(slot.minute, 60)), calendar.zone))
            if begins > at and slot.on is not on:
                return Timed(on, begins)
    return Timed(on, None)


def timetable_of(plans: Mapping[DayKind, Sequence[Slot]]) -> Timetable:
    """A timetable as it is kept.

    Raises InvalidInput: no workday; a day of no slots or more than eight, that does not begin at 00:00, does
    not rise, or says the same twice in a row; one that is never off, or never on.
    """
    if DayKind.WORKDAY not in plans:
        raise InvalidInput("a timetable has a plan for workdays", field="plans")
    for kind, slots in plans.items():
        _check_day(kind, slots)
    states = {slot.on for slots in plans.values() for slot in slots}
    if states == {True}:
        raise InvalidInput(
            "this timetable is never off: take the timetable off instead", field="plans"
        )
    if states == {False}:
        raise InvalidInput(
            "this timetable is never on: that is a trip, and needs one", field="plans"
        )
    return Timetable({kind: tuple(slots) for kind, slots in plans.items()})


def _check_day(kind: DayKind, slots: Sequence[Slot]) -> None:
    if not 1 <= len(slots) <= MOST_SLOTS:
        raise InvalidInput(f"{kind}: a day has 1 to {MOST_SLOTS} slots", field="plans")
    if slots[0].minute != 0 or slots[-1].minute >= _DAY:
        raise InvalidInput(f"{kind}: a day begins at 00:00 and ends with it", field="plans")
    for earlier, later in pairwise(slots):
        if later.minute <= earlier.minute:
            raise InvalidInput(f"{kind}: the slots of a day rise", field="plans")
        if later.on is earlier.on:
            raise InvalidInput(f"{kind}: a slot changes what the one before said", field="plans")


def check_name(name: str) -> str:
    """A name as it is kept. Raises InvalidInput."""
    told = name.strip()
    if not 1 <= len(told) <= _NAME_LENGTH:
        raise InvalidInput(f"a name has 1 to {_NAME_LENGTH} characters", field="name")
    return told
