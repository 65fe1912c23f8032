"""Orders, closing and refunds at WeChat Pay: wechatpayv3 against the stand-in that checks us."""

from __future__ import annotations

import base64
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from backend.integrations.wechat_pay_wire import SignedWire
from backend.kernel.errors import InvalidInput
from backend.sandbox.app import sandbox_app
from backend.sandbox.pay_keys import public_pem_of
from backend.topups.ports import (
    ChannelRefused,
    ChannelUnavailable,
    PaymentState,
    PayMethod,
    RefundRequest,
    RefundState,
)

from .conftest import CLOCK, Till, an_order, register
from .serving import Shop, serving


async def test_the_page_inside_wechat_gets_parameters_signed_by_the_merchant(
    till: Till, merchant_pem: str
) -> None:
    page = (await till.channel.prepay(an_order(PayMethod.JSAPI))).page
    assert set(page) == {"appId", "timeStamp", "nonceStr", "package", "signType", "paySign"}
    assert page["signType"] == "RSA"
    signed = "".join(f"{page[name]}\n" for name in ("appId", "timeStamp", "nonceStr", "package"))
    key = load_pem_public_key(public_pem_of(merchant_pem).encode())
    assert isinstance(key, RSAPublicKey)
    key.verify(base64.b64decode(page["paySign"]), signed.encode(), PKCS1v15(), SHA256())


async def test_a_payer_outside_wechat_pays_on_the_cashier_page_and_is_sent_back(till: Till) -> None:
    order = an_order(PayMethod.H5)
    url = (await till.channel.prepay(order)).page["url"]
    back = "https://shop.example/paid?order=1"
    async with httpx.AsyncClient(trust_env=False) as phone:
        shown = await phone.get(url, params={"redirect_url": back})
        assert "¥50.00" in shown.text
        assert "立即支付" in shown.text
        paid = await phone.post(f"{url}/pay", params={"redirect_url": back})
    assert paid.status_code == 303
    assert paid.headers["location"] == back
    payment = await till.channel.query(order.order_no)
    assert payment.state is PaymentState.PAID
    assert (payment.amount_fen, payment.currency) == (5000, "CNY")
    assert (payment.merchant_id, payment.app_id) == (till.config.mchid, till.config.appid)
    assert payment.transaction_id
    assert payment.paid_at is not None
    assert len(till.shop.notices) == 1


async def test_a_cashier_link_cannot_send_the_payer_into_a_script(till: Till) -> None:
    url = (await till.channel.prepay(an_order(PayMethod.NATIVE))).page["url"]
    async with httpx.AsyncClient(trust_env=False) as phone:
        shown = await phone.get(url, params={"redirect_url": "javascript:alert(1)"})
        paid = await phone.post(f"{url}/pay", params={"redirect_url": "javascript:alert(1)"})
    assert "javascript:" not in shown.text + paid.text
    assert "支付成功" in paid.text


async def test_asking_again_for_the_same_order_gives_the_same_prepay_id(till: Till) -> None:
    order = an_order(PayMethod.JSAPI)
    first = await till.channel.prepay(order)
    again = await till.channel.prepay(order)
    assert again.page["package"] == first.page["package"]


async def test_the_same_number_with_another_amount_is_refused(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    with pytest.raises(ChannelRefused) as refused:
        await till.channel.prepay(replace(order, amount_fen=1))
    assert refused.value.code_at_channel == "INVALID_REQUEST"


async def test_a_paid_order_cannot_be_ordered_or_closed_again(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    with pytest.raises(ChannelRefused) as refused:
        await till.channel.prepay(order)
    assert refused.value.code_at_channel == "ORDERPAID"
    with pytest.raises(ChannelRefused) as refused:
        await till.channel.close(order.order_no)
    assert refused.value.code_at_channel == "ORDERPAID"


async def test_an_unpaid_order_closes_and_says_so(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    assert (await till.channel.query(order.order_no)).state is PaymentState.UNPAID
    await till.channel.close(order.order_no)
    assert (await till.channel.query(order.order_no)).state is PaymentState.CLOSED


async def test_a_payment_that_won_the_race_with_closing_is_seen(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    await till.channel.close(order.order_no)
    till.pay(order.order_no, force=True)
    assert (await till.channel.query(order.order_no)).state is PaymentState.PAID


async def test_an_order_the_channel_never_saw_is_unpaid(till: Till) -> None:
    payment = await till.channel.query(an_order().order_no)
    assert (payment.state, payment.amount_fen) == (PaymentState.UNPAID, 0)


async def test_a_request_signed_with_another_key_is_refused_by_the_stand_in(
    till: Till, other_pem: str
) -> None:
    stranger = till.another(private_key_pem=other_pem)
    with pytest.raises(ChannelUnavailable, match="401"):
        await stranger.prepay(an_order())
    async with httpx.AsyncClient(trust_env=False) as client:
        bare = await client.get(f"{till.url}/v3/bill/tradebill?bill_date=2026-01-01")
        orders = await client.get(f"{till.url}/control/orders")
    assert bare.status_code == 401
    assert orders.json() == {"orders": []}


async def test_an_answer_signed_by_somebody_else_is_never_a_state(
    till: Till, other_pem: str
) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    deceived = till.another(public_key_pem=public_pem_of(other_pem))
    with pytest.raises(ChannelUnavailable, match="verified"):
        await deceived.query(order.order_no)


@pytest.mark.parametrize("fault", ["http_500", "drop_answer", "unsigned_answer"])
async def test_an_answer_that_proves_nothing_leaves_the_state_unknown(
    till: Till, fault: str
) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.control("faults", {fault: 1})
    with pytest.raises(ChannelUnavailable):
        await till.channel.query(order.order_no)
    assert (await till.channel.query(order.order_no)).state is PaymentState.UNPAID


async def test_an_unsigned_refusal_is_not_believed_either(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    till.control("faults", {"unsigned_answer": 1})
    with pytest.raises(ChannelUnavailable):
        await till.channel.close(order.order_no)


async def test_a_channel_that_is_away_is_unavailable(till: Till) -> None:
    away = till.another(base_url="http://127.0.0.1:9")
    with pytest.raises(ChannelUnavailable):
        await away.query(an_order().order_no)


async def test_a_number_that_could_change_the_path_never_leaves_the_house(till: Till) -> None:
    with pytest.raises(InvalidInput):
        await till.channel.query("../../refund")
    with pytest.raises(InvalidInput):
        await till.channel.close("A1?mchid=2")


async def test_a_refund_whose_answer_was_lost_moves_money_once(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    request = RefundRequest(order.order_no, "R" + order.order_no, 3000, 5000, "余额退费")
    till.control("faults", {"drop_answer": 1})
    with pytest.raises(ChannelUnavailable):
        await till.channel.refund(request)
    assert await till.channel.refund(request) is RefundState.DONE
    assert (await till.channel.query(order.order_no)).state is PaymentState.REFUNDED
    with pytest.raises(ChannelRefused):
        await till.channel.refund(replace(request, refund_no="S" + order.order_no))
    rest = replace(request, refund_no="T" + order.order_no, amount_fen=2000)
    assert await till.channel.refund(rest) is RefundState.DONE


async def test_a_refund_that_takes_time_is_accepted_first(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    till.control("faults", {"refund_processing": 1})
    request = RefundRequest(order.order_no, "R" + order.order_no, 5000, 5000, "退费")
    assert await till.channel.refund(request) is RefundState.ACCEPTED
    assert await till.channel.refund(request) is RefundState.DONE


async def test_a_demo_that_restarts_still_knows_who_paid(tmp_path: Path, merchant_pem: str) -> None:
    store, shop, order = str(tmp_path / "pay.sqlite"), Shop(), an_order()
    with serving(sandbox_app(clock=CLOCK, pay_store=store, notice_retries_s=())) as first:
        till = register(
            url=f"{first}/wechat-pay", pem=merchant_pem, shop=shop, shop_url="http://127.0.0.1:9"
        )
        await till.channel.prepay(order)
        assert till.pay(order.order_no)["notices"] == [0]
    with serving(sandbox_app(clock=CLOCK, pay_store=store)) as second:
        same = till.another(base_url=f"{second}/wechat-pay")
        assert (await same.query(order.order_no)).state is PaymentState.PAID


def test_the_pinned_library_has_the_places_we_reach_into(till: Till) -> None:
    assert version("wechatpayv3") == "2.0.4"
    pay = SignedWire(till.config, clock=CLOCK).pay
    assert pay._core._gate_way == till.config.base_url
    # Our transport takes the place of the library's, which verifies less.
    assert pay._core.request.__func__ is SignedWire._request
    assert callable(type(pay._core).request)
