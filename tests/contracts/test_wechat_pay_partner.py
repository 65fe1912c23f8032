"""A service provider (服务商) collects by WeChat Pay for a sub-merchant: every call names both of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from backend.integrations.wechat_pay import WechatPayChannel
from backend.kernel.clock import business_day
from backend.sandbox.pay_keys import public_pem_of
from backend.sandbox.wechat_pay import wechat_pay_app
from backend.topups.ports import (
    ChannelRefused,
    ChannelUnavailable,
    Payment,
    PaymentState,
    PayMethod,
    RefundNotice,
    RefundRequest,
    RefundState,
)
from backend.topups.rules import Expected, OrderState, Verdict, judge

from .conftest import CLOCK, MINE, Till, an_order, register
from .serving import Shop, serving

SUB, SUB_APP, OTHER_SUB = "1900000109", "wx0000000000000109", "1900000110"


@pytest.fixture(scope="module")
def provider(merchant_pem: str) -> Iterator[Till]:
    """A provider with two sub-merchants, the first of which has an app; one stand-in for this file."""
    shop = Shop()
    app = wechat_pay_app(clock=CLOCK, retries_s=(0.05,))
    with serving(app) as url, serving(shop.app) as shop_url:
        subs = {SUB: SUB_APP, OTHER_SUB: ""}
        yield register(url=url, pem=merchant_pem, shop=shop, shop_url=shop_url, subs=subs)


@pytest.fixture(params=[SUB_APP, ""], ids=["openid-of-sub", "openid-of-provider"])
def till(request: pytest.FixtureRequest, provider: Till) -> Till:
    """The sub-merchant's till, with an app of its own and without."""
    return sub_till(provider, sub_appid=request.param)


def sub_till(provider: Till, *, sub_mchid: str = SUB, sub_appid: str = "") -> Till:
    """A till of a sub-merchant."""
    config = replace(provider.config, sub_mchid=sub_mchid, sub_appid=sub_appid)
    return Till(provider.url, config, WechatPayChannel(config, clock=CLOCK), provider.shop)


def asked(till: Till, order_no: str) -> dict[str, object]:
    """The body of our order as the stand-in got it."""
    answer = httpx.get(f"{till.url}/control/orders", trust_env=False)
    (order,) = [one for one in answer.json()["orders"] if one["out_trade_no"] == order_no]
    body: dict[str, object] = json.loads(order["asked"])[1]
    return body


def expected(till: Till, order_no: str, **changes: str) -> Expected:
    """What our own order says."""
    known = {
        "merchant_id": SUB,
        "app_id": till.config.sub_appid,
        "provider_id": MINE["mchid"],
        "provider_app_id": MINE["appid"],
    }
    return Expected(
        order_no=order_no,
        amount_fen=5000,
        state=OrderState.CREATED,
        transaction_id=None,
        **(known | changes),
    )


@pytest.mark.parametrize("method", [PayMethod.JSAPI, PayMethod.H5, PayMethod.NATIVE])
async def test_an_order_names_both_merchants_both_apps_and_the_payer_under_the_right_one(
    till: Till, method: PayMethod, merchant_pem: str
) -> None:
    order = an_order(method)
    page = (await till.channel.prepay(order)).page
    body = asked(till, order.order_no)
    assert (body["sp_mchid"], body["sp_appid"]) == (MINE["mchid"], MINE["appid"])
    assert (body["sub_mchid"], body.get("sub_appid", "")) == (SUB, till.config.sub_appid)
    assert not {"mchid", "appid"} & set(body)
    if method is not PayMethod.JSAPI:
        assert "/cashier/" in page["url"]
        return
    name = "sub_openid" if till.config.sub_appid else "sp_openid"
    assert body["payer"] == {name: "o-zhang"}
    assert page["appId"] == (till.config.sub_appid or MINE["appid"])
    signed = "".join(f"{page[name]}\n" for name in ("appId", "timeStamp", "nonceStr", "package"))
    key = load_pem_public_key(public_pem_of(merchant_pem).encode())
    assert isinstance(key, RSAPublicKey)
    key.verify(base64.b64decode(page["paySign"]), signed.encode(), PKCS1v15(), SHA256())


async def test_a_payment_is_believed_only_for_this_merchant_app_and_provider(till: Till) -> None:
    order = an_order(PayMethod.JSAPI)
    await till.channel.prepay(order)
    assert (await till.channel.query(order.order_no)).state is PaymentState.UNPAID
    till.pay(order.order_no)
    payment = till.channel.read_notice(*till.shop.notices[-1], CLOCK.now())
    assert isinstance(payment, Payment)
    assert payment == await till.channel.query(order.order_no)
    assert payment.payer_id == "o-zhang"
    assert judge(expected(till, order.order_no), payment)[0] is Verdict.SETTLE
    for name, word in (
        ("merchant_id", "merchant"),
        ("app_id", "app"),
        ("provider_id", "provider"),
        ("provider_app_id", "provider's app"),
    ):
        verdict, reason = judge(expected(till, order.order_no, **{name: "19"}), payment)
        assert (verdict, reason) == (Verdict.MISMATCH, f"differs from our order: {word}")


@pytest.mark.parametrize(
    ("fault", "word"),
    [("wrong_merchant_notice", "merchant"), ("wrong_provider_notice", "provider")],
)
async def test_a_notice_of_another_merchant_or_provider_settles_nothing(
    provider: Till, fault: str, word: str
) -> None:
    till = sub_till(provider)
    order = an_order()
    await till.channel.prepay(order)
    till.control("faults", {fault: 1})
    till.pay(order.order_no)
    told = till.channel.read_notice(*till.shop.notices[-1], CLOCK.now())
    assert isinstance(told, Payment)
    verdict, reason = judge(expected(till, order.order_no), told)
    assert (verdict, reason) == (Verdict.MISMATCH, f"differs from our order: {word}")


async def test_closing_refunding_and_the_bill_are_the_sub_merchants(provider: Till) -> None:
    till, other = sub_till(provider), sub_till(provider, sub_mchid=OTHER_SUB)
    order, theirs, unpaid = an_order(), an_order(fen=300), an_order()
    await till.channel.prepay(order)
    await till.channel.prepay(unpaid)
    await other.channel.prepay(theirs)
    for one in (order, theirs):
        till.pay(one.order_no)
    await till.channel.close(unpaid.order_no)
    assert (await till.channel.query(unpaid.order_no)).state is PaymentState.CLOSED
    refund = RefundRequest(order.order_no, "R" + order.order_no[:29], 2000, 5000, "退费")
    assert await till.channel.refund(refund) is RefundState.DONE
    assert await till.channel.refund(refund) is RefundState.DONE
    named = {"mchid": SUB, "out_refund_no": refund.refund_no}
    till.control("refund-notice", named)
    told = till.channel.read_notice(*till.shop.notices[-1], CLOCK.now())
    assert told == RefundNotice(refund.refund_no, SUB, MINE["mchid"])
    lines = await till.channel.bill(business_day(CLOCK.now()))
    found = {(line.order_no, line.amount_fen, line.refund_fen) for line in lines}
    assert {(order.order_no, 5000, 0), (order.order_no, 0, 2000)} <= found
    assert theirs.order_no not in {line.order_no for line in lines}
    with pytest.raises(ChannelRefused):
        await other.channel.refund(replace(refund, refund_no="X" + refund.refund_no[:29]))


async def test_orders_of_own_and_of_sub_merchants_do_not_mix(provider: Till) -> None:
    mine, sub = an_order(), an_order()
    till = sub_till(provider)
    await provider.channel.prepay(mine)
    await till.channel.prepay(sub)
    for order in (mine, sub):
        provider.pay(order.order_no)
    unknown = await till.channel.query(mine.order_no)
    assert unknown.state is PaymentState.UNPAID
    assert (unknown.merchant_id, unknown.provider_id) == (SUB, MINE["mchid"])
    assert (await provider.channel.query(sub.order_no)).state is PaymentState.UNPAID


async def test_a_sub_merchant_of_somebody_else_or_another_app_is_refused(provider: Till) -> None:
    with pytest.raises(ChannelRefused, match="NO_AUTH"):
        await sub_till(provider, sub_mchid="1900000999").channel.prepay(an_order())
    with pytest.raises(ChannelRefused, match="APPID_MCHID_NOT_MATCH"):
        await sub_till(provider, sub_appid="wx9999").channel.prepay(an_order())


async def test_a_bill_with_lines_of_another_sub_merchant_is_not_used(
    provider: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till = sub_till(provider, sub_mchid=OTHER_SUB)
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    # The channel that gives the whole provider's bill, as it does when the sub-merchant is left out.
    monkeypatch.setattr(till.channel, "_config", replace(till.config, sub_mchid=SUB))
    with pytest.raises(ChannelUnavailable, match="sub-merchant"):
        await till.channel.bill(business_day(CLOCK.now()))
