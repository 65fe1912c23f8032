"""A receipt shows line by line what the money went to, on a ticket of 48 columns (C7, A16)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.topups.receipts import COLUMNS, Receipt, ReceiptLine, ticket, width_of

PLAIN = Receipt(
    project="阳光商业街",
    order_no="20261122120000ffffffffffffffff",
    account_no="100001",
    account_name="老王面馆",
    channel="CASH",
    slip_no=None,
    paid_at=datetime(2026, 11, 22, 4, 0, 7, tzinfo=UTC),
    paid=Money.parse("100"),
    recovered=(
        ReceiptLine("电费欠费", Money.parse("12.3456")),
        ReceiptLine("固定费", Money.parse("5")),
    ),
    credited=Money.parse("82.6544"),
    refunded=Money(0),
    cashier="li",
    desk="一号窗口",
    copy=1,
)
GOLDEN = """\
                   阳光商业街
                    充值收据
------------------------------------------------
单号              20261122120000ffffffffffffffff
户号                                      100001
户名                                    老王面馆
时间                         2026-11-22 12:00:07
方式                                        现金
------------------------------------------------
实收                                   100.00 元
其中 电费欠费                        -12.3456 元
其中 固定费                             -5.00 元
充入                                  82.6544 元
------------------------------------------------
收费员                                        li
窗口                                    一号窗口
"""


def test_the_ticket_of_a_cash_top_up_that_paid_arrears_first() -> None:
    assert ticket(PLAIN) == GOLDEN


def test_a_second_print_says_that_it_is_a_copy_and_a_card_shows_its_slip() -> None:
    again = ticket(replace(PLAIN, copy=3, channel="CARD", slip_no="A1234567"))
    assert "（补打 第3联）" in again
    assert "补打" not in GOLDEN
    assert "签购单号" in again
    assert "A1234567" in again
    assert "已退" in ticket(replace(PLAIN, refunded=Money.parse("1")))


def test_a_receipt_that_swallows_money_cannot_be_made() -> None:
    for change in ({"credited": Money.parse("82.6543")}, {"recovered": ()}):
        with pytest.raises(InvalidInput, match="do not add up"):
            replace(PLAIN, **change)


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=60))
def test_whatever_a_name_holds_no_line_is_wider_than_the_paper_or_commands_the_printer(
    project: str, name: str, desk: str
) -> None:
    printed = ticket(replace(PLAIN, project=project, account_name=name, desk=desk))
    lines = printed.removesuffix("\n").split("\n")
    assert all(width_of(line) <= COLUMNS for line in lines)
    assert not {"\x1b", "\x1d", "\r", "\x00"} & set(printed)
