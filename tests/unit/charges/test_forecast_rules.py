"""How long money lasts: from an account's own hours, and never a guess where too little is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.charges.forecast_rules import (
    MOST_DAYS,
    WEEK,
    Basis,
    Forecast,
    Measured,
    Miss,
    Profile,
    costs,
    expected,
    forecast,
    learn,
    mape,
    measure,
    wape,
)
from backend.kernel.clock import CHINA

MONDAY = date(2026, 11, 2)
NINE = datetime(2026, 11, 30, 1, 0, tzinfo=UTC)  # a Monday, 09:00 in China
DAY = timedelta(days=1)
# An office: 100 an hour from 8 to 18 on working days, 10 in every other hour.
OFFICE = [10] * 8 + [100] * 10 + [10] * 6
REST = [10] * 24
IDLE = [0] * 24


def taught(
    *days: list[int] | None, first: date = MONDAY, profile: Profile | None = None
) -> Profile:
    """A profile after some days in a row."""
    profile = profile or Profile(first - DAY)
    for place, came in enumerate(days):
        profile = learn(profile, first + place * DAY, came)
    return profile


def office_weeks(weeks: int) -> Profile:
    """A profile of an office."""
    return taught(*([OFFICE] * 5 + [REST] * 2) * weeks)


hours = st.lists(st.integers(0, 100_000), min_size=24, max_size=24)
days = st.lists(hours | st.none() | st.just(IDLE), min_size=1, max_size=40)
instants = st.integers(0, 365 * 86_400).map(lambda s: NINE + timedelta(seconds=s))


def test_an_office_runs_out_in_its_working_hours_and_lasts_longer_over_the_weekend() -> None:
    profile = office_weeks(4)
    # From Monday nine: nine hours at 100 and six at 10 are 960 by midnight; Tuesday uses 1,140.
    assert forecast(profile, 960 + 80 + 450, NINE) == Forecast(
        Basis.OWN_USE, 1, datetime(2026, 12, 1, 4, 30, tzinfo=UTC)
    )
    friday = NINE + 4 * DAY
    assert forecast(profile, 960 + 240 + 240 + 80, friday) == Forecast(
        Basis.OWN_USE, 2, datetime(2026, 12, 7, 0, 0, tzinfo=UTC)
    )


def test_an_hour_that_has_begun_counts_for_what_is_left_of_it() -> None:
    profile = office_weeks(4)
    assert forecast(profile, 50, NINE + timedelta(minutes=30)).zero_at == NINE + timedelta(hours=1)
    assert forecast(profile, 25, NINE).zero_at == NINE + timedelta(minutes=15)


def test_what_is_used_up_has_no_day_left() -> None:
    assert forecast(office_weeks(4), 0, NINE) == Forecast(Basis.OWN_USE, 0, NINE)
    assert forecast(office_weeks(4), -500, NINE) == Forecast(Basis.OWN_USE, 0, NINE)


def test_a_new_account_is_told_that_too_little_is_known_of_it() -> None:
    six = taught(*[OFFICE] * 6)
    assert forecast(None, 1_000, NINE) == Forecast(Basis.LEARNING)
    assert forecast(six, 1_000, NINE) == Forecast(Basis.LEARNING)
    assert forecast(learn(six, MONDAY + 6 * DAY, REST), 1_000, NINE).basis is Basis.OWN_USE


def test_days_that_readings_do_not_tell_teach_nothing() -> None:
    week = taught(*[OFFICE] * 5 + [REST] * 2)
    silent = taught(*[None] * 7, first=MONDAY + 7 * DAY, profile=week)
    assert replace(silent, day=week.day) == week


def test_nobody_who_uses_nothing_ever_runs_out() -> None:
    assert forecast(taught(*[IDLE] * 7), 100, NINE) == Forecast(Basis.IDLE)


def test_an_empty_week_is_a_holiday_and_no_sign_of_less_use() -> None:
    before = office_weeks(4)
    after = taught(*[IDLE] * 7, first=MONDAY + 28 * DAY, profile=before)
    assert costs(after) == costs(before)
    back = learn(after, MONDAY + 35 * DAY, OFFICE)
    assert (back.away, costs(back)) == (0, costs(before))


def test_fourteen_empty_days_are_how_it_is_now() -> None:
    gone = taught(*[IDLE] * 16, first=MONDAY + 28 * DAY, profile=office_weeks(4))
    assert forecast(gone, 100, NINE) == Forecast(Basis.IDLE)
    back = learn(gone, MONDAY + 44 * DAY, OFFICE)
    assert expected(back, MONDAY + 45 * DAY) == sum(OFFICE)


def test_the_fourteenth_empty_day_decides_and_a_tenth_of_what_was_said_is_no_empty_day() -> None:
    before = office_weeks(4)
    thirteen = taught(*[IDLE] * 13, first=MONDAY + 28 * DAY, profile=before)
    assert (costs(thirteen), thirteen.away) == (costs(before), 13)
    fourteen = learn(thirteen, MONDAY + 41 * DAY, IDLE)
    assert fourteen == Profile(MONDAY + 41 * DAY, (0,) * WEEK, (1,) * 7)
    assert learn(before, MONDAY + 28 * DAY, [113] + [0] * 23).away == 1
    assert learn(before, MONDAY + 28 * DAY, [114] + [0] * 23).away == 0


def test_a_day_of_rest_in_an_empty_week_does_not_end_it() -> None:
    closed = ([OFFICE] * 6 + [IDLE]) * 4
    gone = taught(*[IDLE] * 17, first=MONDAY + 28 * DAY, profile=taught(*closed))
    assert forecast(gone, 100, NINE) == Forecast(Basis.IDLE)


def test_the_newest_weeks_weigh_more() -> None:
    more = [2 * each for each in OFFICE]
    four = office_weeks(4)
    assert expected(four, MONDAY) == sum(OFFICE)
    later = taught(*([more] * 5 + [REST] * 2) * 8, first=MONDAY + 28 * DAY, profile=four)
    assert sum(OFFICE) * 18 // 10 < expected(later, MONDAY) < sum(OFFICE) * 22 // 10


def test_a_weekday_that_was_never_known_is_like_the_mean_of_the_others() -> None:
    known = taught(*([OFFICE] * 4 + [None] * 3) * 2)
    assert known.known
    assert expected(known, MONDAY + 5 * DAY) == sum(OFFICE)


def test_what_lasts_for_years_is_told_as_a_thousand_days() -> None:
    assert forecast(office_weeks(4), 10**9, NINE) == Forecast(Basis.OWN_USE, MOST_DAYS, None)


def test_what_lasts_nearly_so_long_has_its_hour() -> None:
    week, profile = 5 * 1140 + 2 * 240, office_weeks(4)
    found = forecast(profile, 142 * week + 100, NINE)
    assert found == Forecast(Basis.OWN_USE, 994, NINE + 994 * DAY + timedelta(hours=1))
    assert forecast(profile, 143 * week + 100, NINE).zero_at is None


def test_the_level_scales_every_hour_half_up_and_one_known_weekday_stands_for_all() -> None:
    assert costs(Profile(MONDAY, (1,) * WEEK, (1,) * 7, 1_500)) == (2,) * WEEK
    assert costs(Profile(MONDAY, (1,) * WEEK, (1,) * 7, 1_400)) == (1,) * WEEK
    monday = Profile(MONDAY, (5,) * 24 + (0,) * 144, (7, 0, 0, 0, 0, 0, 0))
    assert costs(monday) == (5,) * WEEK


def test_the_first_of_four_days_count_alike_and_the_level_moves_by_a_sixth() -> None:
    two = taught([10] * 24, *[IDLE] * 6, [21] + [10] * 23)
    assert two.hours[:2] == (16, 10)  # half up
    more = learn(office_weeks(1), MONDAY + 7 * DAY, [3 * each for each in OFFICE])
    assert more.level == 1_166  # as if it were twice
    less = learn(office_weeks(1), MONDAY + 7 * DAY, [each // 5 for each in OFFICE])
    assert less.level == 916  # as if it were half


@given(days, st.integers(-1_000, 10**9), st.integers(0, 10**9), instants)
def test_more_money_never_lasts_shorter(
    taught_by: list[list[int] | None], left: int, more: int, at: datetime
) -> None:
    profile = taught(*taught_by)
    less, longer = forecast(profile, left, at), forecast(profile, left + more, at)
    assert less.basis is longer.basis
    if less.days_left is not None and longer.days_left is not None:
        assert less.days_left <= longer.days_left
        assert longer.zero_at is None or less.zero_at is not None
        assert longer.zero_at is None or less.zero_at is None or less.zero_at <= longer.zero_at


@given(days, st.integers(1, 10**7), instants)
def test_what_is_used_until_zero_is_what_was_left(
    taught_by: list[list[int] | None], left: int, at: datetime
) -> None:
    profile = taught(*taught_by)
    found = forecast(profile, left, at)
    if found.zero_at is None:
        return
    assert abs(used_between(profile, at, found.zero_at) - left) <= 2 + max(costs(profile)) // 1800
    assert found.days_left == (found.zero_at - at) // DAY


def used_between(profile: Profile, start: datetime, end: datetime) -> int:
    """The slow and plain way: every hour of the span, the first and the last by their share."""
    week, used = costs(profile), 0
    hour = start.astimezone(CHINA).replace(minute=0, second=0, microsecond=0)
    while hour < end:
        until = hour + timedelta(hours=1)
        share = (min(until, end) - max(hour, start)) / timedelta(microseconds=1)
        used += week[24 * hour.weekday() + hour.hour] * int(share) // 3_600_000_000
        hour = until
    return used


@given(days)
def test_the_days_of_a_week_add_up_to_its_hours(taught_by: list[list[int] | None]) -> None:
    profile = taught(*taught_by)
    assert len(costs(profile)) == WEEK
    assert sum(expected(profile, MONDAY + n * DAY) for n in range(7)) == sum(costs(profile))
    assert min(costs(profile)) >= 0
    known = sum(each is not None for each in taught_by)
    assert profile.day == MONDAY + (len(taught_by) - 1) * DAY
    assert known < 7 or profile.known


def test_errors_by_hand() -> None:
    assert mape([Miss(10, 100), Miss(30, 100), Miss(5, 0)]) == 200
    assert wape([Miss(10, 100), Miss(30, 100), Miss(5, 0)]) == 225
    assert mape([Miss(5_000, 100)]) == 10_000  # a span is 1000 % off at most
    assert mape([Miss(1, 3), Miss(1, 3)]) == 333
    assert mape([Miss(5, 0)]) is None
    assert wape([]) is None


def test_a_day_is_measured_by_what_was_said_before_it_was_learned() -> None:
    profile, half = office_weeks(4), [each // 2 for each in OFFICE]
    measured = measure(Measured(), profile, MONDAY, half)
    assert measured.days == (Miss(1140 - 570, 570),)
    assert mape(measured.days) == 1000
    assert measure(measured, learn(profile, MONDAY, half), MONDAY + DAY, None).days == measured.days


def test_nothing_is_measured_before_anything_is_said() -> None:
    assert measure(Measured(), taught(*[OFFICE] * 6), MONDAY, OFFICE) == Measured()


def test_seven_days_are_measured_by_what_was_said_of_them_at_their_beginning() -> None:
    profile, measured, day = office_weeks(4), Measured(), MONDAY + 28 * DAY
    for came in [OFFICE] * 5 + [OFFICE] * 2:
        measured, profile = measure(measured, profile, day, came), learn(profile, day, came)
        day += DAY
    said, came_to = 5 * 1140 + 2 * 240, 7 * 1140
    assert measured.weeks == (Miss(came_to - said, came_to),)
    assert measured.week_from is None


def test_a_week_with_an_unknown_day_is_given_up_and_the_next_begins_anew() -> None:
    profile, measured = office_weeks(4), Measured()
    for place, came in enumerate([OFFICE] * 3 + [None] + [OFFICE]):
        measured = measure(measured, profile, MONDAY + place * DAY, came)
    assert (measured.weeks, measured.week_from) == ((), MONDAY + 4 * DAY)
    assert (measured.week_said, measured.week_came) == (5 * 1140 + 2 * 240, 1140)


@pytest.mark.parametrize("kept", [28, 8])
def test_the_last_days_and_weeks_are_kept(kept: int) -> None:
    profile, measured, day = office_weeks(4), Measured(), MONDAY + 28 * DAY
    for came in ([OFFICE] * 5 + [REST] * 2) * 10:
        measured, profile = measure(measured, profile, day, came), learn(profile, day, came)
        day += DAY
    assert kept in (len(measured.days), len(measured.weeks))
    assert (mape(measured.days), wape(measured.weeks)) == (0, 0)
