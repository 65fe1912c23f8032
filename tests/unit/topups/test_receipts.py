"""A receipt shows line by line what the money went to, on a ticket of 48 columns (C7, A16)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.topups.receipts import COLUMNS, Receipt, ReceiptLine, as_copy, ticket, width_of

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
    again = ticket(replace(as_copy(PLAIN, copy=2), channel="CARD", slip_no="A1234567"))
    assert "（补打 第2联）" in again
    assert "补打" not in GOLDEN
    assert "\n签购单号                                A1234567\n" in again
    refunded = ticket(replace(PLAIN, refunded=Money.parse("1")))
    assert "\n已退                                     1.00 元\n" in refunded


def test_a_top_up_that_nobody_took_at_a_desk_names_neither_cashier_nor_desk() -> None:
    by_phone = ticket(replace(PLAIN, cashier=None, desk=None, channel="WECHAT_PAY"))
    assert "收费员" not in by_phone
    assert "窗口" not in by_phone
    assert "微信支付" in by_phone


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("n" * 43, "户名 " + "n" * 43),  # fills the line
        ("n" * 44, "户名\n  " + "n" * 44),  # goes on in a line of its own
        ("面" * 24, "户名\n  " + "面" * 23 + "\n  面"),
        ("ａ" * 21, "户名  " + "ａ" * 21),  # full width, as a Chinese character
    ],
)
def test_a_long_value_goes_on_in_lines_of_its_own(name: str, printed: str) -> None:
    assert f"\n{printed}\n时间" in ticket(replace(PLAIN, account_name=name))


@pytest.mark.parametrize("char", ["\x1b", "\u202e", "\ud800", "\u2028", "\u2029"])
def test_no_kind_of_control_character_reaches_the_printer(char: str) -> None:
    assert ticket(replace(PLAIN, account_name=f"老王{char}面馆")) == GOLDEN


def test_a_long_project_name_is_cut_to_the_paper_and_stands_in_the_middle() -> None:
    assert ticket(replace(PLAIN, project="p" * 60)).startswith("p" * COLUMNS + "\n")
    assert ticket(replace(PLAIN, project="pp")).startswith(" " * 23 + "pp\n")


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
