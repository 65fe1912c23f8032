"""What waits for the morning, what never does, and which limit forbids one more SMS."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.alerts.message_rules import (
    AT_ONCE,
    MessageTerms,
    QuietHours,
    SmsLimits,
    SmsSent,
    check_terms,
    held_until,
    next_morning,
    over_limit,
)
from backend.kernel.clock import CHINA
from backend.kernel.errors import InvalidInput

NONE = SmsSent(0, 0, 0, 0)


def china(day: int, hour: int, minute: int = 0) -> datetime:
    """An instant in November 2026, by China's clock."""
    return datetime(2026, 11, day, hour, minute, tzinfo=CHINA)


@pytest.mark.parametrize(
    ("at", "until"),
    [
        (china(22, 20, 59), None),
        (china(22, 21), china(23, 8)),
        (china(22, 23, 30), china(23, 8)),
        (china(23, 0), china(23, 8)),
        (china(23, 7, 59), china(23, 8)),
        (china(23, 8), None),
        (china(23, 12), None),
    ],
)
def test_the_night_holds_what_can_wait(at: datetime, until: datetime | None) -> None:
    assert held_until(QuietHours(), event="low_1", at=at) == until
    for event in ("cut", "restored", "bind_code", "load_cut", "bot_reply"):
        assert held_until(QuietHours(), event=event, at=at) is None


def test_quiet_hours_within_a_day_and_none_at_all() -> None:
    noon = QuietHours(12 * 60, 14 * 60)
    assert held_until(noon, event="low_1", at=china(22, 13)) == china(22, 14)
    assert held_until(noon, event="low_1", at=china(22, 11, 59)) is None
    assert held_until(QuietHours(600, 600), event="low_1", at=china(22, 10)) is None


@given(
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.integers(0, 525_600),
)
def test_what_is_held_goes_out_within_a_day_and_not_in_quiet_hours(
    start: int, end: int, minutes: int
) -> None:
    quiet, at = QuietHours(start, end), china(1, 0) + timedelta(minutes=minutes)
    until = held_until(quiet, event="low_1", at=at)
    if until is not None:
        assert 0 < (until - at).total_seconds() <= 86_400
        assert held_until(quiet, event="low_1", at=until) is None


def test_the_next_morning_is_tomorrow_when_the_quiet_hours_end() -> None:
    assert next_morning(QuietHours(), at=china(22, 0, 30)) == china(23, 8)
    assert next_morning(QuietHours(600, 600), at=china(22, 23)) == china(23, 8)


@pytest.mark.parametrize(
    ("sent", "over"),
    [
        (NONE, None),
        (replace(NONE, number_hour=3), None),
        (replace(NONE, number_hour=4), "number"),
        (replace(NONE, number_day=7), None),
        (replace(NONE, number_day=8), "number"),
        (replace(NONE, event_day=4), None),
        (replace(NONE, event_day=5), "event"),
        (replace(NONE, group_day=1999), None),
        (SmsSent(4, 8, 5, 2000), "group"),
    ],
)
def test_the_limit_that_is_reached_is_named(sent: SmsSent, over: str | None) -> None:
    assert over_limit(SmsLimits(), sent) == over


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (MessageTerms(QuietHours(1440, 0)), "quietFrom"),
        (MessageTerms(QuietHours(0, -1)), "quietUntil"),
        (MessageTerms(limits=SmsLimits(number_hour=6)), "numberHour"),
        (MessageTerms(limits=SmsLimits(number_day=41)), "numberDay"),
        (MessageTerms(limits=SmsLimits(event_day=11)), "eventDay"),
        (MessageTerms(limits=SmsLimits(group_day=0)), "groupDay"),
    ],
)
def test_limits_are_never_looser_than_the_providers(terms: MessageTerms, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_terms(terms)
    assert refused.value.field == field
    check_terms(MessageTerms())


def test_only_what_cannot_wait_is_told_at_night() -> None:
    assert {"cut", "restored", "load_cut", "bind_code", "bot_reply"} == AT_ONCE
