"""Payment notices: only what WeChat Pay signed, now, for us, is believed (C5)."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.integrations.wechat_pay import WechatPayChannel
from backend.integrations.wechat_pay_wire import PROBE_PREFIX
from backend.sandbox.pay_keys import Platform
from backend.topups.ports import (
    NoticeProbe,
    NoticeRejected,
    Payment,
    PaymentState,
    RefundNotice,
    RefundRequest,
    RefundState,
)

from .conftest import CLOCK, Till, an_order

Notice = tuple[dict[str, str], bytes]


async def _notice(till: Till) -> Notice:
    """A notice as it came over the socket."""
    order = an_order()
    await till.channel.prepay(order)
    assert till.pay(order.order_no)["notices"] == [204]
    return till.shop.notices[-1]


def paid(channel: WechatPayChannel, headers: dict[str, str], body: bytes) -> Payment:
    """What a notice says was paid."""
    told = channel.read_notice(headers, body, CLOCK.now())
    assert isinstance(told, Payment)
    return told


async def test_a_true_notice_tells_order_merchant_amount_and_payer(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no, openid="o-li")
    headers, body = till.shop.notices[0]
    payment = till.channel.read_notice(headers, body, CLOCK.now())
    assert payment == await till.channel.query(order.order_no)
    assert payment.state is PaymentState.PAID
    assert (payment.order_no, payment.amount_fen) == (order.order_no, 5000)
    assert payment.payer_id == "o-li"


async def test_header_names_may_come_in_any_case(till: Till) -> None:
    headers, body = await _notice(till)
    shouted = {name.upper(): value for name, value in headers.items()}
    assert paid(till.channel, shouted, body).amount_fen == 5000


def _forged(headers: dict[str, str], body: bytes) -> Notice:
    return headers | {"wechatpay-signature": "A" * 344}, body


def _reserialised(headers: dict[str, str], body: bytes) -> Notice:
    return headers, json.dumps(json.loads(body), indent=1).encode()


def _unknown_serial(headers: dict[str, str], body: bytes) -> Notice:
    return headers | {"wechatpay-serial": "PUB_KEY_ID_000000000000"}, body


def _serial_that_is_no_number(headers: dict[str, str], body: bytes) -> Notice:
    return headers | {"wechatpay-serial": "zz"}, body


def _other_type(headers: dict[str, str], body: bytes) -> Notice:
    return headers | {"wechatpay-signature-type": "WECHATPAY2-SM2-WITH-SM3"}, body


def _moved_time(headers: dict[str, str], body: bytes) -> Notice:
    return headers | {"wechatpay-timestamp": str(int(headers["wechatpay-timestamp"]) + 1)}, body


def _time_that_is_no_number(headers: dict[str, str], body: bytes) -> Notice:
    return headers | {"wechatpay-timestamp": "now"}, body


def _not_text(headers: dict[str, str], body: bytes) -> Notice:
    return headers, b"\xff" + body


def _empty(headers: dict[str, str], body: bytes) -> Notice:
    return headers, b""


@pytest.mark.parametrize(
    "change",
    [
        _forged, _reserialised, _unknown_serial, _serial_that_is_no_number, _other_type,
        _moved_time, _time_that_is_no_number, _not_text, _empty,
    ],
)  # fmt: skip
async def test_a_changed_notice_is_rejected(
    till: Till, change: Callable[[dict[str, str], bytes], Notice]
) -> None:
    headers, body = change(*await _notice(till))
    with pytest.raises(NoticeRejected):
        till.channel.read_notice(headers, body, CLOCK.now())


@pytest.mark.parametrize("name", ["signature", "timestamp", "nonce", "serial", "signature-type"])
@pytest.mark.parametrize("how", ["missing", "empty"])
async def test_a_notice_without_a_signature_header_is_rejected(
    till: Till, name: str, how: str
) -> None:
    headers, body = await _notice(till)
    less = {key: value for key, value in headers.items() if key != f"wechatpay-{name}"}
    if how == "empty":
        less[f"wechatpay-{name}"] = ""
    with pytest.raises(NoticeRejected):
        till.channel.read_notice(less, body, CLOCK.now())


@pytest.mark.parametrize("seconds", [-301, 301, 86_400])
async def test_a_true_notice_of_another_time_is_a_replay(till: Till, seconds: int) -> None:
    headers, body = await _notice(till)
    at = CLOCK.now().replace(microsecond=0) + timedelta(seconds=seconds)
    with pytest.raises(NoticeRejected, match="five minutes"):
        till.channel.read_notice(headers, body, at + timedelta(seconds=2 if seconds > 0 else -2))


async def test_a_stale_notice_of_the_channel_is_rejected_but_the_next_try_is_fresh(
    till: Till,
) -> None:
    till.control("faults", {"stale_notice": 1})
    till.shop.status = 500
    order = an_order()
    await till.channel.prepay(order)
    assert till.pay(order.order_no)["notices"] == [500]
    assert till.shop.wait_for(2)
    with pytest.raises(NoticeRejected):
        till.channel.read_notice(*till.shop.notices[0], CLOCK.now())
    assert paid(till.channel, *till.shop.notices[1]).amount_fen == 5000


async def test_a_probe_is_rejected_as_a_probe_so_that_nobody_is_alarmed(till: Till) -> None:
    headers, body = await _notice(till)
    headers |= {"wechatpay-signature": PROBE_PREFIX + headers["wechatpay-signature"]}
    with pytest.raises(NoticeProbe):
        till.channel.read_notice(headers, body, CLOCK.now())


async def test_an_unknown_serial_is_refused_before_any_network(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, body = await _notice(till)

    def no_network(*_: object) -> None:
        raise AssertionError("a notice made us call somebody")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    with pytest.raises(NoticeRejected, match="serial"):
        till.channel.read_notice(headers | {"wechatpay-serial": "ABCDEF"}, body, CLOCK.now())


@pytest.mark.parametrize("part", ["ciphertext", "nonce", "associated_data", "algorithm"])
async def test_a_ciphertext_changed_under_a_right_signature_is_rejected(
    till: Till, other_pem: str, part: str
) -> None:
    """Even the holder of the platform's key cannot make us read what does not decrypt."""
    headers, body = await _notice(till)
    platform = Platform(other_pem)
    channel = till.another(public_key_id=platform.public_key_id, public_key_pem=platform.public_pem)
    whole = headers | {
        name.lower(): value for name, value in platform.headers(body=body, at=CLOCK.now()).items()
    }
    assert paid(channel, whole, body).amount_fen == 5000
    notice = json.loads(body)
    old = notice["resource"][part]
    notice["resource"][part] = ("A" if old[0] != "A" else "B") + old[1:]
    changed = json.dumps(notice).encode()
    signed = platform.headers(body=changed, at=CLOCK.now())
    with pytest.raises(NoticeRejected):
        channel.read_notice(signed, changed, CLOCK.now())


async def test_a_notice_sealed_with_another_key_is_rejected(till: Till) -> None:
    headers, body = await _notice(till)
    with pytest.raises(NoticeRejected, match="decrypt"):
        till.another(apiv3_key="0" * 32).read_notice(headers, body, CLOCK.now())


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b"{}", b'{"event_type":"TRANSACTION.SUCCESS","resource":[]}', b"not json"],
)
async def test_a_signed_message_of_another_shape_is_rejected(
    till: Till, other_pem: str, body: bytes
) -> None:
    platform = Platform(other_pem)
    channel = till.another(public_key_id=platform.public_key_id, public_key_pem=platform.public_pem)
    with pytest.raises(NoticeRejected, match="read"):
        channel.read_notice(platform.headers(body=body, at=CLOCK.now()), body, CLOCK.now())


async def test_a_signed_message_of_more_than_64_kilobytes_is_not_read(
    till: Till, other_pem: str
) -> None:
    _, body = await _notice(till)
    body += b" " * 70_000
    platform = Platform(other_pem)
    channel = till.another(public_key_id=platform.public_key_id, public_key_pem=platform.public_pem)
    with pytest.raises(NoticeRejected, match="long"):
        channel.read_notice(platform.headers(body=body, at=CLOCK.now()), body, CLOCK.now())


async def test_a_lost_notice_leaves_the_truth_to_the_query(till: Till) -> None:
    till.control("faults", {"lost_notice": 1})
    order = an_order()
    await till.channel.prepay(order)
    assert till.pay(order.order_no)["notices"] == []
    assert till.shop.notices == []
    assert (await till.channel.query(order.order_no)).state is PaymentState.PAID


async def test_duplicates_are_two_readings_of_one_payment(till: Till) -> None:
    till.control("faults", {"duplicate_notice": 2})
    order = an_order()
    await till.channel.prepay(order)
    assert till.pay(order.order_no)["notices"] == [204, 204, 204]
    read = {till.channel.read_notice(*notice, CLOCK.now()) for notice in till.shop.notices}
    assert len(read) == 1


async def test_a_wrong_amount_or_merchant_is_shown_to_the_one_who_compares(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.control("faults", {"wrong_amount_notice": 1})
    till.pay(order.order_no)
    assert paid(till.channel, *till.shop.notices[-1]).amount_fen == 5001
    till.control("faults", {"wrong_merchant_notice": 1})
    till.control("notify", {"out_trade_no": order.order_no})
    seen = till.channel.read_notice(*till.shop.notices[-1], CLOCK.now())
    assert seen.merchant_id != till.config.mchid


async def test_a_badly_signed_notice_of_the_channel_is_rejected(till: Till) -> None:
    till.control("faults", {"bad_signature_notice": 1})
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    with pytest.raises(NoticeRejected):
        till.channel.read_notice(*till.shop.notices[-1], CLOCK.now())


async def test_the_notice_of_a_refund_names_it_and_claims_no_payment(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    number = "R" + order.order_no[:29]
    request = RefundRequest(order.order_no, number, 2000, 5000, "moved out")
    assert await till.channel.refund(request) is RefundState.DONE
    named = {"mchid": till.config.mchid, "out_refund_no": number}
    till.control("faults", {"duplicate_notice": 1})
    assert till.control("refund-notice", named)["notices"] == [204, 204]
    for headers, body in till.shop.notices[-2:]:
        told = till.channel.read_notice(headers, body, CLOCK.now())
        assert told == RefundNotice(number, till.config.mchid)
        other = body.replace(b"REFUND.SUCCESS", b"REFUND.SUCCEED")
        with pytest.raises(NoticeRejected):
            till.channel.read_notice(headers, other, CLOCK.now())


async def test_a_refund_to_a_void_card_fails_and_stays_failed(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    request = RefundRequest(order.order_no, "V" + order.order_no[:29], 5000, 5000, "moved out")
    till.control("faults", {"refund_processing": 1, "refund_abnormal": 1})
    words = [await till.channel.refund(request) for _ in range(3)]
    assert words == [RefundState.ACCEPTED, RefundState.FAILED, RefundState.FAILED]
    again = replace(request, refund_no="W" + order.order_no[:29])
    assert await till.channel.refund(again) is RefundState.DONE
