"""What may go back, who must agree, and what a channel's word means: each edge on both sides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.errors import Conflict, Forbidden, InvalidInput
from backend.kernel.money import Money
from backend.topups.ports import RefundState as Word
from backend.topups.refund_rules import (
    UNDER_WAY_FOR,
    Outcome,
    Refundable,
    ask_again,
    check_approver,
    check_request,
    judge_refusal,
    judge_word,
    needs_second,
)

NOON = datetime(2026, 11, 22, 4, tzinfo=UTC)
_MONEY = st.integers(-(10**9), 10**9).map(Money)


@given(_MONEY, _MONEY, st.integers(0, 10**7))
def test_never_more_than_lot_and_purse_hold_less_what_waits(
    lot: Money, purse: Money, waiting: int
) -> None:
    most = Refundable(lot, purse, waiting).fen
    assert most >= 0
    assert most == 0 or (most + waiting) * 100 <= min(lot.hao, purse.hao)
    assert Refundable(lot, purse, waiting).elsewhere >= Money(0)


def test_a_fraction_of_a_fen_stays() -> None:
    assert Refundable(Money(199), Money(1000), 0).fen == 1
    assert Refundable(Money(1000), Money(99), 0).fen == 0
    assert Refundable(Money(5000), Money(1000), 0).elsewhere == Money(4000)


def test_a_request_is_checked_on_every_side() -> None:
    held = Refundable(Money.parse("10"), Money.parse("10"), 0)
    assert check_request(amount_fen=1000, reason=" moved out ", refundable=held) == "moved out"
    for amount, reason in ((0, "moved out"), (-5, "moved out"), (1, "abc"), (1, "x" * 201)):
        with pytest.raises(InvalidInput):
            check_request(amount_fen=amount, reason=reason, refundable=held)
    with pytest.raises(Conflict) as told:
        check_request(amount_fen=1001, reason="moved out", refundable=held)
    assert check_request(amount_fen=1, reason="left", refundable=held) == "left"
    assert "meter" not in told.value.message
    at_meter = Refundable(Money.parse("10"), Money.parse("4"), 0)
    with pytest.raises(Conflict, match=r"6\.00 yuan are at the meter.*no: never seen"):
        check_request(
            amount_fen=401, reason="moved out", refundable=at_meter, taken_back="no: never seen"
        )


def test_the_limit_counts_all_of_an_order() -> None:
    assert not needs_second(amount_fen=100, gone_back_fen=0, alone_fen=100)
    assert needs_second(amount_fen=101, gone_back_fen=0, alone_fen=100)
    assert needs_second(amount_fen=1, gone_back_fen=100, alone_fen=100)
    assert needs_second(amount_fen=1, gone_back_fen=0, alone_fen=0)


def test_nobody_agrees_with_themselves() -> None:
    check_approver(requested_by="op-1", approver="op-2")
    with pytest.raises(Forbidden):
        check_approver(requested_by="op-1", approver="op-1")


@pytest.mark.parametrize(
    ("word", "since", "outcome"),
    [
        (Word.DONE, UNDER_WAY_FOR * 2, Outcome.DONE),
        (Word.FAILED, timedelta(0), Outcome.FAILED),
        (Word.ACCEPTED, UNDER_WAY_FOR - timedelta(seconds=1), Outcome.AGAIN),
        (Word.ACCEPTED, UNDER_WAY_FOR, Outcome.HELP),
    ],
)
def test_what_the_channel_says(word: Word, since: timedelta, outcome: Outcome) -> None:
    assert judge_word(word=word, since=since) is outcome


@pytest.mark.parametrize(
    ("code", "asked", "outcome"),
    [
        ("INVALID_REQUEST", 1, Outcome.FAILED),
        ("INVALID_REQUEST", 2, Outcome.HELP),
        ("NOT_ENOUGH", 1, Outcome.HELP),
    ],
)
def test_what_a_refusal_proves(code: str, asked: int, outcome: Outcome) -> None:
    assert judge_refusal(code=code, asked=asked) is outcome


def test_it_is_asked_ever_more_slowly_and_never_given_up() -> None:
    ages = [timedelta(seconds=each) for each in (0, 10, 45, 90, 600, 3_600, 86_400, 10**7)]
    pauses = [ask_again(at=NOON, since=age) - NOON for age in ages]
    assert pauses[:4] == [timedelta(seconds=each) for each in (15, 15, 15, 30)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-2] == timedelta(hours=2)
