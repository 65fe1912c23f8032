"""A meter is told the hours by which the cloud would count, and what it cannot hold is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.kernel.band_calendar import Calendar, DaySlot, YearZone, check_calendar
from backend.kernel.clock import CHINA
from backend.tariffs.calendar import band_at, meter_hours
from backend.tariffs.rules import Season, TariffKind, Terms, compile_terms
from backend.tariffs.terms import check_terms
from tests.unit.kernel.test_band_calendar import band_of

from .drawn import HOUSEHOLD, terms, unhurried

TODAY = date(2026, 11, 30)
NIGHT = (DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(1320, "valley"))
FLAT = (DaySlot(0, "flat"),)
PRICES = {"flat": 6_000, "peak": 9_000, "valley": 3_000}
SHOP = Terms(TariffKind.ELECTRICITY, (Season(1, 1, PRICES),), (NIGHT, FLAT))


def hours_of(given_: Terms, since: date = TODAY) -> tuple[Calendar, str]:
    """As the compiled plan tells them."""
    return meter_hours(compile_terms(given_), since)


@unhurried
@given(terms(), st.lists(st.integers(0, 365 * 1440), min_size=3))
def test_a_meter_counts_as_the_cloud_would(given_: Terms, minutes: list[int]) -> None:
    whole = replace(
        given_, days={}, seasons=tuple(replace(s, weekend=s.workday) for s in given_.seasons)
    )
    calendar, cannot = hours_of(whole)
    assert cannot == ""
    assume(calendar.zones)
    plan = compile_terms(whole)
    for minute in minutes:
        at = datetime(2026, 1, 1, tzinfo=CHINA) + timedelta(minutes=minute)
        assert band_of(calendar, at.date(), 60 * at.hour + at.minute) == band_at(plan, at)


def test_a_tariff_that_tells_no_hours_or_one_price_leaves_the_meters_own() -> None:
    none = Calendar((), ()), ""
    assert hours_of(replace(SHOP, day_plans=(FLAT,))) == none
    assert hours_of(replace(SHOP, seasons=(Season(1, 1, {"flat": 6_000}),))) == none
    assert hours_of(replace(SHOP, seasons=(Season(1, 1, PRICES, 1, 1),))) == none
    one = Season(1, 1, {"flat": 1}), Season(7, 1, PRICES)
    assert hours_of(replace(SHOP, seasons=one))[0].zones == (YearZone(1, 1, 1),)


def test_a_season_turns_the_day_table_on_its_day() -> None:
    summer = replace(SHOP, seasons=(Season(1, 1, PRICES, 1, 1), Season(7, 1, PRICES)))
    calendar, cannot = hours_of(summer)
    assert calendar == Calendar(
        (YearZone(1, 1, 1), YearZone(7, 1, 2)),
        (FLAT, NIGHT),
    )
    assert cannot == ""


@pytest.mark.parametrize(
    ("given_", "cannot"),
    [
        (SHOP, ""),
        (replace(SHOP, seasons=(Season(1, 1, PRICES, 0, 1),)), "other hours at weekends"),
        (replace(SHOP, days={TODAY: 1}), "other hours on single days"),
        (replace(SHOP, days={TODAY: 0}), ""),
        (replace(SHOP, days={TODAY - timedelta(days=1): 1}), ""),
        (
            replace(SHOP, seasons=(Season(1, 1, PRICES, 0, 1),), days={TODAY: 1}),
            "other hours at weekends, other hours on single days",
        ),
        (HOUSEHOLD, "other hours at weekends"),
    ],
)
def test_what_zones_and_day_tables_cannot_say_is_named(given_: Terms, cannot: str) -> None:
    assert hours_of(given_)[1] == cannot


def test_a_holiday_is_nothing_to_a_meter_when_it_is_over() -> None:
    holiday = replace(SHOP, days={TODAY: 1})
    assert hours_of(holiday, TODAY)[1]
    assert hours_of(holiday, TODAY + timedelta(days=1))[1] == ""


def test_the_largest_tariff_is_no_larger_than_what_a_meter_may_be_told() -> None:
    bands = ("valley", "peak")
    plans = tuple(
        tuple(DaySlot(60 * at + (plan if at else 0), bands[at % 2]) for at in range(14))
        for plan in range(8)
    )
    seasons = tuple(
        Season(1 + at // 2, 1 + at % 2 * 14, PRICES, at % 8, at % 8) for at in range(14)
    )
    largest = replace(SHOP, seasons=seasons, day_plans=plans)
    check_terms(largest)
    calendar, cannot = hours_of(largest)
    assert (len(calendar.zones), len(calendar.tables), cannot) == (14, 8, "")
    check_calendar(calendar)
