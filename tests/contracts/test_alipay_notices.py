"""Alipay's notices: what is believed, what is refused, what a refund's notice is (C5)."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl

import pytest

from backend.kernel.ids import order_no
from backend.topups.ports import NoticeRejected, Payment, PaymentState, PayMethod, RefundNotice
from backend.topups.rules import Expected, OrderState, Verdict, judge

from .alipay_till import APP, CERTIFICATES, CLOCK, SELLER, AlipayTill, changed
from .conftest import an_order


def read(till: AlipayTill, body: bytes) -> Payment:
    """What the channel makes of a body."""
    payment = till.channel.read_notice({}, body, CLOCK.now())
    assert isinstance(payment, Payment)
    return payment


def expected(
    number: str, state: OrderState = OrderState.CREATED, transaction: str | None = None
) -> Expected:
    """Our order of 50 yuan."""
    return Expected(number, SELLER, APP, 5000, state, transaction)


@CERTIFICATES
async def test_the_notice_of_a_payment_comes_signed_and_is_believed(alipay: AlipayTill) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    assert alipay.shop.wait_for(1)
    headers, body = alipay.shop.notices[0]
    assert headers["content-type"].startswith("application/x-www-form-urlencoded")
    payment = read(alipay, body)
    assert judge(expected(number), payment) == (Verdict.SETTLE, "")
    assert payment.paid_at is not None
    assert payment == await alipay.channel.query(number)


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        ("wrong_amount_notice", "amount"),
        ("wrong_seller_notice", "merchant"),
        ("wrong_app_notice", "app"),
    ],
)
async def test_a_rightly_signed_notice_of_something_else_settles_nothing(
    alipay: AlipayTill, fault: str, wrong: str
) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    alipay.control("faults", {fault: 1})
    verdict, reason = judge(expected(number), read(alipay, alipay.notice(number)))
    assert verdict is Verdict.MISMATCH
    assert wrong in reason


@pytest.mark.parametrize("fault", ["bad_signature_notice", "stale_notice"])
async def test_a_forged_or_stale_notice_is_refused(alipay: AlipayTill, fault: str) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    alipay.control("faults", {fault: 1})
    with pytest.raises(NoticeRejected):
        alipay.channel.read_notice({}, alipay.notice(number), CLOCK.now())


async def test_a_notice_is_fresh_for_as_long_as_alipay_tries(alipay: AlipayTill) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    body, now = alipay.notice(number), CLOCK.now()
    assert alipay.channel.read_notice({}, body, now + timedelta(hours=25))
    for wrong in (timedelta(hours=27), timedelta(minutes=-6)):
        with pytest.raises(NoticeRejected):
            alipay.channel.read_notice({}, body, now + wrong)


async def test_what_is_changed_doubled_cut_or_not_a_form_is_refused(alipay: AlipayTill) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    body = alipay.notice(number)
    fields = dict(parse_qsl(body.decode()))
    tampered = [changed(body, **{name: value + "0"}) for name, value in fields.items()]
    tampered += [body + b"&total_amount=50.00", body[: len(body) // 2], b"", b"{}", b"\xff\xfe"]
    tampered += [
        changed(body, sign_type="RSA"),
        changed(body, charset="utf-7"),
        b"a=" + b"b" * 70_000,
    ]
    tampered += [changed(body, note="added")]
    for wrong in tampered:
        with pytest.raises(NoticeRejected):
            alipay.channel.read_notice({}, wrong, CLOCK.now())


async def test_the_notice_of_a_partial_refund_is_no_payment_though_it_says_success(
    alipay: AlipayTill,
) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    body = alipay.notice(number, refund_fen=1200)
    assert b"TRADE_SUCCESS" in body
    told = alipay.channel.read_notice({}, body, CLOCK.now())
    assert isinstance(told, RefundNotice)
    assert told.merchant_id == SELLER


async def test_money_given_back_before_it_was_booked_settles_nothing_and_later_changes_nothing(
    alipay: AlipayTill,
) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    payment = read(alipay, alipay.notice(number))
    back = Payment(
        order_no=number,
        state=PaymentState.REFUNDED,
        merchant_id=SELLER,
        app_id=APP,
        amount_fen=5000,
        currency="CNY",
        transaction_id=payment.transaction_id,
    )
    assert judge(expected(number), back)[0] is Verdict.MISMATCH
    booked = expected(number, OrderState.PAID, payment.transaction_id)
    for again in (payment, back):
        assert judge(booked, again)[0] is Verdict.ALREADY


async def test_a_notice_is_sent_again_until_the_word_success_is_heard(alipay: AlipayTill) -> None:
    alipay.shop.answer = "SUCCESS!"
    await alipay.paid(an_order(PayMethod.WAP))
    assert alipay.shop.wait_for(2), "not the exact word: it comes again"


async def test_lost_doubled_and_late_notices_are_made_by_switches(alipay: AlipayTill) -> None:
    order = an_order(PayMethod.WAP)
    await alipay.opened(order)
    alipay.control("faults", {"lost_notice": 1})
    assert alipay.pay(order.order_no)["notices"] == []
    alipay.control("faults", {"duplicate_notice": 2})
    told = alipay.control("notify", {"out_trade_no": order.order_no})
    assert told["notices"] == [200, 200, 200]
    assert alipay.shop.notices[0][1] == alipay.shop.notices[2][1]
    assert order_no(CLOCK.now()) != order.order_no
