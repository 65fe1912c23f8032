"""UnionPay orders, queries and refunds against the stand-in, over real sockets."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from backend.integrations.bank_form import post_form
from backend.integrations.unionpay import UnionpayChannel
from backend.integrations.unionpay_wire import split_answer
from backend.journeys.bank_accounts import open_pfx
from backend.kernel.clock import CHINA, SetClock
from backend.kernel.errors import InvalidInput
from backend.kernel.ids import order_no
from backend.sandbox.unionpay import unionpay_app
from backend.sandbox.unionpay_keys import Issued, issue
from backend.topups.ports import (
    ChannelRefused,
    ChannelUnavailable,
    PaymentState,
    PayMethod,
    RefundRequest,
    RefundState,
)

from .bank_tills import (
    BACK,
    CLOCK,
    UnionpayTill,
    a_bank_order,
    a_number,
    click,
    form_on,
    post_page,
    unionpay_till,
)
from .serving import Shop, serving


async def _paid(till: UnionpayTill, *, fen: int = 5000) -> str:
    """The number of a paid order."""
    order = a_bank_order(fen=fen)
    await post_page(await till.channel.prepay(order))
    till.pay(order.order_no)
    return order.order_no


@pytest.mark.parametrize(("method", "device"), [(PayMethod.PAGE, "07"), (PayMethod.WAP, "08")])
async def test_the_form_names_the_payers_device_and_when_the_order_ends(
    unionpay: UnionpayTill, method: PayMethod, device: str
) -> None:
    order = a_bank_order(method)
    page = (await unionpay.channel.prepay(order)).page
    assert page["action"] == f"{unionpay.url}/gateway/api/frontTransReq.do"
    assert (page["channelType"], page["txnAmt"], page["currencyCode"]) == (device, "5000", "156")
    assert page["txnTime"] == order.order_no[:14]
    assert page["payTimeout"] > page["txnTime"]
    assert (page["frontUrl"], page["backUrl"]) == (BACK, unionpay.config.notify_url)


async def test_the_same_order_again_is_the_same_form(unionpay: UnionpayTill) -> None:
    order = a_bank_order()
    assert await unionpay.channel.prepay(order) == await unionpay.channel.prepay(order)


async def test_a_payer_pays_on_the_cashier_page_and_is_posted_back(unionpay: UnionpayTill) -> None:
    order = a_bank_order()
    shown = await post_page(await unionpay.channel.prepay(order))
    assert "¥50.00" in shown.text
    paid = await click(shown)
    assert "支付成功" in paid.text
    back, fields = form_on(paid)
    assert (back, fields["orderId"]) == (BACK, order.order_no)
    assert unionpay.shop.wait_for(1)
    payment = await unionpay.channel.query(order.order_no)
    assert payment.state is PaymentState.PAID
    assert (payment.amount_fen, payment.currency) == (5000, "CNY")
    assert (payment.merchant_id, payment.app_id) == (unionpay.config.mer_id, "")
    assert payment.transaction_id
    assert payment.paid_at is not None
    assert abs(payment.paid_at - CLOCK.now()) < timedelta(minutes=1)


async def test_a_form_that_was_changed_on_the_way_is_refused_by_the_stand_in(
    unionpay: UnionpayTill,
) -> None:
    order = a_bank_order()
    prepaid = await unionpay.channel.prepay(order)
    cheap = replace(prepaid, page={**prepaid.page, "txnAmt": "1"})
    assert (await post_page(cheap)).status_code == 400
    assert (await post_page(prepaid)).status_code == 200


async def test_an_order_past_its_time_takes_no_money(unionpay: UnionpayTill) -> None:
    order = replace(a_bank_order(), expires_at=CLOCK.now() - timedelta(seconds=1))
    shown = await post_page(await unionpay.channel.prepay(order))
    assert "订单已过期" in shown.text
    assert (await unionpay.channel.query(order.order_no)).state is PaymentState.UNPAID


async def test_an_order_the_channel_never_saw_is_unpaid(unionpay: UnionpayTill) -> None:
    payment = await unionpay.channel.query(a_bank_order().order_no)
    assert (payment.state, payment.amount_fen) == (PaymentState.UNPAID, 0)


async def test_an_outcome_that_unionpay_does_not_know_yet_is_unknown(
    unionpay: UnionpayTill,
) -> None:
    number = await _paid(unionpay)
    unionpay.fault("unknown_answer")
    assert (await unionpay.channel.query(number)).state is PaymentState.UNKNOWN
    assert (await unionpay.channel.query(number)).state is PaymentState.PAID


async def test_a_paid_order_is_not_closed_and_an_unpaid_one_just_expires(
    unionpay: UnionpayTill,
) -> None:
    await unionpay.channel.close(a_bank_order().order_no)
    with pytest.raises(ChannelRefused) as refused:
        await unionpay.channel.close(await _paid(unionpay))
    assert refused.value.code_at_channel == "PAID"


@pytest.mark.parametrize("fault", ["http_500", "drop_answer", "bad_signature_answer"])
async def test_an_answer_that_proves_nothing_leaves_the_state_unknown(
    unionpay: UnionpayTill, fault: str
) -> None:
    number = await _paid(unionpay)
    unionpay.fault(fault)
    with pytest.raises(ChannelUnavailable):
        await unionpay.channel.query(number)
    assert (await unionpay.channel.query(number)).state is PaymentState.PAID


async def test_an_answer_signed_under_other_certificates_is_never_a_state(
    unionpay: UnionpayTill,
) -> None:
    number = await _paid(unionpay)
    stranger = issue(name="Sandbox Root CA", at=CLOCK.now(), authority=True)
    deceived = unionpay.another(root_pem=stranger.pem, middle_pem=stranger.pem)
    with pytest.raises(ChannelUnavailable, match="not issued under"):
        await deceived.query(number)


async def test_a_true_answer_about_another_order_is_no_answer(
    unionpay: UnionpayTill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers carry no nonce: whoever sits on the line could hand out yesterday's "paid"."""
    paid, unpaid = await _paid(unionpay), a_bank_order().order_no
    heard: list[bytes] = []

    def on_the_line(url: str, fields: dict[str, str], /, *, who: str) -> bytes:
        heard.append(post_form(url, fields, who=who))
        return heard[0]

    monkeypatch.setattr("backend.integrations.unionpay.post_form", on_the_line)
    assert (await unionpay.channel.query(paid)).state is PaymentState.PAID
    with pytest.raises(ChannelUnavailable, match="something else"):
        await unionpay.channel.query(unpaid)
    with pytest.raises(ChannelUnavailable, match="something else"):
        await unionpay.channel.refund(RefundRequest(paid, a_number(), 1, 5000, "退费"))


async def test_a_request_signed_with_another_key_is_refused_by_the_stand_in(
    unionpay: UnionpayTill,
) -> None:
    other = issue(name="somebody", at=CLOCK.now())
    stranger = unionpay.another(certificate_pem=other.pem, private_key_pem=other.key_pem)
    with pytest.raises(ChannelUnavailable, match="11"):
        await stranger.query(a_number())


async def test_a_channel_that_is_away_is_unavailable(unionpay: UnionpayTill) -> None:
    with pytest.raises(ChannelUnavailable):
        await unionpay.another(base_url="http://127.0.0.1:9").query(a_number())


@pytest.mark.parametrize("number", ["", "1", "A1&merId=2", "20261399000000abcdef12", "x" * 30])
async def test_a_number_that_is_not_ours_never_leaves_the_house(
    unionpay: UnionpayTill, number: str
) -> None:
    with pytest.raises(InvalidInput):
        await unionpay.channel.query(number)


async def test_what_was_ordered_before_new_year_may_be_paid_after_it(merchant: Issued) -> None:
    clock = SetClock(CLOCK.now().replace(month=12, day=31, hour=15, minute=59, second=50))
    shop = Shop()
    with serving(unionpay_app(clock=clock, retries_s=())) as url:
        till = unionpay_till(url=url, merchant=merchant, shop=shop, shop_url="http://127.0.0.1:9")
        channel = UnionpayChannel(till.config, clock=clock)
        order = replace(
            a_bank_order(),
            order_no=order_no(clock.now()),
            expires_at=clock.now() + timedelta(minutes=15),
        )
        await post_page(await channel.prepay(order))
        clock.advance(timedelta(seconds=30))
        till.pay(order.order_no)
        payment = await channel.query(order.order_no)
    assert payment.paid_at == clock.now().replace(microsecond=0)
    assert payment.paid_at is not None
    assert payment.paid_at.astimezone(clock.now().tzinfo) > clock.now() - timedelta(minutes=1)


async def test_a_refund_is_accepted_then_asked_for_until_it_is_done(unionpay: UnionpayTill) -> None:
    number = await _paid(unionpay)
    unionpay.fault("refund_processing")
    request = RefundRequest(number, a_number(), 3000, 5000, "余额退费")
    assert await unionpay.channel.refund(request) is RefundState.ACCEPTED
    assert await unionpay.channel.refund(request) is RefundState.ACCEPTED
    assert await unionpay.channel.refund(request) is RefundState.DONE
    assert unionpay.given_back() == [3000]


async def test_a_refund_whose_answer_was_lost_moves_money_once(unionpay: UnionpayTill) -> None:
    number = await _paid(unionpay)
    request = RefundRequest(number, a_number(), 3000, 5000, "余额退费")
    unionpay.fault("drop_refund_answer")
    with pytest.raises(ChannelUnavailable):
        await unionpay.channel.refund(request)
    assert await unionpay.channel.refund(request) is RefundState.DONE
    assert unionpay.given_back() == [3000]


async def test_a_refund_that_unionpay_does_not_show_yet_is_sent_twice_and_made_once(
    unionpay: UnionpayTill,
) -> None:
    number = await _paid(unionpay)
    request = RefundRequest(number, a_number(), 5000, 5000, "退费")
    assert await unionpay.channel.refund(request) is RefundState.ACCEPTED
    unionpay.fault("not_visible_yet")
    with pytest.raises(ChannelUnavailable, match="12"):
        await unionpay.channel.refund(request)
    assert await unionpay.channel.refund(request) is RefundState.DONE
    assert unionpay.given_back() == [5000]


async def test_a_refund_agreed_to_weeks_after_it_was_asked_for_is_sent_with_the_time_of_now(
    unionpay: UnionpayTill,
) -> None:
    number, old = await _paid(unionpay), order_no(CLOCK.now() - timedelta(days=40))
    request = RefundRequest(number, old, 3000, 5000, "退费", first_asked_at=CLOCK.now())
    assert await unionpay.channel.refund(request) is RefundState.ACCEPTED
    assert await unionpay.channel.refund(request) is RefundState.DONE
    assert unionpay.given_back() == [3000]
    assert unionpay.trades()[-1]["made"] > old[:14]


async def test_an_attempt_hours_later_takes_a_fresh_time_and_finds_what_an_earlier_one_did(
    unionpay: UnionpayTill,
) -> None:
    number, first = await _paid(unionpay), CLOCK.now() - timedelta(hours=7)
    then = UnionpayChannel(unionpay.config, clock=SetClock(first))
    lost = RefundRequest(number, order_no(first), 2000, 5000, "退费", first_asked_at=first)
    unionpay.fault("drop_refund_answer")
    with pytest.raises(ChannelUnavailable):
        await then.refund(lost)
    # Hours later its first time is not the one that would be sent now: it is asked for first.
    assert await unionpay.channel.refund(lost) is RefundState.DONE
    never = replace(lost, refund_no=order_no(first), amount_fen=1000)
    unionpay.fault("http_500")
    with pytest.raises(ChannelUnavailable):
        await then.refund(never)
    assert await unionpay.channel.refund(never) is RefundState.ACCEPTED
    assert await unionpay.channel.refund(never) is RefundState.DONE
    assert unionpay.given_back() == [2000, 1000]
    shown = unionpay.trades()[-1]["made"]
    assert shown == f"{(first + timedelta(hours=6)).astimezone(CHINA):%Y%m%d%H%M%S}"


async def test_a_new_time_is_not_used_while_the_last_attempt_may_not_be_visible_yet(
    unionpay: UnionpayTill,
) -> None:
    number, first = await _paid(unionpay), CLOCK.now() - timedelta(hours=6, minutes=14)
    request = RefundRequest(number, order_no(first), 2000, 5000, "退费", first_asked_at=first)
    with pytest.raises(ChannelUnavailable, match="minutes ago"):
        await unionpay.channel.refund(request)
    assert unionpay.given_back() == []


async def test_no_more_goes_back_than_was_paid(unionpay: UnionpayTill) -> None:
    number = await _paid(unionpay)
    first = RefundRequest(number, a_number(), 3000, 5000, "退费")
    assert await unionpay.channel.refund(first) is RefundState.ACCEPTED
    with pytest.raises(ChannelRefused) as refused:
        await unionpay.channel.refund(replace(first, refund_no=a_number()))
    assert refused.value.code_at_channel == "36"
    rest = replace(first, refund_no=a_number(), amount_fen=2000)
    assert await unionpay.channel.refund(rest) is RefundState.ACCEPTED
    assert await unionpay.channel.refund(rest) is RefundState.DONE
    with pytest.raises(InvalidInput):
        await unionpay.channel.refund(replace(first, amount_fen=5001))


async def test_an_unpaid_order_gives_nothing_back(unionpay: UnionpayTill) -> None:
    request = RefundRequest(a_number(), a_number(), 100, 100, "退费")
    with pytest.raises(ChannelRefused) as refused:
        await unionpay.channel.refund(request)
    assert refused.value.code_at_channel == "NOT_PAID"
    assert unionpay.given_back() == []


def test_an_answer_keeps_its_plus_signs_and_splits_on_the_first_equals_sign() -> None:
    assert split_answer("signature=a+b/c==&respMsg=OK+&reqReserved={a=1&b=2}&empty=") == {
        "signature": "a+b/c==",
        "respMsg": "OK+",
        "reqReserved": "{a=1&b=2}",
        "empty": "",
    }
    with pytest.raises(ValueError, match="twice"):
        split_answer("respCode=05&respCode=00")


async def test_a_stand_in_that_restarts_still_knows_who_paid(
    tmp_path: Path, merchant: Issued
) -> None:
    store, shop = str(tmp_path / "unionpay.sqlite"), Shop()
    with serving(unionpay_app(clock=CLOCK, store=store, retries_s=())) as url:
        till = unionpay_till(url=url, merchant=merchant, shop=shop, shop_url="http://127.0.0.1:9")
        number = await _paid(till)
    with serving(unionpay_app(clock=CLOCK, store=store)) as url:
        assert (await till.another(base_url=url).query(number)).state is PaymentState.PAID


def test_the_pfx_of_a_merchant_gives_its_certificate_and_key(merchant: Issued) -> None:
    key = load_pem_private_key(merchant.key_pem.encode(), password=None)
    pfx = serialize_key_and_certificates(
        b"merchant", merchant.key, merchant.certificate, None, BestAvailableEncryption(b"000000")
    )
    text = base64.b64encode(pfx).decode()
    certificate_pem, key_pem = open_pfx(text, "000000")
    assert certificate_pem == merchant.pem
    assert load_pem_private_key(key_pem.encode(), password=None).public_key() == key.public_key()
    for data, password in ((text, "wrong"), ("bm8gcGZ4", "000000"), ("%", "000000")):
        with pytest.raises(InvalidInput) as refused:
            open_pfx(data, password)
        assert refused.value.field == "pfx"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mer_id", "1"),
        ("certificate_pem", "no certificate"),
        ("private_key_pem", "no key"),
        ("root_pem", "no certificate"),
        ("middle_pem", "no certificate"),
        ("base_url", "https://a.example/?x=1"),
        ("notify_url", "https://a.example/n?x=1"),
    ],
)
def test_an_account_that_cannot_work_is_refused_at_once(
    unionpay: UnionpayTill, field: str, value: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        unionpay.another(**{field: value})
    assert refused.value.field == field
    assert value not in refused.value.message


def test_a_certificate_with_the_key_of_another_is_refused(unionpay: UnionpayTill) -> None:
    other = issue(name="somebody", at=CLOCK.now())
    with pytest.raises(InvalidInput) as refused:
        replace(unionpay.config, private_key_pem=other.key_pem)
    assert refused.value.field == "private_key_pem"


def test_real_money_goes_over_https_only(unionpay: UnionpayTill) -> None:
    with pytest.raises(InvalidInput) as refused:
        replace(unionpay.config, allow_http=False)
    assert refused.value.field == "base_url"
