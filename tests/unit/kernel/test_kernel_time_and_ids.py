"""Half-open periods, business days of China, ids that sort by time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.clock import CHINA, Period, SetClock, business_day, day_period, utc
from backend.kernel.ids import order_no, token, uuid7

NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
instants = st.integers(-(10**15), 5 * 10**15).map(lambda n: NOON + timedelta(microseconds=n))


def test_the_start_of_a_period_is_inside_and_its_end_is_not() -> None:
    hour = Period(NOON, NOON + timedelta(hours=1))
    assert NOON in hour
    assert NOON + timedelta(hours=1) not in hour
    assert NOON + timedelta(minutes=59, seconds=59) in hour
    assert NOON - timedelta(microseconds=1) not in hour


def test_a_running_period_has_no_end_and_a_turned_one_is_refused() -> None:
    assert NOON + timedelta(days=36_500) in Period(NOON, None)
    with pytest.raises(ValueError, match="cannot end before"):
        Period(NOON, NOON - timedelta(microseconds=1))


@given(instants)
def test_every_instant_is_in_just_one_business_day(instant: datetime) -> None:
    day = business_day(instant)
    around = [day + timedelta(days=d) for d in (-1, 0, 1)]
    assert [instant in day_period(d) for d in around] == [False, True, False]


def test_a_business_day_begins_at_midnight_in_china() -> None:
    assert business_day(datetime(2026, 11, 21, 15, 59, 59, tzinfo=UTC)) == date(2026, 11, 21)
    assert business_day(datetime(2026, 11, 21, 16, 0, tzinfo=UTC)) == date(2026, 11, 22)
    assert day_period(date(2026, 11, 22)).start == datetime(2026, 11, 21, 16, tzinfo=UTC)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        utc(NOON.replace(tzinfo=None))
    assert utc(NOON.astimezone(CHINA)) == NOON


def test_a_set_clock_moves_only_when_told() -> None:
    clock = SetClock(NOON)
    assert clock.now() == clock.now() == NOON
    clock.advance(timedelta(seconds=1))
    assert clock.now() == NOON + timedelta(seconds=1)


@given(instants, st.integers(min_value=1, max_value=10**9))
def test_ids_made_a_millisecond_later_sort_later(instant: datetime, later_ms: int) -> None:
    # whole milliseconds: within one, ids come in no order
    at = instant.replace(microsecond=instant.microsecond // 1000 * 1000)
    one, two = uuid7(at), uuid7(at + timedelta(milliseconds=later_ms))
    assert one < two
    assert (one.version, one.variant) == (7, two.variant)
    assert abs((one.int >> 80) - at.timestamp() * 1000) < 1


def test_ten_thousand_ids_of_one_instant_differ() -> None:
    assert len({uuid7(NOON) for _ in range(10_000)}) == 10_000
    assert len({order_no(NOON) for _ in range(10_000)}) == 10_000


def test_an_order_number_fits_every_channel_and_shows_chinas_day() -> None:
    number = order_no(datetime(2026, 11, 22, 16, 30, tzinfo=UTC))
    assert re.fullmatch(r"[0-9A-Za-z]{6,32}", number)
    assert number.startswith("20261123003000")


def test_a_token_is_url_safe_and_holds_128_bits() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", token())
    assert token() != token()
