"""Reading a bill file of WeChat Pay."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime

import pytest

from backend.integrations.wechat_pay_bill import lines_of, unpack
from backend.topups.ports import ChannelUnavailable

HEAD = "交易时间,微信订单号,商户订单号,交易状态,应结订单金额,商户退款单号,退款金额,商品名称"
PAID = "`2026-03-01 00:30:00,`4200,`A00001,`SUCCESS,`0.29,`0,`0.00,`电费,水费, 共两项"
BACK = "`2026-03-01 23:59:59,`4200,`A00001,`REFUND,`0.00,`R00001,`0.1,`电费"
SUMMARY = "总交易单数,应结订单总金额\r\n`2,`0.29\r\n"


def _bill(*rows: str) -> str:
    return "\r\n".join([HEAD, *rows, SUMMARY])


def test_rows_are_read_by_heading_with_commas_in_the_goods_name_and_exact_fen() -> None:
    paid, back = lines_of(_bill(PAID, BACK))
    assert (paid.order_no, paid.amount_fen, paid.refund_fen, paid.refund_no) == (
        "A00001", 29, 0, None,
    )  # fmt: skip
    assert paid.at == datetime(2026, 2, 28, 16, 30, tzinfo=UTC)
    assert (back.refund_fen, back.refund_no) == (10, "R00001")


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        "\r\n".join([HEAD, PAID]),
        _bill(PAID.replace("`0.29", "`0.291")),
        _bill(PAID.replace("`0.29", "`2.9E-1")),
        _bill(PAID + ",`more"),
        _bill("2026-03-01 00:30:00,4200,A00001,SUCCESS,0.29,0,0.00,x"),
        _bill(PAID).replace("商户订单号", "别的"),
    ],
)
def test_a_file_of_another_shape_or_without_its_end_is_refused(text: str) -> None:
    with pytest.raises(ChannelUnavailable):
        lines_of(text)


def test_the_hash_is_over_the_unpacked_bytes_and_the_mark_at_the_start_is_dropped() -> None:
    plain = "﻿交易".encode()
    sha1 = hashlib.sha1(plain, usedforsecurity=False).hexdigest()
    assert unpack(packed=gzip.compress(plain), sha1=sha1.upper()) == "交易"


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_a_bill_cut_short_is_refused(cut: int) -> None:
    packed = gzip.compress(b"a bill of some length")
    with pytest.raises(ChannelUnavailable):
        unpack(packed=packed[: len(packed) - cut - 1], sha1="0" * 40)
    with pytest.raises(ChannelUnavailable, match="hash"):
        unpack(packed=packed, sha1="0" * 40)
