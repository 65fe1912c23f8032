"""Alipay orders against the stand-in with the real SDK: pages, JSAPI, query, close, refund, in all modes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from alipay import AliPay, DCAliPay

from backend.integrations.alipay_config import AlipayConfig, Certificates, roots
from backend.kernel.errors import InvalidInput
from backend.sandbox.pay_keys import public_pem_of
from backend.topups.ports import (
    ChannelRefused,
    ChannelUnavailable,
    PaymentState,
    PayMethod,
    RefundRequest,
    RefundState,
)

from .alipay_till import APP, CERTIFICATES, CLOCK, MODES, SELLER, AlipayTill
from .conftest import an_order


def a_refund(order_no: str, *, fen: int = 5000, number: str = "refund0001") -> RefundRequest:
    """A refund of an order of 50 yuan."""
    return RefundRequest(order_no, number, fen, 5000, "退多收的钱")


@MODES
@pytest.mark.parametrize("method", [PayMethod.WAP, PayMethod.PAGE])
async def test_a_page_leads_to_the_cashier_and_brings_the_payer_back(
    alipay: AlipayTill, method: PayMethod
) -> None:
    order = replace(an_order(method), return_url="https://shop.example/p/token?back=1")
    url = (await alipay.channel.prepay(order)).page["url"]
    sent = parse_qs(urlsplit(url).query)
    assert sent["return_url"] == [order.return_url]
    assert sent["notify_url"] == [alipay.config.notify_url]
    cashier = await alipay.opened(order)
    async with httpx.AsyncClient(trust_env=False) as browser:
        shown = await browser.get(cashier)
        assert "50.00" in shown.text
        assert order.order_no in shown.text
        back = await browser.post(f"{cashier}/pay")
    assert back.status_code == 303
    assert back.headers["location"].startswith(f"{order.return_url}&out_trade_no={order.order_no}")
    assert (await alipay.channel.query(order.order_no)).state is PaymentState.PAID
    assert alipay.shop.wait_for(1)


@MODES
async def test_inside_alipay_the_trade_is_registered_and_its_number_given(
    alipay: AlipayTill,
) -> None:
    order = an_order(PayMethod.JSAPI)
    number = (await alipay.channel.prepay(order)).page["tradeNO"]
    assert (await alipay.channel.prepay(order)).page["tradeNO"] == number
    alipay.pay(order.order_no)
    assert (await alipay.channel.query(order.order_no)).transaction_id == number
    with pytest.raises(InvalidInput):
        await alipay.channel.prepay(replace(order, payer_id=None))
    with pytest.raises(ChannelRefused) as paid:
        await alipay.channel.prepay(order)
    assert paid.value.code_at_channel == "ACQ.TRADE_HAS_SUCCESS"


async def test_an_order_is_unpaid_until_its_page_is_opened_then_until_it_is_paid(
    alipay: AlipayTill,
) -> None:
    order = an_order(PayMethod.WAP)
    await alipay.channel.prepay(order)
    unknown = await alipay.channel.query(order.order_no)
    assert (unknown.state, unknown.amount_fen) == (PaymentState.UNPAID, 0)
    await alipay.opened(order)
    assert (await alipay.channel.query(order.order_no)).state is PaymentState.UNPAID
    alipay.pay(order.order_no)
    payment = await alipay.channel.query(order.order_no)
    assert payment.state is PaymentState.PAID
    assert (payment.merchant_id, payment.app_id) == (SELLER, APP)
    assert (payment.amount_fen, payment.currency) == (5000, "CNY")
    assert payment.paid_at is not None
    assert abs(payment.paid_at - CLOCK.now()) < timedelta(seconds=5)


async def test_a_closed_order_cannot_be_paid_and_a_paid_one_cannot_be_closed(
    alipay: AlipayTill,
) -> None:
    never_opened = an_order(PayMethod.WAP)
    await alipay.channel.close(never_opened.order_no)
    order = an_order(PayMethod.WAP)
    await alipay.opened(order)
    await alipay.channel.close(order.order_no)
    assert (await alipay.channel.query(order.order_no)).state is PaymentState.CLOSED
    alipay.pay(order.order_no, force=True)
    assert (await alipay.channel.query(order.order_no)).state is PaymentState.PAID
    with pytest.raises(ChannelRefused):
        await alipay.channel.close(order.order_no)


async def test_a_page_that_is_opened_too_late_begins_no_trade(alipay: AlipayTill) -> None:
    order = replace(an_order(PayMethod.WAP), expires_at=CLOCK.now() - timedelta(seconds=1))
    url = (await alipay.channel.prepay(order)).page["url"]
    async with httpx.AsyncClient(trust_env=False) as browser:
        assert (await browser.get(url)).status_code == 200, "no way to the cashier"
    assert (await alipay.channel.query(order.order_no)).amount_fen == 0


@MODES
async def test_a_refund_is_done_once_however_often_it_is_asked_for(alipay: AlipayTill) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    part = a_refund(number, fen=1200)
    assert await alipay.channel.refund(part) is RefundState.DONE
    assert await alipay.channel.refund(part) is RefundState.DONE
    payment = await alipay.channel.query(number)
    assert (payment.state, payment.amount_fen) == (PaymentState.PAID, 5000)
    assert await alipay.channel.refund(a_refund(number, fen=3800, number="refund0002"))
    assert (await alipay.channel.query(number)).state is PaymentState.REFUNDED
    with pytest.raises(ChannelRefused):
        await alipay.channel.refund(a_refund(number, fen=1, number="refund0003"))


async def test_a_refund_that_was_only_taken_is_not_done_until_the_money_moved(
    alipay: AlipayTill,
) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    alipay.control("faults", {"refund_processing": 1})
    assert await alipay.channel.refund(a_refund(number)) is RefundState.ACCEPTED
    assert await alipay.channel.refund(a_refund(number)) is RefundState.ACCEPTED
    alipay.control("refunds", {"out_trade_no": number})
    assert await alipay.channel.refund(a_refund(number)) is RefundState.DONE


async def test_the_same_refund_number_with_another_amount_is_refused(alipay: AlipayTill) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    await alipay.channel.refund(a_refund(number, fen=1200))
    with pytest.raises(ChannelRefused) as refused:
        await alipay.channel.refund(a_refund(number, fen=1300))
    assert refused.value.code_at_channel == "ACQ.DISCORDANT_REPEAT_REQUEST"


@pytest.mark.parametrize(
    "fault", ["http_500", "drop_answer", "unsigned_answer", "bad_answer_signature", "busy"]
)
async def test_an_answer_that_is_missing_broken_or_not_signed_is_unknown_and_asked_again(
    alipay: AlipayTill, fault: str
) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    alipay.control("faults", {fault: 1})
    with pytest.raises(ChannelUnavailable):
        await alipay.channel.query(number)
    assert (await alipay.channel.query(number)).state is PaymentState.PAID


async def test_a_refund_whose_answer_was_lost_moves_no_money_twice(alipay: AlipayTill) -> None:
    number = await alipay.paid(an_order(PayMethod.WAP))
    alipay.control("faults", {"drop_answer": 1})
    with pytest.raises(ChannelUnavailable):
        await alipay.channel.refund(a_refund(number, fen=3000))
    assert await alipay.channel.refund(a_refund(number, fen=3000)) is RefundState.DONE
    with pytest.raises(ChannelRefused):
        await alipay.channel.refund(a_refund(number, fen=3000, number="refund0002"))


async def test_a_channel_with_somebody_elses_key_is_not_believed(
    alipay: AlipayTill, other_pem: str
) -> None:
    with pytest.raises(ChannelUnavailable):
        await alipay.another(private_key=other_pem).query("anything0001")
    deceived = alipay.another(alipay_public_key=public_pem_of(other_pem))
    await alipay.paid(order := an_order(PayMethod.WAP))
    with pytest.raises(ChannelUnavailable):
        await deceived.query(order.order_no)


@CERTIFICATES
async def test_the_app_certificate_must_be_of_the_apps_key(
    alipay: AlipayTill, other_pem: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        alipay.another(private_key=other_pem)
    assert refused.value.field == "app_cert"


@MODES
async def test_a_provider_without_the_sellers_token_is_turned_away(alipay: AlipayTill) -> None:
    without = alipay.another(app_auth_token="" if alipay.config.app_auth_token else "made-up")
    with pytest.raises(ChannelUnavailable):
        await without.query("anything0001")


@CERTIFICATES
async def test_an_answer_signed_with_another_certificate_is_not_believed(
    alipay: AlipayTill,
) -> None:
    certificates = alipay.config.certificates
    assert certificates is not None
    old = replace(certificates, alipay_pem=certificates.root_pem)
    number = await alipay.paid(an_order(PayMethod.WAP))
    with pytest.raises(ChannelUnavailable, match="another certificate"):
        await alipay.another(certificates=old).query(number)


@CERTIFICATES
def test_a_root_bundle_with_windows_line_ends_has_its_number(alipay: AlipayTill) -> None:
    assert alipay.config.certificates is not None
    pem = alipay.config.certificates.root_pem
    bundle = roots((pem + pem).replace("\n", "\r\n"))
    one = str(DCAliPay.get_root_cert_sn(roots(pem)))
    assert DCAliPay.get_root_cert_sn(bundle) == f"{one}_{one}"


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "app": ({"app_id": "wx123"}, "app_id"),
    "seller": ({"seller_id": "1900000001"}, "seller_id"),
    "private key": ({"private_key": "no key"}, "private_key"),
    "platform key": ({"alipay_public_key": "MIIB", "certificates": None}, "alipay_public_key"),
    "gateway": ({"base_url": "https://x.example/?a=1"}, "base_url"),
    "plain http": ({"allow_http": False}, "base_url"),
    "certificate": (
        {"certificates": Certificates("x", "y", "z"), "alipay_public_key": ""},
        "app_cert",
    ),
    "both": ({"alipay_public_key": "x", "certificates": "kept"}, "alipay_public_key"),
}


@pytest.mark.parametrize(("changes", "field"), WRONG.values(), ids=list(WRONG))
def test_a_part_that_cannot_work_is_refused_by_its_name(
    alipay: AlipayTill, changes: dict[str, object], field: str
) -> None:
    if changes.get("certificates") == "kept":
        changes = {name: value for name, value in changes.items() if name != "certificates"}
    with pytest.raises(InvalidInput) as refused:
        replace(alipay.config, **changes)  # type: ignore[arg-type] # made wrong
    assert refused.value.field == field


def test_the_apps_own_public_key_in_place_of_alipays_is_told_apart(merchant_pem: str) -> None:
    with pytest.raises(InvalidInput, match="应用公钥"):
        AlipayConfig(
            app_id=APP,
            seller_id=SELLER,
            notify_url="https://shop.example/notice",
            private_key=merchant_pem,
            alipay_public_key=public_pem_of(merchant_pem),
        )


def test_keys_are_taken_as_alipays_own_tool_prints_them(alipay: AlipayTill) -> None:
    bare = "".join(alipay.config.private_key.strip().splitlines()[1:-1])
    assert replace(alipay.config, private_key=bare).private_key_pem.startswith("-----BEGIN")
    assert bare not in repr(replace(alipay.config, private_key=bare))


def test_the_private_names_that_we_stand_on_exist_in_this_version() -> None:
    for name in ("_get_string_to_be_signed", "_load_key", "_verify_and_return_sync_response"):
        assert callable(getattr(AliPay, name))
        assert callable(getattr(DCAliPay, name))
