"""ChinaPay's driver against our own stand-in: no public sample exists, so the two prove each other only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from urllib.parse import parse_qsl, urlencode

import pytest

from backend.integrations.chinapay import sign
from backend.kernel.errors import InvalidInput
from backend.sandbox.pay_keys import public_pem_of
from backend.topups.ports import (
    ChannelRefused,
    ChannelUnavailable,
    NoticeRejected,
    PaymentState,
    PayMethod,
    RefundNotice,
    RefundRequest,
    RefundState,
)
from backend.topups.rules import Expected, OrderState, Verdict, judge

from .bank_tills import BACK, CLOCK, ChinapayTill, a_bank_order, a_number, click, form_on, post_page

Fields = dict[str, str]


async def _paid(till: ChinapayTill) -> str:
    """The number of a paid order of 50 yuan."""
    order = a_bank_order()
    await post_page(await till.channel.prepay(order))
    till.pay(order.order_no)
    return order.order_no


@pytest.mark.parametrize("method", [PayMethod.PAGE, PayMethod.WAP])
async def test_a_payer_pays_on_the_cashier_page_and_is_posted_back(
    chinapay: ChinapayTill, method: PayMethod
) -> None:
    order = a_bank_order(method)
    paid = await click(await post_page(await chinapay.channel.prepay(order)))
    assert "支付成功" in paid.text
    assert form_on(paid)[0] == BACK
    assert chinapay.shop.wait_for(1)
    payment = chinapay.read(chinapay.shop.notices[0][1])
    assert payment == await chinapay.channel.query(order.order_no)
    assert payment.state is PaymentState.PAID
    assert (payment.amount_fen, payment.merchant_id) == (5000, chinapay.config.mer_id)
    assert payment.paid_at is not None
    assert abs(payment.paid_at - CLOCK.now()) < timedelta(minutes=1)


async def test_a_form_that_was_changed_on_the_way_is_refused(chinapay: ChinapayTill) -> None:
    prepaid = await chinapay.channel.prepay(a_bank_order())
    cheap = replace(prepaid, page={**prepaid.page, "OrderAmt": "1"})
    assert (await post_page(cheap)).status_code == 400
    assert (await post_page(prepaid)).status_code == 200


async def test_what_is_not_said_to_be_paid_is_unknown_never_unpaid(chinapay: ChinapayTill) -> None:
    order = a_bank_order()
    assert (await chinapay.channel.query(order.order_no)).state is PaymentState.UNKNOWN
    await post_page(await chinapay.channel.prepay(order))
    assert (await chinapay.channel.query(order.order_no)).state is PaymentState.UNKNOWN
    await chinapay.channel.close(order.order_no)
    chinapay.pay(order.order_no)
    with pytest.raises(ChannelRefused):
        await chinapay.channel.close(order.order_no)


@pytest.mark.parametrize("fault", ["http_500", "drop_answer", "bad_signature_answer"])
async def test_an_answer_that_proves_nothing_is_no_state(
    chinapay: ChinapayTill, fault: str
) -> None:
    number = await _paid(chinapay)
    chinapay.fault(fault)
    with pytest.raises(ChannelUnavailable):
        await chinapay.channel.query(number)
    assert (await chinapay.channel.query(number)).state is PaymentState.PAID


async def test_an_answer_signed_by_somebody_else_is_never_a_state(
    chinapay: ChinapayTill, other_pem: str
) -> None:
    number = await _paid(chinapay)
    deceived = chinapay.another(public_key_pem=public_pem_of(other_pem))
    with pytest.raises(ChannelUnavailable, match="proven"):
        await deceived.query(number)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields | {"Signature": "A" * 344},
        lambda fields: fields | {"OrderAmt": "1"},
        lambda fields: fields | {"new": "field"},
        lambda fields: {k: v for k, v in fields.items() if k != "Signature"},
        lambda fields: fields | {"Signature": ""},
        lambda fields: {k: v for k, v in fields.items() if k != "BusiType"},
    ],
)
async def test_a_changed_notice_is_rejected(
    chinapay: ChinapayTill, change: Callable[[Fields], Fields]
) -> None:
    await _paid(chinapay)
    fields = dict(parse_qsl(chinapay.shop.notices[-1][1].decode()))
    with pytest.raises(NoticeRejected):
        chinapay.channel.read_notice({}, urlencode(change(fields)).encode(), CLOCK.now())


@pytest.mark.parametrize("body", [b"", b"\xff", b"a=1&a=2", b"a=" + b"1" * 70_000])
def test_a_body_that_is_no_notice_is_rejected(chinapay: ChinapayTill, body: bytes) -> None:
    with pytest.raises(NoticeRejected):
        chinapay.channel.read_notice({}, body, CLOCK.now())


async def test_the_merchants_own_signature_is_not_chinapays(chinapay: ChinapayTill) -> None:
    await _paid(chinapay)
    fields = dict(parse_qsl(chinapay.shop.notices[-1][1].decode()))
    mine = urlencode(sign(fields, key=chinapay.config.private_key)).encode()
    with pytest.raises(NoticeRejected, match="signature"):
        chinapay.channel.read_notice({}, mine, CLOCK.now())


@pytest.mark.parametrize("fault", ["bad_signature_notice", "stale_notice"])
async def test_a_badly_signed_or_stale_notice_is_rejected(
    chinapay: ChinapayTill, fault: str
) -> None:
    chinapay.fault(fault)
    await _paid(chinapay)
    with pytest.raises(NoticeRejected):
        chinapay.channel.read_notice({}, chinapay.shop.notices[-1][1], CLOCK.now())


@pytest.mark.parametrize("fault", ["wrong_amount_notice", "wrong_merchant_notice"])
async def test_a_wrong_amount_or_merchant_does_not_settle_the_order(
    chinapay: ChinapayTill, fault: str
) -> None:
    chinapay.fault(fault)
    number = await _paid(chinapay)
    payment = chinapay.read(chinapay.shop.notices[-1][1])
    expected = Expected(number, chinapay.config.mer_id, "", 5000, OrderState.CREATED, None)
    assert judge(expected, payment)[0] is Verdict.MISMATCH
    assert judge(expected, await chinapay.channel.query(number))[0] is Verdict.SETTLE


async def test_a_refund_moves_money_once(chinapay: ChinapayTill) -> None:
    number = await _paid(chinapay)
    chinapay.fault("refund_processing")
    request = RefundRequest(number, a_number(), 3000, 5000, "余额退费")
    states = [await chinapay.channel.refund(request) for _ in range(3)]
    assert states == [RefundState.ACCEPTED, RefundState.ACCEPTED, RefundState.DONE]
    with pytest.raises(ChannelRefused) as refused:
        await chinapay.channel.refund(replace(request, refund_no=a_number()))
    assert refused.value.code_at_channel == "3007"
    assert chinapay.given_back() == [3000]


async def test_the_notice_of_a_refund_is_not_taken_for_a_payment(chinapay: ChinapayTill) -> None:
    number = await _paid(chinapay)
    request = RefundRequest(number, a_number(), 3000, 5000, "余额退费")
    await chinapay.channel.refund(request)
    chinapay.control("notify", {"order_no": request.refund_no})
    told = chinapay.channel.read_notice({}, chinapay.shop.notices[-1][1], CLOCK.now())
    assert told == RefundNotice(request.refund_no, chinapay.config.mer_id)


async def test_the_bill_is_honestly_not_to_be_had(chinapay: ChinapayTill) -> None:
    with pytest.raises(ChannelUnavailable, match="by hand"):
        await chinapay.channel.bill(date(2026, 11, 27))


async def test_without_a_bill_each_number_of_ours_is_asked_for_and_no_money_moves(
    chinapay: ChinapayTill,
) -> None:
    paid, unpaid = await _paid(chinapay), a_bank_order()
    await post_page(await chinapay.channel.prepay(unpaid))
    refund = RefundRequest(paid, a_number(), 3000, 5000, "余额退费")
    await chinapay.channel.refund(refund)
    unknown = a_number()
    before = chinapay.trades()
    lines = await chinapay.channel.lines_of(
        order_nos=[paid, unpaid.order_no, unknown], refund_nos=[refund.refund_no, a_number()]
    )
    assert [(one.order_no, one.amount_fen, one.refund_fen, one.refund_no) for one in lines] == [
        (paid, 5000, 0, None),
        (paid, 0, 3000, refund.refund_no),
    ]
    assert lines[0].transaction_id == (await chinapay.channel.query(paid)).transaction_id
    assert all(abs(CLOCK.now() - line.at) < timedelta(minutes=1) for line in lines)
    assert chinapay.trades() == before
    chinapay.fault("drop_answer")
    with pytest.raises(ChannelUnavailable):
        await chinapay.channel.lines_of(order_nos=[paid], refund_nos=[])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mer_id", "1"),
        ("private_key_pem", "no key"),
        ("public_key_pem", "no key"),
        ("base_url", "a"),
    ],
)
def test_an_account_that_cannot_work_is_refused_at_once(
    chinapay: ChinapayTill, field: str, value: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        chinapay.another(**{field: value})
    assert refused.value.field == field


def test_the_merchants_own_key_is_not_taken_for_chinapays(chinapay: ChinapayTill) -> None:
    mine = public_pem_of(chinapay.config.private_key_pem)
    with pytest.raises(InvalidInput, match="not ChinaPay's"):
        replace(chinapay.config, public_key_pem=mine)
