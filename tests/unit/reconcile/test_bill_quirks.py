"""A bill file with all that real ones have, read and matched to the fen (C6).

The shape is the channel's own (channels.md section 2.3, trust.md section 3): a byte order mark, CRLF, a
backtick before each field, amounts in yuan, commas in goods names, columns that were added over the years.
"""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, date, datetime

import pytest

from backend.integrations.wechat_pay_bill import lines_of, unpack
from backend.reconcile.rules import BillClass, GivenBack, Matching, Paid, Theirs, match
from backend.topups.ports import BillLine, ChannelUnavailable

HEADINGS = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注,新的一栏"
)
SUMMARY = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)
NOON = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


def row(
    number: str,
    *,
    yuan: str,
    refund: tuple[str, str] | None = None,
    goods: str = "电费",
    paid: str | None = None,
) -> str:
    """A line of the file. `paid`: less than ordered, the rest by a coupon."""
    back_no, back = refund or ("0", "0.00")
    fields = [
        "2026-11-21 12:00:00", "wxa1", "1900000001", "0", "", f"42{number}", number, "o-zhang", "JSAPI",
        "REFUND" if refund else "SUCCESS", "CMB_DEBIT", "CNY", paid or yuan, "0.00", "50" if refund else "0",
        back_no, back, "0.00", "ORIGINAL" if refund else "", "SUCCESS" if refund else "", goods, "",
        "0.00000", "0.60%", yuan, back, "", "",
    ]  # fmt: skip
    return ",".join("`" + field for field in fields)


def bill(*rows: str, summary: bool = True, ends: str = "\r\n") -> bytes:
    """The file as it is downloaded, unpacked."""
    total = [SUMMARY, "`5,`0.00,`0.00,`0.00,`0.00,`0.00,`0.00"] if summary else []
    return ends.join([HEADINGS, *rows, *total, ""]).encode("utf-8-sig")


def read(plain: bytes) -> list[BillLine]:
    """The lines of a downloaded file, by the adapter that production uses."""
    sha1 = hashlib.sha1(plain, usedforsecurity=False).hexdigest()
    return lines_of(unpack(packed=gzip.compress(plain), sha1=sha1))


def matched(lines: list[BillLine], paid: list[Paid], back: list[GivenBack]) -> Matching:
    """The bill against a book."""
    theirs = [
        Theirs(
            order_no=line.order_no,
            transaction_id=line.transaction_id,
            amount_fen=line.amount_fen,
            refund_no=line.refund_no,
            refund_fen=line.refund_fen,
            at=line.at,
        )
        for line in lines
    ]
    return match(date(2026, 11, 21), lines=theirs, paid=paid, given_back=back)


def booked(number: str, fen: int) -> Paid:
    """Our order, paid."""
    return Paid(number, f"42{number}", fen, NOON)


@pytest.mark.parametrize("ends", ["\r\n", "\n"])
def test_yuan_behind_backticks_become_fen_that_the_book_has(ends: str) -> None:
    file = bill(
        row("order1", yuan="0.01"),
        row("order2", yuan="1234.56", goods="电费, 一层 1 号"),
        row("order3", yuan="50.00", paid="45.00"),
        row("order2", yuan="1234.56", refund=("back1", "30.19"), goods="退,费"),
        ends=ends,
    )
    found = matched(
        read(file),
        [booked("order1", 1), booked("order2", 123_456), booked("order3", 5000)],
        [GivenBack("back1", "order2", 3019, NOON)],
    )
    assert (found.matched, found.findings) == (4, ())
    assert (found.theirs_paid_fen, found.theirs_refund_fen) == (128_457, 3019)


def test_a_fen_of_difference_is_seen() -> None:
    found = matched(read(bill(row("order1", yuan="49.99"))), [booked("order1", 5000)], [])
    assert [each.kind for each in found.findings] == [BillClass.AMOUNT_DIFFERS]


def test_the_instant_is_chinas() -> None:
    (line,) = read(bill(row("order1", yuan="1.00")))
    assert line.at == NOON


@pytest.mark.parametrize(
    "broken",
    [
        bill(row("order1", yuan="1.00"), summary=False),  # cut short between two lines
        bill(row("order1", yuan="1.00")[:-40]),  # cut short within one
        bill(row("order1", yuan="1.005")),  # half a fen
        bill(row("order1", yuan="1,000.00")),
        bill(row("order1", yuan="one")),
        bill("2026-11-21 12:00:00,no,backticks"),
        b"",
    ],
)
def test_a_file_that_is_not_whole_proves_nothing_and_is_asked_for_again(broken: bytes) -> None:
    with pytest.raises(ChannelUnavailable):
        read(broken)
