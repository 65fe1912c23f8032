"""The auditor of a chaos run asks for the right bills at every hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import pytest

from backend.chaos.sums import days_billed

TWELFTH, THIRTEENTH = date(2026, 3, 12), date(2026, 3, 13)


@pytest.mark.parametrize(
    ("since", "until", "wechat", "unionpay"),
    [
        ("14:50", "14:58", [TWELFTH], [TWELFTH]),
        ("14:58", "15:01", [TWELFTH], [TWELFTH, THIRTEENTH]),
        ("15:30", "15:32", [TWELFTH], [THIRTEENTH]),
        ("15:59", "16:01", [TWELFTH, THIRTEENTH], [THIRTEENTH]),
        ("16:01", "16:03", [THIRTEENTH], [THIRTEENTH]),
    ],
)
def test_the_bills_asked_for_are_of_the_channels_own_days(
    since: str, until: str, wechat: list[date], unionpay: list[date]
) -> None:
    begun, now = (datetime.combine(TWELFTH, time.fromisoformat(at), UTC) for at in (since, until))
    assert days_billed("WECHAT_PAY", begun, now) == wechat
    assert days_billed("UNIONPAY", begun, now) == unionpay
