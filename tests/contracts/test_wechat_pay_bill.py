"""The daily bill of WeChat Pay: downloaded, checked against its hash, read to the fen (C6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backend.integrations.wechat_pay import WechatPayChannel
from backend.kernel.clock import SetClock, business_day
from backend.topups.ports import ChannelUnavailable, RefundRequest

from .conftest import CLOCK, Till, an_order


async def test_the_bill_lists_payments_and_refunds_to_the_fen(till: Till) -> None:
    paid, returned, unpaid = an_order(fen=1), an_order(fen=123_456), an_order()
    for order in (paid, returned, unpaid):
        await till.channel.prepay(order)
    for order in (paid, returned):
        till.pay(order.order_no)
    refund = RefundRequest(returned.order_no, "R" + returned.order_no, 3_019, 123_456, "退费")
    await till.channel.refund(refund)
    lines = await till.channel.bill(business_day(CLOCK.now()))
    found = [(line.order_no, line.amount_fen, line.refund_fen, line.refund_no) for line in lines]
    assert found == [
        (paid.order_no, 1, 0, None),
        (returned.order_no, 123_456, 0, None),
        (returned.order_no, 0, 3_019, refund.refund_no),
    ]
    assert all(abs(CLOCK.now() - line.at) < timedelta(minutes=1) for line in lines)
    assert lines[0].transaction_id == (await till.channel.query(paid.order_no)).transaction_id


async def test_a_bill_that_does_not_match_its_hash_is_not_used(till: Till) -> None:
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    till.control("faults", {"bad_bill_hash": 1})
    with pytest.raises(ChannelUnavailable, match="hash"):
        await till.channel.bill(business_day(CLOCK.now()))


async def test_a_day_without_trade_is_empty_only_when_the_bill_is_due(till: Till) -> None:
    day = business_day(CLOCK.now()) - timedelta(days=7)
    due = datetime(day.year, day.month, day.day, 2, tzinfo=UTC) + timedelta(days=1)  # 10:00 China
    early = WechatPayChannel(till.config, clock=SetClock(due - timedelta(seconds=1)))
    with pytest.raises(ChannelUnavailable, match="no bill yet"):
        await early.bill(day)
    assert await WechatPayChannel(till.config, clock=SetClock(due)).bill(day) == []
