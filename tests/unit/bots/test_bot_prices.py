"""Tenants ask what a unit costs, where the step stands, what the month cost, where a refund is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from backend.kernel.money import Money
from backend.kernel.quantity import Quantity, Unit
from bots.intents import Bill, Human, Intent, Price, Records, Refunds, Span, Supply, Usage, parse
from bots.view import BandView, BillView, PriceView, RefundProgress, RefundView, View

Calls = Callable[[View], Any]

E, W = Supply.ELECTRICITY, Supply.WATER
PHRASES: list[tuple[str, Intent]] = [
    ("多少钱一度电", Price(E)),
    ("多少钱一度", Price(E)),
    ("电多少钱一度?", Price(E)),
    ("一度电多少钱", Price(E)),
    ("1度电几块钱", Price(E)),
    ("每度电多少", Price(E)),
    ("现在电价多少", Price(E)),
    ("电价", Price(E)),
    ("電價", Price(E)),
    ("峰谷电价", Price(E)),
    ("什么时候便宜", Price()),
    ("几点用电便宜", Price(E)),
    ("晚上的电便宜吗", Price(E)),
    ("现在电贵吗", Price(E)),
    ("几点最贵", Price()),
    ("水价", Price(W)),
    ("多少钱一吨水", Price(W)),
    ("一吨多少钱", Price(W)),
    ("一方水多少钱", Price(W)),
    ("单价", Price()),
    ("怎么收费的", Price()),
    ("阶梯", Price(None, steps=True)),
    ("阶梯电价", Price(E, steps=True)),
    ("现在第几档", Price(None, steps=True)),
    ("阶梯水价是多少", Price(W, steps=True)),
    ("这个月用了多少", Usage(Span.THIS_MONTH)),
    ("这个月用了多少电", Usage(Span.THIS_MONTH, E)),
    ("这个月用了多少钱", Bill()),
    ("本月花了多少钱", Bill()),
    ("明细", Bill()),
    ("扣费明细", Bill()),
    ("电费明细", Bill(E)),
    ("用电明细", Bill(E)),
    ("水费明细", Bill(W)),
    ("充值明细", Records()),
    ("退款到哪了", Refunds()),
    ("退款到账了吗", Refunds()),
    ("退费进度", Refunds()),
    ("查退款", Refunds()),
    ("我的退款怎么样了", Refunds()),
    ("退款什么时候到", Refunds()),
    ("我要退款", Human()),
    ("退费", Human()),
]


@pytest.mark.parametrize(("text", "intent"), PHRASES, ids=[text for text, _ in PHRASES])
def test_a_phrase_means_what_a_tenant_means_by_it(text: str, intent: Intent) -> None:
    assert parse(text) == intent


def yuan(text: str) -> Money:
    """Money."""
    return Money.parse(text)


def wh(value: int) -> Quantity:
    """Power."""
    return Quantity(value, Unit.WATT_HOUR)


BANDS = PriceView(
    yuan("0.638"),
    "flat",
    "18:00",
    (
        BandView("peak", yuan("1.05"), ("08:00-11:00", "18:00-21:00")),
        BandView("flat", yuan("0.638"), ("11:00-18:00",)),
        BandView("valley", yuan("0.329"), ("00:00-08:00", "21:00-24:00")),
    ),
    step=1,
    steps=3,
    used=wh(23_456),
    left=wh(216_544),
    monthly=yuan("10"),
)
BILL = BillView(wh(23_456), yuan("14.0736"), yuan("3.33"), yuan("0.42"), yuan("0"), yuan("4.69"))


def priced(view: View, price: PriceView | None, bill: BillView | None = None) -> View:
    """The view with the first meter so priced."""
    (account,) = view.accounts
    meter = replace(account.meters[0], price=price, bill=bill)
    return replace(view, accounts=(replace(account, meters=(meter,)),))


def test_the_price_now_is_told_first_then_the_bands_of_the_day_and_the_step(
    one_meter: View, chat_with: Calls
) -> None:
    assert chat_with(priced(one_meter, BANDS)).say("多少钱一度电").split("\n") == [
        "301室电表 0.638 元/度（平，到18:00）",
        "峰 1.05 元 08:00-11:00 18:00-21:00",
        "平 0.638 元 11:00-18:00",
        "谷 0.329 元 00:00-08:00 21:00-24:00",
        "本月已用 23.456 度，再用 216.544 度 进入下一档",
        "每月基本费 10.00 元",
    ]


@pytest.mark.parametrize(
    ("price", "told"),
    [
        (PriceView(yuan("0.6")), "301室电表 没有阶梯价，现在 0.60 元/度"),
        (
            BANDS,
            "301室电表 现在第 1 档，0.638 元/度\n本月已用 23.456 度，再用 216.544 度 进入下一档",
        ),
        (
            replace(BANDS, yearly=True),
            "301室电表 现在第 1 档，0.638 元/度\n本年已用 23.456 度，再用 216.544 度 进入下一档",
        ),
        (
            replace(BANDS, step=3, left=None),
            "301室电表 现在第 3 档，0.638 元/度\n本月已用 23.456 度，已在最高档",
        ),
        (
            replace(BANDS, step=3, left=None, yearly=True),
            "301室电表 现在第 3 档，0.638 元/度\n本年已用 23.456 度，已在最高档",
        ),
        (None, "301室电表 暂未查到价格，请联系人工。"),
    ],
)
def test_the_step_is_told_with_how_far_the_next_one_is(
    one_meter: View, chat_with: Calls, price: PriceView | None, told: str
) -> None:
    assert chat_with(priced(one_meter, price)).say("阶梯") == told


def test_one_price_is_one_line_and_none_is_said_so(one_meter: View, chat_with: Calls) -> None:
    flat = chat_with(priced(one_meter, PriceView(yuan("0.6123"))))
    assert flat.say("电价") == "301室电表 现在 0.6123 元/度"
    assert chat_with(one_meter).say("电价") == "301室电表 暂未查到价格，请联系人工。"
    assert chat_with(one_meter).say("水价") == "没有找到水表。回复 余额 查看全部。"


def test_the_month_is_told_by_line_and_beside_the_use(one_meter: View, chat_with: Calls) -> None:
    chat = chat_with(priced(one_meter, BANDS, BILL))
    assert chat.say("明细").split("\n") == [
        "301室电表 本月 22.5136 元（10:30 数据）",
        "用量 23.456 度",
        "用能费 14.0736 元",
        "基本费 3.33 元",
        "损耗、公摊、服务费 5.11 元",
    ]
    assert chat.say("这个月用了多少").split("\n")[-1] == "本月费用 22.5136 元"
    plain = chat_with(priced(one_meter, BANDS, BillView(wh(1_000), yuan("0.6"))))
    assert plain.say("明细").split("\n") == [
        "301室电表 本月 0.60 元（10:30 数据）",
        "用量 1 度",
        "用能费 0.60 元",
    ]


def test_where_the_meter_takes_the_money_itself_the_use_is_told_alone(
    one_meter: View, chat_with: Calls
) -> None:
    assert chat_with(one_meter).say("这个月用了多少钱").split("\n") == [
        "301室电表 用量（10:30 数据）",
        "本月 23.456 度",
        "费用由表内扣除，余额以表计为准。",
    ]


def test_of_several_meters_the_tenant_picks_the_one_that_is_meant(
    home_and_shop: View, chat_with: Calls
) -> None:
    chat = chat_with(home_and_shop)
    for asked, head in (("单价", "查哪一块表的价格？"), ("明细", "查哪一块表的费用？")):
        assert chat.say(asked).startswith(head)
    chat.say("单价")
    assert "暂未查到价格" in chat.say("1")


def test_a_refund_is_told_as_far_as_it_is(one_meter: View, chat_with: Calls, now: datetime) -> None:
    assert chat_with(one_meter).say("退款到哪了") == "没有退款记录。需要退款请联系人工。"
    told = {
        RefundProgress.ASKED: "待审核",
        RefundProgress.AGREED: "已同意，即将退回",
        RefundProgress.AT_DESK: "已同意，请到柜台领取",
        RefundProgress.AT_CHANNEL: "支付渠道处理中",
        RefundProgress.DONE: "已退回",
        RefundProgress.FAILED: "未成功，请联系人工",
        RefundProgress.REFUSED: "未通过，请联系人工",
    }
    assert set(told) == set(RefundProgress)
    for progress, words in told.items():
        refund = RefundView("a1", yuan("12.5"), now - timedelta(minutes=5), progress)
        chat = chat_with(replace(one_meter, refunds=(refund,)))
        assert chat.say("退款到哪了") == f"退款记录：\n10:35 12.50 元 {words}"
