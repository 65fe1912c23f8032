"""Which season, day plan, band and step period an instant is in, and where a span of time must be cut.

Pure. Days are those of the project's zone. Cuts are where another rule begins to hold: a new version, a
season, a month; every step year begins with a month, so it needs no cut of its own.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backend.kernel.band_calendar import BANDS, Calendar, DaySlot, YearZone, plain
from backend.kernel.clock import CHINA, utc

from .rules import Days, Plan, StepPeriod, Use, band_prices


class Held(NamedTuple):
    """From `effective_at` on, `plan` holds for an account and kind (until the next one does)."""

    effective_at: datetime
    plan: Plan


class Piece(NamedTuple):
    """A span of time, all of it in one month, plan and season. `month`: its first day. `days`: the days
    of the month that end in it, for the monthly fee; a day that ends at midnight ends in the piece that
    ends there, and is borne whole by it."""

    start: datetime
    end: datetime
    month: date
    plan: Plan
    season: int
    days: Days


def season_on(plan: Plan, day: date) -> int:
    """The index of the season of a day; before the first of a year that year's last one still holds."""
    seasons = plan.terms.seasons
    begun = [i for i, s in enumerate(seasons) if (s.month, s.day) <= (day.month, day.day)]
    return begun[-1] if begun else len(seasons) - 1


def day_plan_on(plan: Plan, day: date) -> tuple[DaySlot, ...]:
    """The slots of a day: the date's own plan, else its season's for working days or weekends."""
    terms = plan.terms
    index = terms.days.get(day)
    if index is None:
        season = terms.seasons[season_on(plan, day)]
        index = season.weekend if day.weekday() >= 5 else season.workday
    return terms.day_plans[index]


def band_at(plan: Plan, at: datetime, zone: ZoneInfo = CHINA) -> str:
    """The band that use at an instant counts in by the plan's own calendar."""
    local = at.astimezone(zone)
    minute = 60 * local.hour + local.minute
    return [s.band for s in day_plan_on(plan, local.date()) if s.minute <= minute][-1]


def meter_hours(plan: Plan, since: date) -> tuple[Calendar, str]:
    """The hours of a plan's bands as a meter of year zones and day tables holds them, and what of them such a
    meter cannot hold from a day on; empty when it holds all.

    No hours at all where none are told (flat all day, every day) or where all cost the same."""
    terms = plan.terms
    seasons = terms.seasons
    usual = {index for season in seasons for index in (season.workday, season.weekend)}
    told = {slot.band for index in usual for slot in terms.day_plans[index]}
    if told == {"flat"} or all(len(set(band_prices(season))) == 1 for season in seasons):
        return Calendar((), ()), ""
    plans, cannot = terms.day_plans, []
    if any(plans[season.workday] != plans[season.weekend] for season in seasons):
        cannot.append("other hours at weekends")
    if any(
        day >= since and plans[index] != plans[seasons[season_on(plan, day)].workday]
        for day, index in terms.days.items()
    ):
        cannot.append("other hours on single days")
    zones = (YearZone(each.month, each.day, each.workday + 1) for each in seasons)
    return plain(Calendar(tuple(zones), plans)), ", ".join(cannot)


def month_of(at: datetime, zone: ZoneInfo = CHINA) -> date:
    """The first day of the month of an instant."""
    return at.astimezone(zone).date().replace(day=1)


def step_period_start(plan: Plan, day: date) -> date:
    """The first day of the step period of a day: of its month, or of the year that begins in the
    plan's month."""
    if plan.terms.step_period is StepPeriod.MONTH:
        return day.replace(day=1)
    starts_in = plan.terms.year_starts_in
    return date(day.year - (day.month < starts_in), starts_in, 1)


def plan_at(timeline: Sequence[Held], at: datetime) -> Plan | None:
    """The plan that holds at an instant; `timeline` rises. None: none does yet."""
    found = None
    for held in timeline:
        if held.effective_at > at:
            break
        found = held.plan
    return found


def midnight(day: date, zone: ZoneInfo = CHINA) -> datetime:
    """The instant at which a day begins, UTC."""
    return _instant(day, 0, zone)


def _instant(day: date, minute: int, zone: ZoneInfo) -> datetime:
    return utc(datetime.combine(day, time(*divmod(minute, 60)), zone))


def day_borders(start: datetime, end: datetime, zone: ZoneInfo = CHINA) -> tuple[datetime, ...]:
    """The midnights strictly inside a span."""
    found = []
    day = start.astimezone(zone).date() + timedelta(days=1)
    while (border := midnight(day, zone)) < end:
        found.append(border)
        day += timedelta(days=1)
    return tuple(found)


def month_borders(start: datetime, end: datetime, zone: ZoneInfo = CHINA) -> tuple[datetime, ...]:
    """The first midnights of months strictly inside a span."""
    found = []
    month = next_month(month_of(start, zone))
    while (border := midnight(month, zone)) < end:
        found.append(border)
        month = next_month(month)
    return tuple(found)


def cuts(
    timeline: Sequence[Held], start: datetime, end: datetime, zone: ZoneInfo = CHINA
) -> tuple[datetime, ...]:
    """Every instant strictly inside a span at which a version, a season or a month begins."""
    found = set(month_borders(start, end, zone))
    found.update(held.effective_at for held in timeline if start < held.effective_at < end)
    first, last = start.astimezone(zone).year, end.astimezone(zone).year
    for held in timeline:
        if len(held.plan.terms.seasons) == 1:
            continue
        for season in held.plan.terms.seasons:
            for year in range(first, last + 1):
                border = midnight(date(year, season.month, season.day), zone)
                if start < border < end and plan_at(timeline, border) is held.plan:
                    found.add(border)
    return tuple(sorted(found))


def pieces(
    timeline: Sequence[Held], start: datetime, end: datetime, zone: ZoneInfo = CHINA
) -> tuple[Piece, ...]:
    """A span as pieces of one month, plan and season each, in order. Raises ValueError when it is empty
    or begins before any plan holds."""
    if start >= end:
        raise ValueError("a span ends after it starts")
    if plan_at(timeline, start) is None:
        raise ValueError("no plan holds when the span begins")
    found = []
    for begins, ends in pairwise((start, *cuts(timeline, start, end, zone), end)):
        plan = plan_at(timeline, begins)
        assert plan is not None, "the first one holds until the next"
        local = begins.astimezone(zone).date()
        days = days_ended(begins, ends, zone)
        found.append(Piece(begins, ends, local.replace(day=1), plan, season_on(plan, local), days))
    return tuple(found)


def days_ended(start: datetime, end: datetime, zone: ZoneInfo = CHINA) -> Days:
    """The days that end in a span of one month: their midnights lie after `start`, at `end` at most."""
    first = start.astimezone(zone).date()
    length = monthrange(first.year, first.month)[1]
    last = end.astimezone(zone).date()
    ended = last.day - 1 if (last.year, last.month) == (first.year, first.month) else length
    return Days(first.day - 1, ended, length)


def split_use(use: Use, start: datetime, end: datetime, at: Sequence[datetime]) -> tuple[Use, ...]:
    """The use between two readings, shared by time over the parts that the rising instants `at` cut the
    span into. Whole base units, nothing lost: the parts add up to `use`, band by band.

    An estimate: the caller flags the charge (C15, C17).
    """
    span = _micros(start, end)
    done = [_micros(start, cut) for cut in at]
    shared = []
    for before, after in pairwise((0, *done, span)):
        shared.append(Use(*(each * after // span - each * before // span for each in use)))
    return tuple(shared)


def bands_by_time(
    plan: Plan, total: int, start: datetime, end: datetime, zone: ZoneInfo = CHINA
) -> Use:
    """`total` base units between two readings without band registers, shared by time over the bands of
    the plan's calendar. An estimate too, exact when no band changes within the span."""
    borders: list[tuple[datetime, str]] = [(start, band_at(plan, start, zone))]
    day = start.astimezone(zone).date()
    while midnight(day, zone) < end:
        for slot in day_plan_on(plan, day):
            border = _instant(day, slot.minute, zone)
            if start < border < end:
                borders.append((border, slot.band))
        day += timedelta(days=1)
    parts = split_use(Use(flat=total), start, end, [border for border, _ in borders[1:]])
    found = dict.fromkeys(BANDS, 0)
    for part, (_, band) in zip(parts, borders, strict=True):
        found[band] += part.flat
    return Use(**found)


def next_month(month: date) -> date:
    """The first day of the month after the one that begins on `month`."""
    return (month + timedelta(days=31)).replace(day=1)


def _micros(start: datetime, end: datetime) -> int:
    # In UTC: Python subtracts instants of one zone by the clock on the wall.
    return (utc(end) - utc(start)) // timedelta(microseconds=1)
