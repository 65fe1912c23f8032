"""A circuit has power when its timetable says so, on the day that the calendar makes of it (A24)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.control.calendar_rules import CutCalendar, DayKind, Mark
from backend.control.timetable_rules import (
    MOST_SLOTS,
    Slot,
    Timed,
    Timetable,
    check_name,
    plan_on,
    supply_at,
    timetable_of,
)
from backend.kernel.clock import CHINA
from backend.kernel.errors import InvalidInput

SUNDAY, DAY = date(2026, 11, 22), timedelta(days=1)
MONDAY, HOLIDAY = SUNDAY + DAY, date(2026, 10, 1)
NIGHT = (Slot(0, False), Slot(6 * 60, True), Slot(23 * 60, False))
LATE = (Slot(0, True), Slot(60, False), Slot(7 * 60, True))
ALWAYS = (Slot(0, True),)
_BEGIN = datetime(2026, 9, 1, tzinfo=UTC)


def china(day: date, clock: str) -> datetime:
    """A clock time of a day in China."""
    return datetime.combine(day, time.fromisoformat(clock), CHINA)


@st.composite
def day_plans(draw: st.DrawFn) -> tuple[Slot, ...]:
    """A day that makes sense."""
    minutes = sorted({0} | draw(st.sets(st.integers(1, 1439), max_size=MOST_SLOTS - 1)))
    first = draw(st.booleans())
    return tuple(Slot(minute, first is (index % 2 == 0)) for index, minute in enumerate(minutes))


@st.composite
def timetables(draw: st.DrawFn) -> Timetable:
    """A timetable that is both on and off at some time."""
    kinds = draw(st.sets(st.sampled_from(DayKind))) | {DayKind.WORKDAY}
    plans = {kind: draw(day_plans()) for kind in sorted(kinds)}
    if len({slot.on for plan in plans.values() for slot in plan}) == 1:
        plans[DayKind.WORKDAY] = NIGHT
    return timetable_of(plans)


_marks = st.dictionaries(
    st.dates(_BEGIN.date(), _BEGIN.date() + 90 * DAY),
    st.frozensets(st.sampled_from(Mark), min_size=1),
)
_instants = st.integers(0, 60 * 24 * 60).map(lambda minutes: _BEGIN + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("clock", "on", "until"),
    [
        ("05:59", False, china(MONDAY, "06:00")),
        ("06:00", True, china(MONDAY, "23:00")),
        ("22:59", True, china(MONDAY, "23:00")),
        ("23:00", False, china(MONDAY + DAY, "06:00")),
    ],
)
def test_power_goes_and_comes_at_its_minute(clock: str, on: bool, until: datetime) -> None:
    timetable = timetable_of({DayKind.WORKDAY: NIGHT})
    assert supply_at(timetable, CutCalendar(), china(MONDAY, clock)) == Timed(on, until)


@pytest.mark.parametrize(
    ("given", "day", "marks", "plan"),
    [
        ((DayKind.WEEKEND,), SUNDAY, (), LATE),
        ((), SUNDAY, (), NIGHT),
        ((DayKind.WEEKEND,), HOLIDAY, (), LATE),
        ((DayKind.WEEKEND, DayKind.HOLIDAY), HOLIDAY, (), ALWAYS),
        ((), HOLIDAY, (), NIGHT),
        ((DayKind.WEEKEND,), SUNDAY, (Mark.WORKDAY,), NIGHT),
        ((DayKind.EXAM,), MONDAY, (Mark.EXAM,), ALWAYS),
        ((DayKind.WEEKEND,), MONDAY, (Mark.EXAM,), NIGHT),
        ((DayKind.WEEKEND,), SUNDAY, (Mark.EXAM,), LATE),
        ((DayKind.WEEKEND,), MONDAY, (Mark.NO_CUT,), NIGHT),
    ],
)
def test_each_kind_of_day_has_its_plan_or_the_next_one_that_fits(
    given: tuple[DayKind, ...], day: date, marks: tuple[Mark, ...], plan: tuple[Slot, ...]
) -> None:
    others = {DayKind.WEEKEND: LATE, DayKind.HOLIDAY: ALWAYS, DayKind.EXAM: ALWAYS}
    plans = {DayKind.WORKDAY: NIGHT} | {kind: others[kind] for kind in given}
    assert plan_on(timetable_of(plans), {day: frozenset(marks)}, day) == plan


def test_a_change_that_is_days_away_is_found_and_one_that_never_comes_is_none() -> None:
    timetable = timetable_of({DayKind.WORKDAY: ALWAYS, DayKind.WEEKEND: LATE})
    wanted = Timed(True, china(SUNDAY - DAY, "01:00"))
    assert supply_at(timetable, CutCalendar(), china(date(2026, 11, 16), "01:30")) == wanted
    exams = timetable_of({DayKind.WORKDAY: ALWAYS, DayKind.EXAM: NIGHT})
    assert supply_at(exams, CutCalendar(), china(MONDAY, "12:00")) == Timed(True, None)


@given(timetables(), _marks, _instants)
def test_until_it_changes_it_stays_as_it_is_and_then_it_is_the_other(
    timetable: Timetable, marks: dict[date, frozenset[Mark]], at: datetime
) -> None:
    calendar = CutCalendar(marks=marks)
    now = supply_at(timetable, calendar, at)
    end = now.until or at + timedelta(days=13)
    assert end > at
    step = at
    while step < end:
        assert supply_at(timetable, calendar, step).on is now.on
        step += (end - at) / 7
    assert supply_at(timetable, calendar, end - timedelta(minutes=1)).on is now.on
    if now.until is not None:
        assert supply_at(timetable, calendar, now.until).on is not now.on


@pytest.mark.parametrize(
    ("plans", "told"),
    [
        ({DayKind.WEEKEND: NIGHT}, "workdays"),
        ({DayKind.WORKDAY: ()}, "1 to 8 slots"),
        ({DayKind.WORKDAY: tuple(Slot(n, n % 2 == 0) for n in range(9))}, "1 to 8 slots"),
        ({DayKind.WORKDAY: (Slot(1, True), Slot(2, False))}, "begins at 00:00"),
        ({DayKind.WORKDAY: (Slot(0, True), Slot(1440, False))}, "begins at 00:00"),
        ({DayKind.WORKDAY: (Slot(0, True), Slot(9, False), Slot(9, True))}, "rise"),
        ({DayKind.WORKDAY: (Slot(0, True), Slot(9, True))}, "changes"),
        ({DayKind.WORKDAY: ALWAYS}, "never off"),
        ({DayKind.WORKDAY: (Slot(0, False),), DayKind.EXAM: (Slot(0, False),)}, "never on"),
    ],
)
def test_a_timetable_that_makes_no_sense_is_refused(
    plans: dict[DayKind, tuple[Slot, ...]], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told) as refused:
        timetable_of(plans)
    assert refused.value.field == "plans"


def test_a_name_is_a_few_words() -> None:
    assert check_name(" 宿舍熄灯 ") == "宿舍熄灯"
    assert check_name("夜") == "夜"
    assert check_name("x" * 32) == "x" * 32
    for name in (" ", "x" * 33):
        with pytest.raises(InvalidInput):
            check_name(name)
