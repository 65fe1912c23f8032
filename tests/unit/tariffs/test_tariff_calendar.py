"""Where time is cut: versions, seasons, months, days, bands and step years; nothing is lost in a cut."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.band_calendar import DaySlot
from backend.kernel.clock import CHINA
from backend.tariffs.calendar import (
    Held,
    band_at,
    bands_by_time,
    cuts,
    day_borders,
    day_plan_on,
    days_ended,
    midnight,
    month_borders,
    month_of,
    pieces,
    plan_at,
    season_on,
    split_use,
    step_period_start,
)
from backend.tariffs.rules import (
    NO_DAYS,
    NO_USE,
    Days,
    Season,
    StepPeriod,
    TariffKind,
    Terms,
    Use,
    compile_terms,
    price_usage,
    total_of,
)

from .drawn import HOUSEHOLD, spans, terms, unhurried, uses

PLAN = compile_terms(HOUSEHOLD)
WORKDAY, HOT = HOUSEHOLD.day_plans


def china(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant by the clock on the wall in China."""
    return datetime(year, month, day, hour, minute, tzinfo=CHINA)


@pytest.mark.parametrize(
    ("day", "season"),
    [
        (date(2026, 1, 1), 0),
        (date(2026, 6, 30), 0),
        (date(2026, 7, 1), 1),
        (date(2026, 8, 31), 1),
        (date(2026, 9, 1), 2),
        (date(2026, 12, 31), 2),
        (date(2028, 2, 29), 0),
    ],
)
def test_a_season_holds_from_its_first_day_to_the_day_before_the_next(
    day: date, season: int
) -> None:
    assert season_on(PLAN, day) == season


def test_before_the_first_season_of_a_year_the_last_one_still_holds() -> None:
    plan = compile_terms(
        replace(HOUSEHOLD, seasons=(Season(5, 1, {"flat": 1}), Season(11, 1, {"flat": 2})))
    )
    assert [season_on(plan, date(2026, month, 1)) for month in (1, 4, 5, 10, 11)] == [1, 1, 0, 0, 1]


def test_weekends_holidays_and_moved_working_days_have_their_own_day_plan() -> None:
    night = (DaySlot(0, "deep"),)
    plan = compile_terms(
        replace(
            HOUSEHOLD,
            seasons=(Season(1, 1, {"flat": 1}, workday=0, weekend=1),),
            day_plans=(WORKDAY, HOT, night),
            days={date(2026, 10, 1): 2, date(2026, 10, 10): 0},
        )
    )
    assert day_plan_on(plan, date(2026, 9, 30)) == WORKDAY  # a Wednesday
    assert day_plan_on(plan, date(2026, 10, 3)) == HOT  # a Saturday
    assert day_plan_on(plan, date(2026, 10, 1)) == night  # the National Day
    assert day_plan_on(plan, date(2026, 10, 10)) == WORKDAY  # a Saturday that is worked


@pytest.mark.parametrize(
    ("at", "band"),
    [
        (china(2026, 3, 2, 0, 0), "valley"),
        (china(2026, 3, 2, 7, 59), "valley"),
        (china(2026, 3, 2, 8, 0), "peak"),
        (china(2026, 3, 2, 21, 59), "peak"),
        (china(2026, 3, 2, 22, 0), "valley"),
        (china(2026, 7, 2, 14, 0), "spike"),
        (datetime(2026, 7, 2, 6, 0, tzinfo=UTC), "spike"),
        (datetime(2026, 6, 30, 16, 0, tzinfo=UTC), "valley"),
    ],
)
def test_a_band_holds_by_the_clock_on_the_wall_of_the_site(at: datetime, band: str) -> None:
    assert band_at(PLAN, at) == band


def test_a_tariff_without_day_plans_is_flat_at_all_hours_of_all_days() -> None:
    plan = compile_terms(Terms(TariffKind.ELECTRICITY, (Season(1, 1, {"flat": 1}),)))
    for day in range(1, 8):
        assert {band_at(plan, china(2026, 3, day, hour)) for hour in (0, 12, 23)} == {"flat"}


def test_a_step_year_begins_in_its_month_and_a_step_month_with_the_month() -> None:
    july = compile_terms(replace(HOUSEHOLD, year_starts_in=7))
    assert step_period_start(july, date(2026, 6, 30)) == date(2025, 7, 1)
    assert step_period_start(july, date(2026, 7, 1)) == date(2026, 7, 1)
    assert step_period_start(PLAN, date(2026, 12, 31)) == date(2026, 1, 1)
    monthly = compile_terms(replace(HOUSEHOLD, step_period=StepPeriod.MONTH))
    assert step_period_start(monthly, date(2028, 2, 29)) == date(2028, 2, 1)


def test_a_version_holds_from_its_instant_on_and_none_before_the_first() -> None:
    other = compile_terms(replace(HOUSEHOLD, monthly=5))
    timeline = [Held(china(2026, 3, 1), PLAN), Held(china(2026, 3, 9, 12), other)]
    assert plan_at(timeline, china(2026, 2, 28, 23, 59)) is None
    assert plan_at(timeline, china(2026, 3, 1)) is PLAN
    assert plan_at(timeline, china(2026, 3, 9, 11, 59)) is PLAN
    assert plan_at(timeline, china(2026, 3, 9, 12)) is other


def test_borders_of_days_and_months_are_those_strictly_inside() -> None:
    start, end = china(2028, 2, 28), china(2028, 3, 2)
    days = [china(2028, 2, 29), china(2028, 3, 1)]
    assert list(day_borders(start, end)) == days
    assert list(month_borders(start, end)) == [china(2028, 3, 1)]
    assert list(month_borders(start, china(2028, 3, 1))) == []
    assert list(month_borders(china(2027, 12, 31, 23), china(2028, 2, 1, 1))) == [
        china(2028, 1, 1),
        china(2028, 2, 1),
    ]
    assert month_of(datetime(2028, 2, 29, 16, tzinfo=UTC)) == date(2028, 3, 1)


def test_a_gap_is_cut_at_the_month_the_season_and_the_new_version() -> None:
    """Readings of 30 May and 3 July, a version from 15 June noon: five parts, each of one price."""
    other = compile_terms(replace(HOUSEHOLD, monthly=5))
    timeline = [Held(china(2026, 1, 1), PLAN), Held(china(2026, 6, 15, 12), other)]
    found = pieces(timeline, china(2026, 5, 30, 12), china(2026, 7, 3, 12))
    assert [(p.start, p.month, p.plan is other, p.season, p.days) for p in found] == [
        (china(2026, 5, 30, 12), date(2026, 5, 1), False, 0, Days(29, 31, 31)),
        (china(2026, 6, 1), date(2026, 6, 1), False, 0, Days(0, 14, 30)),
        (china(2026, 6, 15, 12), date(2026, 6, 1), True, 0, Days(14, 30, 30)),
        (china(2026, 7, 1), date(2026, 7, 1), True, 1, Days(0, 2, 31)),
    ]


def test_a_season_of_a_version_that_does_not_hold_then_cuts_nothing() -> None:
    flat = compile_terms(Terms(TariffKind.ELECTRICITY, (Season(1, 1, {"flat": 1}),)))
    timeline = [Held(china(2026, 1, 1), PLAN), Held(china(2026, 6, 20), flat)]
    inside = cuts(timeline, china(2026, 6, 1), china(2026, 9, 15))
    assert list(inside) == [
        china(2026, 6, 20),
        china(2026, 7, 1),
        china(2026, 8, 1),
        china(2026, 9, 1),
    ]
    assert {p.season for p in pieces(timeline, china(2026, 6, 20), china(2026, 9, 15))} == {0}


def test_a_span_without_time_or_without_a_price_is_refused() -> None:
    timeline = [Held(china(2026, 3, 1), PLAN)]
    with pytest.raises(ValueError, match="ends after it starts"):
        pieces(timeline, china(2026, 4, 1), china(2026, 4, 1))
    with pytest.raises(ValueError, match="no plan"):
        pieces(timeline, china(2026, 2, 1), china(2026, 4, 1))


@unhurried
@given(st.lists(terms(), min_size=1, max_size=3), spans(), st.data())
def test_pieces_cover_a_span_without_gap_and_each_has_one_price(
    drawn: list[Terms], span: tuple[datetime, datetime], data: st.DataObject
) -> None:
    start, end = span
    plans = [compile_terms(each) for each in drawn]
    inside = st.timedeltas(timedelta(0), end - start).map(start.__add__)
    later = sorted(data.draw(st.sets(inside, min_size=len(plans) - 1, max_size=len(plans) - 1)))
    timeline = [Held(at, plan) for at, plan in zip([start, *later], plans, strict=True)]
    found = pieces(timeline, start, end)
    assert (found[0].start, found[-1].end) == span
    assert all(one.end == next_.start for one, next_ in pairwise(found))
    assert sum(p.days.last - p.days.first for p in found) == len(
        [border for border in (*day_borders(start, end), end) if midnight_of(border) == border]
    )
    for piece in found:
        last = piece.end - timedelta(microseconds=1)
        for instant in (piece.start, piece.start + (last - piece.start) // 2, last):
            assert plan_at(timeline, instant) is piece.plan
            assert month_of(instant) == piece.month
            assert season_on(piece.plan, instant.astimezone(CHINA).date()) == piece.season


def midnight_of(at: datetime) -> datetime:
    """The midnight that begins the day of an instant in China."""
    return midnight(at.astimezone(CHINA).date())


@unhurried
@given(st.integers(0, 10**9), st.integers(2023, 2032), st.integers(1, 12), st.data())
def test_the_monthly_fee_of_a_month_cut_anywhere_is_the_whole_fee(
    monthly: int, year: int, month: int, data: st.DataObject
) -> None:
    """Leap years too; a version change or a new household in the middle of a day loses nobody's day."""
    start = china(year, month, 1)
    end = china(year + month // 12, month % 12 + 1, 1)
    inside = st.timedeltas(timedelta(0), end - start).map(start.__add__)
    marks = [start, *sorted(data.draw(st.lists(inside, max_size=6))), end]
    plan = compile_terms(replace(HOUSEHOLD, monthly=monthly))
    parts = [days_ended(a, b) for a, b in pairwise(marks) if a < b]
    assert sum(total_of(price_usage(plan, NO_USE, days=days)) for days in parts) == monthly


def test_a_day_is_borne_by_who_holds_when_it_ends() -> None:
    moved = china(2026, 4, 10, 15)
    assert days_ended(china(2026, 4, 1), moved) == Days(0, 9, 30)
    assert days_ended(moved, china(2026, 5, 1)) == Days(9, 30, 30)
    assert days_ended(moved, china(2026, 4, 10, 23, 59)) == Days(9, 9, 30)
    assert days_ended(china(2028, 2, 29), china(2028, 3, 1)) == Days(28, 29, 29)
    assert NO_DAYS.last == NO_DAYS.first


@unhurried
@given(uses, spans(), st.data())
def test_shared_use_adds_up_to_what_was_read(
    use: Use, span: tuple[datetime, datetime], data: st.DataObject
) -> None:
    start, end = span
    inside = st.timedeltas(timedelta(0), end - start).map(start.__add__)
    marks = sorted(data.draw(st.lists(inside, max_size=6)))
    parts = split_use(use, start, end, marks)
    assert len(parts) == len(marks) + 1
    assert tuple(map(sum, zip(*parts, strict=True))) == tuple(use)
    assert min(min(part) for part in parts) >= 0


def test_a_gap_of_three_days_is_shared_by_time() -> None:
    start, end = china(2026, 3, 30, 12), china(2026, 4, 2, 12)
    parts = split_use(Use(peak=720, valley=7), start, end, month_borders(start, end))
    assert parts == (Use(peak=360, valley=3), Use(peak=360, valley=4))


@unhurried
@given(terms(), st.integers(0, 10**12), spans(timedelta(days=40)))
def test_bands_by_the_calendar_add_up_and_are_exact_within_one_band(
    drawn: Terms, total: int, span: tuple[datetime, datetime]
) -> None:
    start, end = span
    plan = compile_terms(drawn)
    found = bands_by_time(plan, total, start, end)
    assert (found.total, found.unbanded) == (total, 0)
    moment = timedelta(microseconds=1)
    alone = bands_by_time(plan, total, start, start + moment)
    assert getattr(alone, band_at(plan, start)) == total


def test_two_hours_across_a_band_border_are_shared_by_time() -> None:
    found = bands_by_time(PLAN, 1_200, china(2026, 7, 2, 13, 30), china(2026, 7, 2, 15, 30))
    assert found == Use(spike=900, peak=300)
    over_night = bands_by_time(PLAN, 2_400, china(2026, 7, 2, 20), china(2026, 7, 3, 20))
    assert over_night == Use(peak=1_100, valley=1_000, spike=300)


def test_a_zone_with_summer_time_cuts_by_the_clock_on_its_wall() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start, end = datetime(2026, 3, 29, tzinfo=berlin), datetime(2026, 3, 30, 12, tzinfo=berlin)
    assert list(day_borders(start, end, berlin)) == [datetime(2026, 3, 29, 22, tzinfo=UTC)]
    assert band_at(PLAN, datetime(2026, 3, 29, 6, 0, tzinfo=UTC), berlin) == "peak"
    found = bands_by_time(PLAN, 2_300, start, datetime(2026, 3, 30, tzinfo=berlin), berlin)
    assert found == Use(peak=1_400, valley=900)


def test_a_band_holds_from_its_minute_on() -> None:
    """Valley until eight in the morning, by the clock on the wall."""
    plan = compile_terms(HOUSEHOLD)
    eight = datetime(2026, 2, 2, 8, 0, tzinfo=CHINA)
    at = [eight - timedelta(seconds=1), eight, eight + timedelta(minutes=10)]
    assert [band_at(plan, each) for each in at] == ["valley", "peak", "peak"]


def test_a_span_is_cut_where_a_month_and_where_a_season_of_its_plan_begin() -> None:
    summer = replace(HOUSEHOLD, seasons=(HOUSEHOLD.seasons[0], Season(7, 15, {"flat": 1})))
    held = [Held(midnight(date(2026, 1, 1)), compile_terms(summer))]
    found = cuts(held, midnight(date(2026, 7, 2)), midnight(date(2026, 8, 2)))
    assert found == (midnight(date(2026, 7, 15)), midnight(date(2026, 8, 1)))
