"""A meter agrees with the book exactly while its own use explains what is gone (C11)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.money import ZERO, Money
from backend.reconcile.proof_rules import (
    ANY_PRICE,
    STEP,
    BookWord,
    MeterProof,
    MeterWord,
    Prices,
    ProofVerdict,
    explained,
    prove,
)

KNOWN = Prices(3_000, 12_000)  # 0.30 to 1.20 yuan a kWh
METER = MeterWord(count=3, remaining=Money.parse("40"), used=12_000, power_w=0)
BOOK = BookWord(
    counted=3, count_least=3, count_most=3, waiting=0, held=Money.parse("50"), left=ZERO
)


def against(meter: MeterWord = METER, book: BookWord = BOOK, prices: Prices = KNOWN) -> MeterProof:
    """The proof of a meter that used 12 kWh and 10 yuan, with changes."""
    return prove(meter, book, prices)


def test_what_use_explains_agrees_and_goes_to_income() -> None:
    found = against()
    assert found.verdict is ProofVerdict.AGREES
    assert (found.use, found.posted, found.left) == (Money.parse("10"), Money.parse("10"), ZERO)


def test_the_bounds_are_use_at_the_cheapest_and_the_dearest_price_and_what_registers_hide() -> None:
    # 12 kWh less and plus 20 Wh of register steps; a step of money.
    assert explained(used=12_000, power_w=0, prices=KNOWN) == (
        Money(11_980 * 3) - STEP,
        Money(12_020 * 12) + STEP,
    )
    # What flows in a minute at 6 kW is 100 Wh more.
    assert explained(used=12_000, power_w=6_000, prices=KNOWN)[1] == Money(12_120 * 12) + STEP
    assert explained(used=5, power_w=0, prices=KNOWN)[0] == -STEP
    # Part of a hao is a hao more: the bound is never below what it bounds.
    assert explained(used=0, power_w=0, prices=Prices(0, 1))[1] == Money(1) + STEP


@given(
    held=st.integers(0, 10**7),
    used=st.integers(0, 500_000),
    left=st.integers(-100, 50_000),
    prices=st.tuples(st.integers(0, 20_000), st.integers(0, 80_000)).map(
        lambda pair: Prices(pair[0], pair[0] + pair[1])
    ),
    share=st.integers(0, 100),
)
def test_any_use_between_the_prices_agrees_and_the_book_follows_the_meter(
    held: int, used: int, left: int, prices: Prices, share: int
) -> None:
    price = prices.cheapest + (prices.dearest - prices.cheapest) * share // 100
    cost = Money(used * price // 1000)
    remaining = Money(held) - cost - Money(left)
    book = replace(BOOK, held=Money(held), left=Money(left))
    found = prove(replace(METER, remaining=remaining, used=used), book, prices)
    assert found.verdict is ProofVerdict.AGREES
    assert found.use == cost
    assert ZERO <= found.posted <= Money(held), "more would leave the wallet than is in it"
    after = Money(held) - found.posted
    assert after - remaining == found.left
    # The book holds what the meter says, unless that is below nothing or a step above the book.
    assert found.left >= Money(-100)
    assert not found.left > ZERO or after == ZERO


@given(beyond=st.integers(1, 10**6), used=st.integers(0, 500_000))
def test_money_that_use_does_not_explain_is_drift_to_either_side(beyond: int, used: int) -> None:
    least, most = explained(used=used, power_w=0, prices=KNOWN)
    for use in (most + Money(beyond), least - Money(beyond)):
        meter = replace(METER, remaining=BOOK.held - use, used=used)
        found = against(meter)
        assert (found.verdict, found.posted) == (ProofVerdict.DRIFT, ZERO)
    for use in (most, least):
        meter = replace(METER, remaining=BOOK.held - use, used=used)
        assert against(meter).verdict is ProofVerdict.AGREES


@pytest.mark.parametrize("count", [0, 2, 4, 99])
def test_a_count_that_the_vends_do_not_make_is_drift_whatever_the_money_says(count: int) -> None:
    found = against(replace(METER, count=count))
    assert found.verdict is ProofVerdict.DRIFT
    assert "count" in found.reason


def test_a_vend_that_is_under_way_makes_the_book_unsure_and_nobody_guilty() -> None:
    book = replace(BOOK, counted=2, count_least=2, count_most=3, waiting=1)
    found = against(book=book)
    assert (found.verdict, found.posted) == (ProofVerdict.UNSETTLED, ZERO)
    # Verified seconds around the reading: whether the meter counts it already or not, both fit.
    assert against(book=replace(BOOK, count_least=2)).verdict is ProofVerdict.AGREES
    hole = against(book=replace(BOOK, counted=2, count_least=2))
    assert hole.verdict is ProofVerdict.DRIFT, "a number of ours is missing below the count"


def test_a_register_that_went_back_is_drift() -> None:
    assert against(replace(METER, used=None)).verdict is ProofVerdict.DRIFT


def test_a_meter_in_overdraft_empties_its_wallet_and_keeps_owing_until_it_is_paid() -> None:
    empty = replace(METER, remaining=Money.parse("-3"), used=50_000)
    found = prove(empty, replace(BOOK, held=Money.parse("5")), ANY_PRICE)
    assert (found.posted, found.left) == (Money.parse("5"), Money.parse("3"))
    # 20 yuan come, 3 pay the overdraft, 2 are used since.
    later = prove(
        replace(METER, remaining=Money.parse("15"), used=3_000),
        replace(BOOK, held=Money.parse("20"), left=found.left),
        ANY_PRICE,
    )
    assert later.verdict is ProofVerdict.AGREES
    assert (later.use, later.posted, later.left) == (Money.parse("2"), Money.parse("5"), ZERO)


def test_without_known_prices_a_loss_is_seen_only_beyond_the_dearest_price_there_can_be() -> None:
    used = 1_000
    for lost, verdict in (("10.30", ProofVerdict.DRIFT), ("10.20", ProofVerdict.AGREES)):
        meter = replace(METER, remaining=BOOK.held - Money.parse(lost), used=used)
        assert against(meter, prices=ANY_PRICE).verdict is verdict
    gained = replace(METER, remaining=BOOK.held + Money.parse("0.02"), used=used)
    assert against(gained, prices=ANY_PRICE).verdict is ProofVerdict.DRIFT
