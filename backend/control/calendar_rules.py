"""When a project may be cut for arrears, and what kind of day a day is (C20, A24).

Pure. Days are those of the project's zone. A restore and everything that is no automatic cut knows no
calendar. Public holidays are never a day of cuts, whether somebody listed them or not: the lawful days and
the bridges that every notice of the State Council has given are built in; the yearly list that an operator
edits adds to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backend.kernel.clock import CHINA, business_day, utc
from backend.kernel.errors import InvalidInput

# Nobody is in the dark at night for money: between 23:00 and 06:00 no window may lie, whatever is set
# (reference/domain-notes.md 2.15).
EARLIEST, LATEST = 6 * 60, 23 * 60
_SHORTEST = 30
_MOST_NOTICE = 7 * 24  # hours
_MOST_DAYS = 62  # marked at a time
_AHEAD = timedelta(days=800)
_NAME_LENGTH = 32
_LOOK_AHEAD = 40  # days; the longest holiday with its weekends is shorter


class Mark(StrEnum):
    """What a day of a project is besides its weekday. HOLIDAY: nobody is cut, holiday timetables hold.
    NO_CUT: nobody is cut (heat, frost, a storm). WORKDAY 调休: a weekend's day that is worked. EXAM: exam
    timetables hold."""

    HOLIDAY = "HOLIDAY"
    NO_CUT = "NO_CUT"
    WORKDAY = "WORKDAY"
    EXAM = "EXAM"


class DayKind(StrEnum):
    """Which day plan of a timetable a day has."""

    WORKDAY = "WORKDAY"
    WEEKEND = "WEEKEND"
    HOLIDAY = "HOLIDAY"
    EXAM = "EXAM"


@dataclass(frozen=True, slots=True)
class CutWindow:
    """When automatic cuts may happen: from minute `opens` to `closes` (not inside) of a day whose weekday
    (1 Monday to 7 Sunday) is one of `weekdays`; `notice`: how long before it the warning must have been
    delivered."""

    opens: int = 9 * 60
    closes: int = 17 * 60
    weekdays: tuple[int, ...] = (1, 2, 3, 4, 5)
    notice: timedelta = timedelta(hours=24)


DEFAULT = (
    CutWindow()
)  # reference/trust.md section 5: no trips 17:00-09:00, on weekends, on holidays


class CutCalendar(NamedTuple):
    """A project's window and the marks of its days."""

    window: CutWindow = DEFAULT
    marks: Mapping[date, frozenset[Mark]] = MappingProxyType({})
    zone: ZoneInfo = CHINA


class MayCut(NamedTuple):
    """Whether the hour is inside the window, and whether the day is one on which nobody is cut."""

    window_open: bool
    no_cut_day: bool

    def __bool__(self) -> bool:
        return self.window_open and not self.no_cut_day


# First day of the Spring Festival, Qingming, Dragon Boat, Mid-Autumn, as (month, day): astronomy, compared
# with the PyPI package `holidays` 0.109. A year that is not here is one of no cuts.
_LUNAR = {
    2026: ((2, 17), (4, 5), (6, 19), (9, 25)),
    2027: ((2, 6), (4, 5), (6, 9), (9, 15)),
    2028: ((1, 26), (4, 4), (5, 28), (10, 3)),
    2029: ((2, 13), (4, 4), (6, 16), (9, 22)),
    2030: ((2, 3), (4, 5), (6, 5), (9, 12)),
    2031: ((1, 23), (4, 5), (6, 24), (10, 1)),
    2032: ((2, 11), (4, 4), (6, 12), (9, 19)),
    2033: ((1, 31), (4, 4), (6, 1), (9, 8)),
    2034: ((2, 19), (4, 5), (6, 20), (9, 27)),
    2035: ((2, 8), (4, 5), (6, 10), (9, 16)),
}
# Days off counted from that day or from the fixed ones: the eve and seven days of the Spring Festival, five
# days of May, seven of October [G: as the notices of 2020 to 2026 had them; the law itself names fewer].
_SPRING = range(-1, 7)
_FIXED = ((1, 1, 1), (5, 1, 5), (10, 1, 7))


def public_holiday(day: date) -> bool:
    """Whether a day is a public holiday of China by itself, whatever this year's notice adds."""
    if day.year not in _LUNAR:
        return True  # not known yet: nobody is cut by mistake
    spring, *single = _LUNAR[day.year]
    if (day.month, day.day) in single:
        return True
    if (day - date(day.year, *spring)).days in _SPRING:
        return True
    return any(month == day.month and first <= day.day < first + n for month, first, n in _FIXED)


def no_cut_day(calendar: CutCalendar, day: date) -> bool:
    """Whether nobody is cut on a day. A weekend's day that is worked (调休) stays one: its office may be
    open, but the customer's plans are his weekend's."""
    marks = calendar.marks.get(day, frozenset())
    if Mark.NO_CUT in marks or Mark.HOLIDAY in marks or public_holiday(day):
        return True
    return day.isoweekday() not in calendar.window.weekdays


def may_cut(calendar: CutCalendar, at: datetime) -> MayCut:
    """Whether an automatic cut may happen at an instant, as far as the calendar is asked (C20)."""
    local = at.astimezone(calendar.zone)
    minute = 60 * local.hour + local.minute
    window = calendar.window
    return MayCut(window.opens <= minute < window.closes, no_cut_day(calendar, local.date()))


def next_window(calendar: CutCalendar, at: datetime) -> datetime | None:
    """The instant at which a cut may happen at the earliest: `at` itself inside a window, else when the
    next one opens; None when none does in forty days. UTC."""
    if may_cut(calendar, at):
        return utc(at)
    today = business_day(at, calendar.zone)
    for ahead in range(_LOOK_AHEAD):
        day = today + timedelta(days=ahead)
        opens = time(*divmod(calendar.window.opens, 60))
        instant = utc(datetime.combine(day, opens, calendar.zone))
        if instant > at and not no_cut_day(calendar, day):
            return instant
    return None


def day_kind(marks: Mapping[date, frozenset[Mark]], day: date) -> DayKind:
    """Which day plan of a timetable holds on a day: exams before holidays, a worked weekend is a workday,
    and so is a public holiday that this project marked as one."""
    marked = marks.get(day, frozenset())
    if Mark.EXAM in marked:
        return DayKind.EXAM
    if Mark.HOLIDAY in marked:
        return DayKind.HOLIDAY
    if Mark.WORKDAY in marked:
        return DayKind.WORKDAY
    if day.year in _LUNAR and public_holiday(day):
        return DayKind.HOLIDAY
    return DayKind.WEEKEND if day.isoweekday() >= 6 else DayKind.WORKDAY


def window_of(opens: int, closes: int, weekdays: Sequence[int], notice_hours: int) -> CutWindow:
    """A window as it is kept, its weekdays in order.

    Raises InvalidInput: it does not open before it closes, is shorter than half an hour, reaches into the
    night, has no weekday or one that is none, or a notice of less than an hour or more than a week.
    """
    if not EARLIEST <= opens <= closes - _SHORTEST <= LATEST - _SHORTEST:
        rule = "a window of cuts lies between 06:00 and 23:00 and is open for half an hour or more"
        raise InvalidInput(rule, field="closes")
    days = tuple(sorted(set(weekdays)))
    if not days or not set(days) <= set(range(1, 8)):
        raise InvalidInput("weekdays are 1 (Monday) to 7 (Sunday), one at least", field="weekdays")
    if not 1 <= notice_hours <= _MOST_NOTICE:
        raise InvalidInput("a warning is 1 to 168 hours before a cut", field="noticeHours")
    return CutWindow(opens, closes, days, timedelta(hours=notice_hours))


def check_marking(*, days: Sequence[date], mark: Mark, name: str, today: date) -> str:
    """The name of what is marked, as it is kept.

    Raises InvalidInput: no day, more than 62, one that is over or years away, a worked weekend that is no
    weekend, no name.
    """
    told = name.strip()
    if not 1 <= len(told) <= _NAME_LENGTH:
        raise InvalidInput(f"a day's name has 1 to {_NAME_LENGTH} characters", field="name")
    check_days(days=days, today=today)
    if mark is Mark.WORKDAY and any(
        day.isoweekday() < 6 and not public_holiday(day) for day in days
    ):
        raise InvalidInput("only a weekend's day or a holiday is made a workday", field="days")
    return told


def check_days(*, days: Sequence[date], today: date) -> None:
    """Raises InvalidInput for no day, more than 62, one that is over or more than 800 days away."""
    if not 1 <= len(set(days)) <= _MOST_DAYS:
        raise InvalidInput(f"mark 1 to {_MOST_DAYS} days at a time", field="days")
    if min(days) < today or max(days) > today + _AHEAD:
        raise InvalidInput("mark days from today on, two years ahead at most", field="days")
