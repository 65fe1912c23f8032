"""What a payment statement means for an order: believed only when all of it agrees (C5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.errors import InvalidInput
from backend.topups.rules import (
    METHODS,
    ORDER_LIFE,
    QUERY_AFTER,
    Browser,
    Channel,
    Expected,
    OrderState,
    Payment,
    PaymentState,
    PayMethod,
    Verdict,
    Way,
    browser_of,
    check_amount,
    judge,
    next_query,
    ways_to_offer,
)

NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
WAITING = Expected("N1", "1900000001", "wx1", 5000, OrderState.CREATED, None)
PAID = replace(WAITING, state=OrderState.PAID, transaction_id="T1")
TRUE = Payment("N1", PaymentState.PAID, "1900000001", "wx1", 5000, "CNY", "T1", NOON)
WRONG = {
    "order": {"order_no": "N2"},
    "merchant": {"merchant_id": "1900000002"},
    "app": {"app_id": "wx2"},
    "a service provider": {"provider_id": "1900000099"},
    "a service provider's app": {"provider_app_id": "wx9"},
    "currency": {"currency": "USD"},
    "transaction id": {"transaction_id": None},
    "no transaction id": {"transaction_id": ""},
    "one fen less": {"amount_fen": 4999},
    "one fen more": {"amount_fen": 5001},
    "yuan taken for fen": {"amount_fen": 50},
    "nothing": {"amount_fen": 0},
}


@pytest.mark.parametrize("state", [OrderState.CREATED, OrderState.CLOSED])
def test_a_true_payment_settles_a_waiting_order_and_a_closed_one(state: OrderState) -> None:
    assert judge(replace(WAITING, state=state), TRUE) == (Verdict.SETTLE, "")


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("order", [WAITING, PAID], ids=["waiting", "paid"])
def test_a_statement_that_differs_in_one_point_is_never_believed(
    order: Expected, changes: dict[str, object]
) -> None:
    verdict, reason = judge(order, replace(TRUE, **changes))  # type: ignore[arg-type] # own fields
    assert verdict is Verdict.MISMATCH
    assert reason


@pytest.mark.parametrize("state", [PaymentState.UNPAID, PaymentState.CLOSED, PaymentState.UNKNOWN])
def test_what_is_not_paid_or_not_known_is_never_acted_on(state: PaymentState) -> None:
    for order in (WAITING, PAID):
        assert judge(order, replace(TRUE, state=state))[0] is Verdict.WAIT


def test_the_same_payment_again_changes_nothing_and_another_one_is_a_case() -> None:
    assert judge(PAID, TRUE)[0] is Verdict.ALREADY
    assert judge(PAID, replace(TRUE, transaction_id="T2"))[0] is Verdict.MISMATCH


def test_money_given_back_before_it_was_booked_sells_nothing() -> None:
    given_back = replace(TRUE, state=PaymentState.REFUNDED)
    assert judge(WAITING, given_back)[0] is Verdict.MISMATCH
    assert judge(PAID, given_back)[0] is Verdict.ALREADY


@given(st.integers(min_value=-(10**9), max_value=10**9))
def test_only_the_orders_own_amount_settles_it(fen: int) -> None:
    verdict, _ = judge(WAITING, replace(TRUE, amount_fen=fen))
    assert (verdict is Verdict.SETTLE) == (fen == 5000)


@pytest.mark.parametrize(("fen", "fits"), [(99, False), (100, True), (500, True), (501, False)])
def test_an_amount_is_taken_within_the_projects_limits(fen: int, fits: bool) -> None:
    if fits:
        assert check_amount(amount_fen=fen, min_fen=100, max_fen=500) == fen
    else:
        with pytest.raises(InvalidInput, match=r"1\.00 to 5\.00"):
            check_amount(amount_fen=fen, min_fen=100, max_fen=500)


def test_the_channel_is_asked_soon_again_after_the_order_expired_and_then_no_more() -> None:
    asked: list[timedelta] = []
    at = NOON
    while (following := next_query(created_at=NOON, at=at)) is not None:
        asked.append(following - NOON)
        at = following
    assert asked == sorted(asked) == list(QUERY_AFTER)
    assert asked[0] <= timedelta(minutes=1)
    assert sum(after > ORDER_LIFE for after in asked) == 2


APPS = {
    "Mozilla/5.0 (iPhone) MicroMessenger/8.0.50 Mobile": Browser.WECHAT,
    "Mozilla/5.0 (Linux; Android 14) Mobile AliApp(AP/10.6) AlipayClient/10.6": Browser.ALIPAY,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Mobile/15E148 Safari/604.1": Browser.PHONE,
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0": Browser.DESKTOP,
    "": Browser.DESKTOP,
}


@pytest.mark.parametrize(("agent", "browser"), APPS.items())
def test_the_browser_is_told_by_what_it_calls_itself(agent: str, browser: Browser) -> None:
    assert browser_of(agent) is browser


@pytest.mark.parametrize("browser", Browser)
def test_a_page_offers_only_channels_that_the_project_has_an_account_at(browser: Browser) -> None:
    assert ways_to_offer(browser, channels=[], known=list(Channel)) == ()
    for channel in Channel:
        ways = ways_to_offer(browser, channels=[channel], known=list(Channel))
        assert {way.channel for way in ways} <= {channel}
        assert PayMethod.COUNTER not in [way.method for way in ways]


def test_each_app_is_offered_its_own_channel_and_other_browsers_all_of_them() -> None:
    def offered(browser: Browser, *, known: bool = True) -> list[str]:
        ways = ways_to_offer(browser, channels=list(Channel), known=list(Channel) if known else [])
        return [f"{way.channel} {way.method}" for way in ways]

    assert offered(Browser.WECHAT) == ["WECHAT_PAY JSAPI"]
    assert offered(Browser.WECHAT, known=False) == [], "WeChat's H5 does not open inside WeChat"
    assert offered(Browser.ALIPAY) == ["ALIPAY JSAPI"]
    assert offered(Browser.ALIPAY, known=False) == ["ALIPAY WAP"]
    phone = ["ALIPAY WAP", "WECHAT_PAY H5", "UNIONPAY WAP", "CHINAPAY WAP"]
    assert offered(Browser.PHONE, known=False) == phone
    desktop = ["ALIPAY PAGE", "WECHAT_PAY H5", "UNIONPAY PAGE", "CHINAPAY PAGE"]
    assert offered(Browser.DESKTOP, known=False) == desktop


@pytest.mark.parametrize("channel", Channel)
def test_a_way_is_a_channel_with_a_method_that_it_has(channel: Channel) -> None:
    for method in PayMethod:
        if method in METHODS[channel]:
            assert Way(channel, method).method is method
        else:
            with pytest.raises(InvalidInput):
                Way(channel, method)
