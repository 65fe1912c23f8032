"""A purse's life on paper: what it began with and got, less what went, is what it holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.money import Money
from backend.ledger.statements import statement_of

KINDS = ("TOPUP_PAID", "CHARGE", "REFUND", "VEND_RESERVED", "METER_MONEY_MOVED", "OPENING_AT_METER")


def test_what_went_to_a_meter_and_did_not_come_back_was_used_there() -> None:
    told = statement_of(
        {
            "TOPUP_PAID": Money.parse("50"),
            "OPENING_AT_METER": Money.parse("-3"),
            "VEND_RESERVED": Money.parse("-45"),
            "METER_MONEY_MOVED": Money.parse("20.5"),
            "REFUND": Money.parse("-2"),
            "CHARGE": Money(0),
        }
    )
    assert told == {
        "opening": "0.00",
        "in": "50.00",
        "out": "29.50",
        "closing": "20.50",
        "REFUND": "-2.00",
        "TOPUP_PAID": "50.00",
        "USED_AT_METER": "-27.50",
    }


def test_a_purse_without_a_meter_used_nothing_at_one() -> None:
    told = statement_of({"TOPUP_PAID": Money(1), "CHARGE": Money(-1)})
    assert told["in"] == told["out"] == str(Money(1))
    assert told["closing"] == "0.00"
    assert "USED_AT_METER" not in told
    came_back = {"VEND_RESERVED": Money(-7), "METER_MONEY_MOVED": Money(7)}
    assert statement_of(came_back) == {
        "opening": "0.00",
        "in": "0.00",
        "out": "0.00",
        "closing": "0.00",
    }


@given(st.dictionaries(st.sampled_from(KINDS), st.integers(-(10**9), 10**9).map(Money)))
def test_whatever_moved_the_lines_add_up_to_what_it_holds(moved: dict[str, Money]) -> None:
    told = {line: Money.parse(yuan) for line, yuan in statement_of(moved).items()}
    closing = sum(amount.hao for amount in moved.values())
    sums = {line: told.pop(line).hao for line in ("opening", "in", "out", "closing")}
    assert sums["opening"] + sums["in"] - sums["out"] == sums["closing"] == closing
    assert sum(amount.hao for amount in told.values()) == closing
