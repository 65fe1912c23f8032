"""A cash desk's words and figures are checked before any money moves (P30)."""

from __future__ import annotations

import pytest

from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import ZERO, Money
from backend.topups.shift_rules import (
    MOST_FLOAT_FEN,
    Count,
    check_cash,
    check_desk,
    check_drawer,
    check_slip,
)


@pytest.mark.parametrize(("desk", "kept"), [(" 一 ", "一"), ("d" * 32, "d" * 32)])
def test_a_desk_has_a_name_without_blanks_around_it(desk: str, kept: str) -> None:
    assert check_desk(desk) == kept


@pytest.mark.parametrize("desk", ["", "   ", "d" * 33])
def test_a_desk_without_a_name_is_none(desk: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_desk(desk)
    assert refused.value.field == "desk"


@pytest.mark.parametrize("fen", [0, 1, 101, MOST_FLOAT_FEN])
def test_a_drawer_holds_whole_fen_up_to_a_hundred_thousand_yuan(fen: int) -> None:
    assert check_cash(Money.of_fen(fen), field="counted") == fen


@pytest.mark.parametrize("hao", [-100, -1, 1, 150, 10_099, MOST_FLOAT_FEN * 100 + 100])
def test_less_than_nothing_parts_of_a_fen_and_a_slipped_comma_are_no_cash(hao: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_cash(Money(hao), field="counted")
    assert refused.value.field == "counted"


def test_a_card_terminals_slip_is_kept_in_capitals_and_cash_has_none() -> None:
    assert check_slip(None, by_card=False) is None
    assert check_slip(" ab12 ", by_card=True) == "AB12"
    assert check_slip("0" * 32, by_card=True) == "0" * 32


@pytest.mark.parametrize(
    ("slip", "by_card", "words"),
    [
        ("1234", False, "cash has no slip"),
        ("", False, "cash has no slip"),
        (None, True, "4 to 32"),
        ("", True, "4 to 32"),
        ("123", True, "4 to 32"),
        ("1" * 33, True, "4 to 32"),
        ("12-34", True, "4 to 32"),
        ("一二三四", True, "4 to 32"),
    ],
)
def test_what_is_no_slip_number_is_refused(slip: str | None, by_card: bool, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        check_slip(slip, by_card=by_card)
    assert refused.value.field == "slipNo"


def test_a_drawer_pays_out_what_it_holds_and_not_a_fen_more() -> None:
    check_drawer(holds=Money.parse("5"), pays=Money.parse("5"))
    with pytest.raises(Conflict, match=r"holds 5\.00 yuan"):
        check_drawer(holds=Money.parse("5"), pays=Money.parse("5.01"))


def test_a_count_tells_what_is_too_much_or_too_little() -> None:
    book = Money.parse("100")
    assert Count(book, Money.parse("100.05")).difference == Money.parse("0.05")
    short = Count(book, Money.parse("99"))
    assert (short.difference, short.agrees) == (Money.parse("-1"), False)
    assert (Count(book, book).difference, Count(book, book).agrees) == (ZERO, True)
