"""Notices of UnionPay: only what UnionPay's own certificate signed, of today, is believed (C5)."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode

import pytest

from backend.integrations.unionpay_wire import sign
from backend.sandbox.unionpay_keys import SIGNER_CN, issue
from backend.topups.ports import NoticeRejected, Payment, PaymentState, RefundNotice, RefundRequest
from backend.topups.rules import Expected, OrderState, Verdict, judge

from .bank_tills import CLOCK, UnionpayTill, a_bank_order, a_number, post_page

Fields = dict[str, str]


async def _notice(till: UnionpayTill) -> tuple[str, bytes]:
    """Order number and body of a notice as it came over the socket."""
    order = a_bank_order()
    await post_page(await till.channel.prepay(order))
    assert till.pay(order.order_no)["notices"] == [204]
    return order.order_no, till.shop.notices[-1][1]


def _changed(body: bytes, change: Callable[[Fields], Fields]) -> bytes:
    return urlencode(change(dict(parse_qsl(body.decode(), keep_blank_values=True)))).encode()


def _judged(payment: Payment, number: str, till: UnionpayTill) -> Verdict:
    expected = Expected(number, till.config.mer_id, "", 5000, OrderState.CREATED, None)
    return judge(expected, payment)[0]


async def test_a_true_notice_says_what_the_query_says(unionpay: UnionpayTill) -> None:
    number, body = await _notice(unionpay)
    payment = unionpay.read(body)
    assert payment == await unionpay.channel.query(number)
    assert payment.state is PaymentState.PAID
    assert _judged(payment, number, unionpay) is Verdict.SETTLE


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields | {"signature": "A" * 344},
        lambda fields: fields | {"txnAmt": "1"},
        lambda fields: fields | {"orderId": "2026112800000000000000000000aa"},
        lambda fields: fields | {"new": "field"},
        lambda fields: {k: v for k, v in fields.items() if k != "settleAmt"},
        lambda fields: {k: v for k, v in fields.items() if k != "signature"},
        lambda fields: fields | {"signature": ""},
        lambda fields: fields | {"signMethod": "11"},
        lambda fields: fields | {"version": "5.0.0"},
        lambda fields: {k: v for k, v in fields.items() if k != "signPubKeyCert"},
        lambda fields: fields | {"signPubKeyCert": "-----BEGIN CERTIFICATE-----"},
    ],
)
async def test_a_changed_notice_is_rejected(
    unionpay: UnionpayTill, change: Callable[[Fields], Fields]
) -> None:
    _, body = await _notice(unionpay)
    with pytest.raises(NoticeRejected):
        unionpay.read(_changed(body, change))


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"a=1&a=2", b"a=" + b"1" * 70_000, b"&&=&"])
def test_a_body_that_is_no_notice_is_rejected(unionpay: UnionpayTill, body: bytes) -> None:
    with pytest.raises(NoticeRejected):
        unionpay.read(body)


async def test_a_field_that_comes_twice_is_rejected(unionpay: UnionpayTill) -> None:
    _, body = await _notice(unionpay)
    with pytest.raises(NoticeRejected, match="twice"):
        unionpay.read(body + b"&txnAmt=5000")


async def test_who_signs_with_a_certificate_of_his_own_is_not_unionpay(
    unionpay: UnionpayTill,
) -> None:
    order = a_bank_order()
    await post_page(await unionpay.channel.prepay(order))
    unionpay.fault("own_cert_notice")
    unionpay.pay(order.order_no)
    with pytest.raises(NoticeRejected, match="not issued under"):
        unionpay.read(unionpay.shop.notices[-1][1])


async def test_a_chain_with_the_right_names_but_another_key_is_not_unionpay(
    unionpay: UnionpayTill,
) -> None:
    _, body = await _notice(unionpay)
    root = issue(name="Sandbox Root CA", at=CLOCK.now(), authority=True)
    middle = issue(name="Sandbox OCA1", at=CLOCK.now(), by=root, authority=True)
    signer = issue(name=SIGNER_CN, at=CLOCK.now(), by=middle)
    forged = _changed(
        body, lambda fields: sign(fields | {"signPubKeyCert": signer.pem}, key=signer.key)
    )
    with pytest.raises(NoticeRejected, match="not issued under"):
        unionpay.read(forged)
    # The same notice is good for whoever trusts that chain: it was rejected for nothing else.
    trusting = unionpay.another(root_pem=root.pem, middle_pem=middle.pem)
    payment = trusting.read_notice({}, forged, CLOCK.now())
    assert isinstance(payment, Payment)
    assert payment.amount_fen == 5000


@pytest.mark.parametrize(
    ("name", "days", "match"),
    [
        ("041@8310000000083040@某某公司@00016495", 3650, "somebody else"),
        ("中国银联股份有限公司", 3650, "somebody else"),
        (SIGNER_CN, -0.5, "not valid now"),
    ],
)
async def test_another_company_or_an_expired_certificate_is_rejected(
    unionpay: UnionpayTill, name: str, days: float, match: str
) -> None:
    _, body = await _notice(unionpay)
    root = issue(name="A Root", at=CLOCK.now(), authority=True)
    signer = issue(name=name, at=CLOCK.now(), by=root, life=timedelta(days=days))
    forged = _changed(
        body, lambda fields: sign(fields | {"signPubKeyCert": signer.pem}, key=signer.key)
    )
    trusting = unionpay.another(root_pem=root.pem, middle_pem=root.pem)
    with pytest.raises(NoticeRejected, match=match):
        trusting.read_notice({}, forged, CLOCK.now())


async def test_our_own_certificate_does_not_sign_for_unionpay(unionpay: UnionpayTill) -> None:
    _, body = await _notice(unionpay)
    config = unionpay.config
    mine = _changed(
        body,
        lambda fields: sign(
            fields | {"signPubKeyCert": config.certificate_pem}, key=config.private_key
        ),
    )
    with pytest.raises(NoticeRejected, match="somebody else"):
        unionpay.read(mine)


async def test_a_true_notice_of_long_ago_is_a_replay(unionpay: UnionpayTill) -> None:
    _, body = await _notice(unionpay)
    for days in (-0.1, 1.1, 365):
        with pytest.raises(NoticeRejected, match="another day"):
            unionpay.channel.read_notice({}, body, CLOCK.now() + timedelta(days=days))
    order = a_bank_order()
    await post_page(await unionpay.channel.prepay(order))
    unionpay.fault("stale_notice")
    unionpay.pay(order.order_no)
    with pytest.raises(NoticeRejected, match="another day"):
        unionpay.read(unionpay.shop.notices[-1][1])


@pytest.mark.parametrize("fault", ["wrong_amount_notice", "wrong_merchant_notice"])
async def test_a_wrong_amount_or_merchant_does_not_settle_the_order(
    unionpay: UnionpayTill, fault: str
) -> None:
    order = a_bank_order()
    await post_page(await unionpay.channel.prepay(order))
    unionpay.fault(fault)
    unionpay.pay(order.order_no)
    payment = unionpay.read(unionpay.shop.notices[-1][1])
    assert _judged(payment, order.order_no, unionpay) is Verdict.MISMATCH
    payment = await unionpay.channel.query(order.order_no)
    assert _judged(payment, order.order_no, unionpay) is Verdict.SETTLE
    foreign = replace(payment, currency="840")
    assert _judged(foreign, order.order_no, unionpay) is Verdict.MISMATCH


@pytest.mark.parametrize(
    "changes",
    [
        {"txnType": "31"},
        {"respCode": "03"},
        {"respCode": ""},
        {"txnAmt": "-1"},
        {"txnAmt": "50.00"},
        {"queryId": ""},
        {"traceTime": "1331000000"},
        {"txnTime": "yesterday"},
        {"currencyCode": ""},
    ],
)
async def test_a_signed_message_of_another_meaning_is_no_payment(
    unionpay: UnionpayTill, changes: Fields
) -> None:
    _, body = await _notice(unionpay)
    root = issue(name="A Root", at=CLOCK.now(), authority=True)
    signer = issue(name=SIGNER_CN, at=CLOCK.now(), by=root)
    told = _changed(
        body, lambda f: sign(f | changes | {"signPubKeyCert": signer.pem}, key=signer.key)
    )
    trusting = unionpay.another(root_pem=root.pem, middle_pem=root.pem)
    with pytest.raises(NoticeRejected, match="read"):
        trusting.read_notice({}, told, CLOCK.now())


async def test_the_notice_of_a_refund_rings_and_is_no_payment(unionpay: UnionpayTill) -> None:
    number, _ = await _notice(unionpay)
    refund = RefundRequest(number, a_number(), 100, 5000, "退费")
    await unionpay.channel.refund(refund)
    unionpay.control("notify", {"order_no": refund.refund_no})
    told = unionpay.channel.read_notice({}, unionpay.shop.notices[-1][1], CLOCK.now())
    assert told == RefundNotice(refund.refund_no, unionpay.config.mer_id)


async def test_a_badly_signed_notice_is_rejected_and_the_next_try_is_good(
    unionpay: UnionpayTill,
) -> None:
    unionpay.fault("bad_signature_notice")
    unionpay.shop.status = 500
    order = a_bank_order()
    await post_page(await unionpay.channel.prepay(order))
    assert unionpay.pay(order.order_no)["notices"] == [500]
    assert unionpay.shop.wait_for(2)
    with pytest.raises(NoticeRejected, match="signature"):
        unionpay.read(unionpay.shop.notices[0][1])
    assert unionpay.read(unionpay.shop.notices[1][1]).amount_fen == 5000


async def test_a_lost_notice_leaves_the_truth_to_the_query(unionpay: UnionpayTill) -> None:
    unionpay.fault("lost_notice")
    order = a_bank_order()
    await post_page(await unionpay.channel.prepay(order))
    assert unionpay.pay(order.order_no)["notices"] == []
    assert (await unionpay.channel.query(order.order_no)).state is PaymentState.PAID


async def test_duplicates_are_two_readings_of_one_payment(unionpay: UnionpayTill) -> None:
    unionpay.control("faults", {"duplicate_notice": 2})
    order = a_bank_order()
    await post_page(await unionpay.channel.prepay(order))
    assert unionpay.pay(order.order_no)["notices"] == [204, 204, 204]
    assert len({unionpay.read(body) for _, body in unionpay.shop.notices}) == 1


async def test_no_notice_makes_us_call_anybody(
    unionpay: UnionpayTill, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, body = await _notice(unionpay)

    def no_network(*_: object) -> None:
        raise AssertionError("a notice made us call somebody")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    assert unionpay.read(body).amount_fen == 5000
    spoiled = base64.b64encode(b"x" * 256).decode()
    changed = _changed(body, lambda fields: fields | {"signature": spoiled})
    with pytest.raises(NoticeRejected):
        unionpay.read(changed)
