"""The crown rule: what a vend may do next, from what the meter itself says (C8-C10)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.control.rules import VendFacts, VendStep, Wallet, decide_vend, most_used
from backend.kernel.money import ZERO, Money

FEN = Money.of_fen(1)
FIFTY = Money.parse("50")
TWENTY = Money.parse("20")
SENT = VendFacts(5, FIFTY, Wallet(4, TWENTY), timedelta(seconds=10))
UNSENT = VendFacts(5, FIFTY, None)

money = st.integers(min_value=0, max_value=10**10).map(Money)
counts = st.integers(min_value=0, max_value=10**6)
spans = st.integers(min_value=0, max_value=10**7).map(lambda s: timedelta(seconds=s))
facts = st.builds(
    VendFacts,
    st.integers(min_value=1, max_value=10**6),
    st.integers(min_value=1, max_value=10**6).map(Money.of_fen),
    st.none() | st.builds(Wallet, counts, money),
    spans,
)
# Near the vend's own number and amount, where the decisions turn.
near = st.integers(min_value=-3, max_value=3)


@pytest.mark.parametrize(
    ("vend", "meter", "step"),
    [
        (UNSENT, Wallet(4, TWENTY), VendStep.SEND),
        (SENT, Wallet(4, TWENTY), VendStep.SEND),
        (SENT, Wallet(5, Money.parse("70")), VendStep.VERIFIED),
        (SENT, Wallet(5, Money.parse("69.95")), VendStep.VERIFIED),
        (SENT, Wallet(5, Money.parse("70.01")), VendStep.VERIFIED),
        (SENT, Wallet(5, Money.parse("70.02")), VendStep.STOP),
        (SENT, Wallet(5, TWENTY), VendStep.STOP),
        (SENT, Wallet(5, Money.parse("120")), VendStep.STOP),
        (UNSENT, Wallet(5, Money.parse("70")), VendStep.STOP),
        (SENT, Wallet(3, TWENTY), VendStep.STOP),
        (SENT, Wallet(6, Money.parse("70")), VendStep.STOP),
        (SENT, Wallet(0, ZERO), VendStep.STOP),
        (UNSENT, Wallet(0, ZERO), VendStep.STOP),
    ],
)
def test_count_and_amount_decide(vend: VendFacts, meter: Wallet, step: VendStep) -> None:
    assert decide_vend(vend, meter)[0] is step
    assert decide_vend(vend, meter)[1]


def test_a_wallet_just_below_what_could_be_used_stops_the_sale() -> None:
    full = TWENTY + FIFTY
    lowest = full - most_used(SENT.since_before)
    assert decide_vend(SENT, Wallet(5, lowest))[0] is VendStep.VERIFIED
    assert decide_vend(SENT, Wallet(5, lowest - Money(1)))[0] is VendStep.STOP


@given(facts, near, st.builds(Wallet, counts, money))
def test_it_is_sent_only_when_the_meter_waits_for_this_very_number(
    vend: VendFacts, off: int, meter: Wallet
) -> None:
    for wallet in (meter, Wallet(vend.purchase_no + off, meter.remaining)):
        sends = decide_vend(vend, wallet)[0] is VendStep.SEND
        assert sends == (wallet.purchase_no == vend.purchase_no - 1)


@given(facts, near, money, st.integers(min_value=-(10**6), max_value=10**6))
def test_it_is_verified_only_when_count_and_amount_fit_and_something_was_sent(
    vend: VendFacts, off: int, anywhere: Money, around: int
) -> None:
    full = (vend.before.remaining if vend.before else ZERO) + vend.amount
    for remaining in (anywhere, full + Money(around), full - most_used(vend.since_before)):
        meter = Wallet(vend.purchase_no + off, remaining)
        if decide_vend(vend, meter)[0] is not VendStep.VERIFIED:
            continue
        assert vend.before is not None
        assert meter.purchase_no == vend.purchase_no
        assert full - most_used(vend.since_before) <= meter.remaining <= full + FEN


@given(facts, st.builds(Wallet, counts, money))
def test_what_is_neither_waiting_nor_fitting_stops(vend: VendFacts, meter: Wallet) -> None:
    if meter.purchase_no not in (vend.purchase_no - 1, vend.purchase_no):
        assert decide_vend(vend, meter)[0] is VendStep.STOP


@given(spans, spans)
def test_more_time_allows_for_more_use_and_no_time_for_almost_none(
    one: timedelta, two: timedelta
) -> None:
    assert (most_used(one) <= most_used(two)) or two < one
    assert ZERO < most_used(timedelta(0)) < Money.parse("1")
    assert most_used(timedelta(seconds=-5)) == most_used(timedelta(0))


def test_a_meter_can_have_used_what_sixty_amperes_on_three_phases_cost_and_a_step_of_its_display() -> (
    None
):
    """60 A at 264 V on three phases at five yuan a kWh are 660 hao a second; a second has begun at least."""
    assert most_used(timedelta(0)) == Money(660) + FEN
    assert most_used(timedelta(seconds=9)) == Money(6_600) + FEN
    assert most_used(timedelta(seconds=9, milliseconds=999)) == Money(6_600) + FEN


@pytest.mark.parametrize(
    ("vend", "meter", "words"),
    [
        (UNSENT, Wallet(4, TWENTY), "the meter waits for this number"),
        (SENT, Wallet(5, Money.parse("70")), "the meter's count and amount agree"),
    ],
)
def test_the_reason_of_a_step_is_told(vend: VendFacts, meter: Wallet, words: str) -> None:
    assert decide_vend(vend, meter)[1] == words


def test_a_lost_credit_is_noticed_as_long_as_it_could_not_have_been_used() -> None:
    """Two minutes after the write a meter that shows 50 yuan too little is stopped."""
    late = VendFacts(5, FIFTY, Wallet(4, TWENTY), timedelta(minutes=2))
    assert decide_vend(late, Wallet(5, TWENTY))[0] is VendStep.STOP
