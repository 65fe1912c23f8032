"""Pure rules of the cash desk (收费台): shifts, slips, what the count of a drawer says.

Peers hold a cashier to a drawer with a balance of its own and a count at the end (domain-notes.md P30).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import ZERO, Money

MOST_FLOAT_FEN = 10_000_000  # 100,000 yuan: more in a drawer is a slip of the comma
_SLIP = re.compile(r"[0-9A-Za-z]{4,32}")


def check_desk(desk: str) -> str:
    """The name of a desk, 1 to 32 characters. Raises InvalidInput."""
    name = desk.strip()
    if not 1 <= len(name) <= 32:
        raise InvalidInput("a desk has a name of 1 to 32 characters", field="desk")
    return name


def check_cash(amount: Money, *, field: str) -> int:
    """An amount of notes and coins in fen. Raises InvalidInput."""
    if not 0 <= amount.hao <= MOST_FLOAT_FEN * 100 or amount.hao % 100:
        raise InvalidInput("cash is whole fen, 0 to 100,000 yuan", field=field)
    return amount.fen


def check_slip(slip_no: str | None, *, by_card: bool) -> str | None:
    """The number on a card terminal's slip, which cash has not. Raises InvalidInput."""
    if slip_no is None and not by_card:
        return None
    if not by_card:
        raise InvalidInput("cash has no slip", field="slipNo")
    number = (slip_no or "").strip().upper()
    if _SLIP.fullmatch(number) is None:
        raise InvalidInput("the slip's number: 4 to 32 letters and digits", field="slipNo")
    return number


def check_drawer(*, holds: Money, pays: Money) -> None:
    """Raise Conflict when a drawer would pay out more than it holds."""
    if pays > holds:
        raise Conflict(f"the drawer holds {holds} yuan by the book, {pays} are to be paid out")


@dataclass(frozen=True, slots=True)
class Count:
    """What a count of a drawer says: `book` by the ledger, `counted` by hand."""

    book: Money
    counted: Money

    @property
    def difference(self) -> Money:
        """Too much is positive, too little negative."""
        return self.counted - self.book

    @property
    def agrees(self) -> bool:
        """Whether hand and book say the same."""
        return self.difference == ZERO
