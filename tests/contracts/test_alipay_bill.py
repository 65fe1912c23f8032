"""Alipay's daily bill: zip, GBK, yuan, tabs and minus signs become lines in fen."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.integrations.alipay import AlipayChannel
from backend.integrations.alipay_bill import lines_of, unpack
from backend.kernel.clock import SetClock, business_day
from backend.topups.ports import ChannelUnavailable, PayMethod, RefundRequest

from .alipay_till import CLOCK, AlipayTill
from .conftest import an_order

HEAD = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,订单金额（元）,商家实收（元）,"
    "退款批次号/请求号"
)
PAID = (
    '2026T1\t,order0001\t,交易,"电费, 1号楼",2026-11-27 10:00:00,2026-11-27 10:00:30,50.00,50.00,'
)
BACK = "2026T1\t,order0001\t,退款,电费,2026-11-27 10:00:00,2026-11-27 11:00:00,-12.34,-12.34,refund0001\t"
END = "#-----业务明细列表结束----"


def text(*rows: str) -> str:
    """A bill of these rows."""
    return "\r\n".join(["#支付宝业务明细查询", *rows])


async def test_the_bill_of_a_day_has_its_payments_and_refunds_in_fen(alipay: AlipayTill) -> None:
    order = replace(an_order(PayMethod.WAP), description="城东商铺, 预付费充值")
    number = await alipay.paid(order)
    await alipay.channel.refund(RefundRequest(number, "refund0001", 1234, 5000, "退多收的钱"))
    paid, back = await alipay.channel.bill(business_day(CLOCK.now()))
    assert (paid.order_no, paid.amount_fen, paid.refund_fen, paid.refund_no) == (
        number,
        5000,
        0,
        None,
    )
    assert (back.order_no, back.refund_fen, back.refund_no) == (number, 1234, "refund0001")
    assert back.amount_fen == 0
    assert paid.transaction_id == (await alipay.channel.query(number)).transaction_id
    assert abs(paid.at - CLOCK.now()) < timedelta(minutes=1)


async def test_a_day_without_trade_is_empty_only_after_the_bill_is_due(alipay: AlipayTill) -> None:
    day = business_day(CLOCK.now())
    with pytest.raises(ChannelUnavailable):
        await alipay.channel.bill(day)
    # The stand-in's clock must agree with the caller's: the day before yesterday is due for both.
    assert await alipay.channel.bill(day - timedelta(days=2)) == []


async def test_a_bill_that_is_cut_is_asked_for_again(alipay: AlipayTill) -> None:
    await alipay.paid(an_order(PayMethod.WAP))
    alipay.control("faults", {"bad_bill": 1})
    with pytest.raises(ChannelUnavailable):
        await alipay.channel.bill(business_day(CLOCK.now()))
    assert len(await alipay.channel.bill(business_day(CLOCK.now()))) == 1


async def test_a_file_is_fetched_by_https_only_where_money_moves(alipay: AlipayTill) -> None:
    strict = AlipayChannel(alipay.config, clock=SetClock(CLOCK.now()))
    object.__setattr__(alipay.config, "allow_http", False)
    with pytest.raises(ChannelUnavailable, match="https"):
        strict._wire.download(f"{alipay.url}/bill/x")


def test_a_comma_in_a_name_and_a_tab_behind_a_number_change_nothing() -> None:
    paid, back = lines_of(text(HEAD, PAID, BACK, END, "#导出时间"))
    assert (paid.order_no, paid.transaction_id, paid.amount_fen) == ("order0001", "2026T1", 5000)
    assert (back.refund_fen, back.refund_no) == (1234, "refund0001")


WRONG = {
    "no end": text(HEAD, PAID),
    "no heading": text(PAID, END),
    "a kind that we do not know": text(HEAD, PAID.replace("交易,", "转账,"), END),
    "a payment below zero": text(HEAD, PAID.replace("50.00", "-50.00"), END),
    "a refund above zero": text(HEAD, BACK.replace("-12.34", "12.34"), END),
    "a tenth of a fen": text(HEAD, PAID.replace("50.00", "50.001"), END),
    "a field too many": text(HEAD, PAID + ",x", END),
    "another column": text(HEAD.replace("业务类型", "类型"), PAID, END),
    "a time of another shape": text(HEAD, PAID.replace("2026-11-27 10:00:30", "昨天"), END),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_a_bill_of_another_shape_is_refused_whole(wrong: str) -> None:
    with pytest.raises(ChannelUnavailable):
        lines_of(wrong)


def test_the_details_are_found_by_their_heading_among_the_files() -> None:
    def packed(**files: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return buffer.getvalue()

    details = text(HEAD, PAID, END)
    whole = packed(a=details.encode("gbk"))
    damaged = whole[:40] + bytes(12) + whole[52:]
    assert unpack(whole) == details
    assert unpack(packed(a="汇总".encode("gbk"), b=details.encode("gbk"))) == details
    for wrong in (
        b"no zip",
        packed(a="汇总".encode("gbk")),
        packed(a=details.encode("gbk"), b=details.encode("gbk")),
        packed(a=b"\xff\xff\xff"),
        damaged,
    ):
        with pytest.raises(ChannelUnavailable):
            unpack(wrong)
