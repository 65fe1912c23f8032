"""No cut at night, on a weekend or on a holiday, whatever an operator sets (C20)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.control.calendar_rules import (
    EARLIEST,
    LATEST,
    CutCalendar,
    CutWindow,
    DayKind,
    Mark,
    check_marking,
    day_kind,
    may_cut,
    next_window,
    public_holiday,
    window_of,
)
from backend.kernel.clock import CHINA
from backend.kernel.errors import InvalidInput

MONDAY = date(2026, 11, 23)
DAY = timedelta(days=1)
_windows = st.builds(
    lambda opens, length, weekdays: CutWindow(opens, opens + length, tuple(sorted(weekdays))),
    st.integers(EARLIEST, LATEST - 60),
    st.integers(30, 60),
    st.sets(st.integers(1, 7), min_size=1),
)
_BEGIN = datetime(2026, 1, 2, tzinfo=UTC)
_instants = st.integers(0, 9 * 365 * 24 * 60).map(
    lambda minutes: _BEGIN + timedelta(minutes=minutes)
)
_marks = st.dictionaries(
    st.dates(date(2026, 1, 1), date(2035, 12, 31)), st.frozensets(st.sampled_from(Mark), min_size=1)
)


def china(day: date, clock: str) -> datetime:
    """A clock time of a day in China."""
    return datetime.combine(day, time.fromisoformat(clock), CHINA)


@pytest.mark.parametrize(
    ("clock", "open_"),
    [("08:59", False), ("09:00", True), ("16:59", True), ("17:00", False), ("23:30", False)],
)
def test_cuts_happen_in_office_hours_and_not_a_minute_beyond(clock: str, open_: bool) -> None:
    may = may_cut(CutCalendar(), china(MONDAY, clock))
    assert (may.window_open, may.no_cut_day, bool(may)) == (open_, False, open_)


@pytest.mark.parametrize(
    "day",
    [
        date(2026, 11, 28),  # Saturday
        date(2026, 11, 29),
        date(2026, 1, 1),
        date(2026, 2, 16),  # the eve of the Spring Festival
        date(2026, 2, 23),
        date(2027, 2, 12),  # its seventh day
        date(2026, 4, 6 - 1),
        date(2026, 5, 5),
        date(2026, 6, 19),
        date(2026, 9, 25),
        date(2026, 10, 7),
        date(2036, 3, 3),  # a year whose holidays nobody has given yet
    ],
)
def test_nobody_is_cut_on_a_weekend_or_a_public_holiday_though_nobody_listed_it(day: date) -> None:
    may = may_cut(CutCalendar(), china(day, "10:00"))
    assert may.no_cut_day
    assert not may


@pytest.mark.parametrize(
    "day", [date(2026, 2, 13), date(2026, 2, 24), date(2026, 5, 6), date(2026, 10, 8)]
)
def test_the_working_days_around_a_holiday_are_none(day: date) -> None:
    assert not public_holiday(day)
    assert may_cut(CutCalendar(), china(day, "10:00"))


@pytest.mark.parametrize("mark", [Mark.HOLIDAY, Mark.NO_CUT])
def test_a_day_that_an_operator_marked_is_one_of_no_cuts(mark: Mark) -> None:
    marked = CutCalendar(marks={MONDAY: frozenset({mark})})
    assert not may_cut(marked, china(MONDAY, "10:00"))
    assert may_cut(marked, china(MONDAY + DAY, "10:00"))


def test_a_worked_saturday_is_a_workday_to_timetables_and_no_day_of_cuts() -> None:
    saturday = date(2026, 11, 28)
    marked = CutCalendar(marks={saturday: frozenset({Mark.WORKDAY})})
    assert day_kind(marked.marks, saturday) is DayKind.WORKDAY
    assert not may_cut(marked, china(saturday, "10:00"))


@pytest.mark.parametrize(
    ("day", "marks", "kind"),
    [
        (MONDAY, (), DayKind.WORKDAY),
        (date(2026, 11, 28), (), DayKind.WEEKEND),
        (date(2026, 10, 1), (), DayKind.HOLIDAY),
        (date(2026, 10, 1), (Mark.WORKDAY,), DayKind.WORKDAY),
        (MONDAY, (Mark.HOLIDAY,), DayKind.HOLIDAY),
        (MONDAY, (Mark.NO_CUT,), DayKind.WORKDAY),
        (MONDAY, (Mark.HOLIDAY, Mark.EXAM), DayKind.EXAM),
        (date(2036, 11, 24), (), DayKind.WORKDAY),  # nothing is known of that year's holidays
    ],
)
def test_exams_come_before_holidays_and_holidays_before_weekdays(
    day: date, marks: tuple[Mark, ...], kind: DayKind
) -> None:
    assert day_kind({day: frozenset(marks)}, day) is kind


@given(_windows, _marks, _instants)
def test_no_setting_whatever_cuts_anybody_at_night_or_on_a_holiday(
    window: CutWindow, marks: dict[date, frozenset[Mark]], at: datetime
) -> None:
    calendar = CutCalendar(window, marks)
    if may_cut(calendar, at):
        local = at.astimezone(CHINA)
        assert time(6) <= local.time() < time(23)
        assert local.isoweekday() in window.weekdays
        assert not public_holiday(local.date())
        assert not marks.get(local.date(), frozenset()) & {Mark.HOLIDAY, Mark.NO_CUT}


@given(_windows, _instants)
def test_the_next_window_is_one_in_which_cuts_may_happen_and_none_lies_before_it(
    window: CutWindow, at: datetime
) -> None:
    calendar = CutCalendar(window)
    found = next_window(calendar, at)
    if found is None:
        return
    assert found >= at
    assert may_cut(calendar, found)
    half_hour, step = timedelta(minutes=30), at
    while step < found:
        assert not may_cut(calendar, step)
        step += half_hour


def test_there_is_no_next_window_where_every_day_is_one_of_no_cuts() -> None:
    storms = {MONDAY + n * DAY: frozenset({Mark.NO_CUT}) for n in range(60)}
    assert next_window(CutCalendar(marks=storms), china(MONDAY, "10:00")) is None


@given(_windows)
def test_a_window_that_makes_sense_is_kept_as_it_is(window: CutWindow) -> None:
    assert window_of(window.opens, window.closes, window.weekdays[::-1], 24) == window


@pytest.mark.parametrize("hours", [1, 168])
def test_a_warning_of_an_hour_or_a_week_makes_sense(hours: int) -> None:
    assert window_of(540, 1020, (1,), hours).notice == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("opens", "closes", "weekdays", "hours", "field"),
    [
        (359, 1020, (1,), 24, "closes"),
        (540, 1381, (1,), 24, "closes"),
        (540, 569, (1,), 24, "closes"),
        (1020, 540, (1,), 24, "closes"),
        (540, 1020, (), 24, "weekdays"),
        (540, 1020, (0,), 24, "weekdays"),
        (540, 1020, (1, 8), 24, "weekdays"),
        (540, 1020, (1,), 0, "noticeHours"),
        (540, 1020, (1,), 169, "noticeHours"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(
    opens: int, closes: int, weekdays: tuple[int, ...], hours: int, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        window_of(opens, closes, weekdays, hours)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("days", "mark", "name", "field"),
    [
        ([], Mark.HOLIDAY, "春节", "days"),
        ([MONDAY + n * DAY for n in range(63)], Mark.HOLIDAY, "春节", "days"),
        ([MONDAY - DAY], Mark.HOLIDAY, "昨天", "days"),
        ([MONDAY + 801 * DAY], Mark.HOLIDAY, "后年", "days"),
        ([MONDAY], Mark.WORKDAY, "调休", "days"),
        ([MONDAY, MONDAY - DAY], Mark.HOLIDAY, "昨天", "days"),
        ([MONDAY + 801 * DAY, MONDAY], Mark.HOLIDAY, "后年", "days"),
        ([MONDAY, MONDAY + 5 * DAY], Mark.WORKDAY, "调休", "days"),
        ([MONDAY], Mark.NO_CUT, " ", "name"),
        ([MONDAY], Mark.NO_CUT, "x" * 33, "name"),
    ],
)
def test_a_mark_that_makes_no_sense_is_refused(
    days: list[date], mark: Mark, name: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_marking(days=days, mark=mark, name=name, today=MONDAY)
    assert refused.value.field == field


def test_a_day_is_marked_up_to_two_years_ahead() -> None:
    days = [MONDAY, MONDAY + 5 * DAY, MONDAY + 800 * DAY]
    assert check_marking(days=days[1:2], mark=Mark.WORKDAY, name=" 调休 ", today=MONDAY) == "调休"
    assert check_marking(days=days, mark=Mark.NO_CUT, name="寒潮", today=MONDAY) == "寒潮"
    assert check_marking(days=days, mark=Mark.NO_CUT, name="雪", today=MONDAY) == "雪"
