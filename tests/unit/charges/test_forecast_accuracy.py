"""A seeded year of an office, a shop and a home: how far forecasts are off, and that they beat guessing."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

import pytest

from backend.charges.forecast_rules import (
    Measured,
    Miss,
    Profile,
    expected,
    learn,
    mape,
    measure,
    wape,
)

FIRST = date(2026, 1, 1)
DAY = timedelta(days=1)
# Month, day and length of the holidays of 2026 (backend/control/calendar_rules.py).
HOLIDAYS = ((1, 1, 3), (2, 16, 8), (4, 4, 3), (5, 1, 5), (6, 19, 3), (10, 1, 7))
OFFICE = [80] * 8 + [2500, 3000, 3000, 2600, 2200, 2800, 3000, 2900, 2500, 1500] + [190] * 6
SATURDAY = [80] * 8 + [900] * 5 + [80] * 11
SHOP = [250] * 9 + [1800] * 13 + [250] * 2
HOME = [150] * 6 + [400, 600, 500, 300, 250, 300, 350, 300, 250, 250, 300, 450, 900]
HOME += [1100, 1200, 1000, 700, 300]


def is_holiday(day: date) -> bool:
    """Whether a day is one of HOLIDAYS."""
    return any(0 <= (day - date(2026, m, d)).days < length for m, d, length in HOLIDAYS)


def season(day: date) -> int:
    """Hot and cold days use more, in percent: up to half as much again in July, a quarter in January."""
    summer, winter = abs((day - date(2026, 7, 24)).days), (day - date(2026, 1, 15)).days % 365
    return 100 + max(0, 50 - summer * 50 // 70) + max(0, 25 - min(winter, 365 - winter) * 25 // 50)


def shape_of(what: str, day: date) -> tuple[list[int], int]:
    """The hours of a day, and how far a day strays from them, in percent."""
    weekend = day.weekday() >= 5
    if what == "office":
        if is_holiday(day) or day.weekday() == 6:
            return [80] * 24, 10
        return (SATURDAY if weekend else OFFICE), 10
    if what == "shop":
        if date(2026, 2, 16) <= day <= date(2026, 2, 22):
            return [30] * 24, 10
        more = 140 if weekend or is_holiday(day) else 100
        return [each * more // 100 for each in SHOP], 12
    if date(2026, 2, 16) <= day <= date(2026, 2, 22) or date(2026, 8, 3) <= day <= date(2026, 8, 9):
        return [60] * 24, 5  # away from home
    return [each * (130 if weekend else 100) // 100 for each in HOME], 25


def year(what: str, seed: int) -> list[list[int]]:
    """The hours of 365 days, in hao."""
    random, found = Random(seed), []
    for n in range(365):
        day = FIRST + n * DAY
        shape, strays = shape_of(what, day)
        scale = season(day) * max(10, round(random.gauss(100, strays)))
        found.append([each * scale * random.randint(80, 120) // 1_000_000 for each in shape])
    return found


class Lived(NamedTuple):
    """What forecasts of days and weeks missed, and what those of yesterday (and seven times of it) did."""

    days: list[Miss]
    weeks: list[Miss]
    by_yesterday: list[Miss]
    weeks_by_yesterday: list[Miss]


def live(came: list[list[int]]) -> Lived:
    """Learn a year day by day, forecasting each day and week before it is known."""
    profile, measured = Profile(FIRST - DAY), Measured()
    lived = Lived([], [], [], [])
    for n, hours in enumerate(came):
        day, total = FIRST + n * DAY, sum(hours)
        if profile.known:
            lived.days.append(Miss(abs(expected(profile, day) - total), total))
            lived.by_yesterday.append(Miss(abs(sum(came[n - 1]) - total), total))
        told = measure(measured, profile, day, hours)
        if told.week_from is None and measured.week_from is not None:
            week = sum(map(sum, came[n - 6 : n + 1]))
            lived.weeks.append(told.weeks[-1])
            lived.weeks_by_yesterday.append(Miss(abs(7 * sum(came[n - 7]) - week), week))
        profile, measured = learn(profile, day, hours), told
    return lived


def typical(misses: list[Miss]) -> int:
    """What the middle one is off, in thousandths."""
    return sorted(mape([each]) or 0 for each in misses)[len(misses) // 2]


# Errors in thousandths, as measured and a tenth more.
@pytest.mark.parametrize(
    ("what", "day", "ordinary_day", "week"),
    [("office", 205, 120, 140), ("shop", 160, 120, 90), ("home", 290, 240, 140)],
)
def test_a_year_is_forecast_better_than_by_yesterday(
    what: str, day: int, ordinary_day: int, week: int
) -> None:
    lived = live(year(what, seed=20261128))
    told = {
        name: (mape(misses), wape(misses), typical(misses))
        for name, misses in lived._asdict().items()
    }
    sys.stdout.write(f"{what} (MAPE, WAPE, median, in thousandths): {told}\n")
    assert len(lived.days) == 358
    assert len(lived.weeks) >= 50
    assert (wape(lived.days) or 0) < min(day, wape(lived.by_yesterday) or 0)
    assert (wape(lived.weeks) or 0) < min(week, wape(lived.weeks_by_yesterday) or 0)
    assert (mape(lived.weeks) or 0) < (mape(lived.weeks_by_yesterday) or 0)
    assert typical(lived.days) < min(ordinary_day, typical(lived.by_yesterday))
