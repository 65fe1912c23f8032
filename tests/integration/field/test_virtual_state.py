"""Time alone leads a virtual meter to the same state, in one step or in many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.clock import CHINA
from workers.virtual.load import SLOT_S, LoadModel, hour_of
from workers.virtual.state import (
    MeterSpec,
    MeterState,
    SaleRefused,
    Settings,
    advance,
    take_sale,
)

SPEC = MeterSpec(serial="1", unit=1, load=LoadModel(seed=7, average_w=900))
PRICES = (12000, 10000, 6000, 3000)
START = 1_795_000_000
DAY = 86_400


def _fresh(remaining_hao: int, *, forced: bool = False) -> MeterState:
    return MeterState(
        as_of=START,
        energy_ws=(0, 0, 0, 0),
        remaining_hao=remaining_hao,
        forced=forced,
        settings=Settings(prices=PRICES),
    )


@given(
    steps=st.lists(st.integers(0, DAY), min_size=1, max_size=12),
    remaining=st.integers(0, 500_000),
    forced=st.booleans(),
)
def test_many_steps_and_one_step_lead_to_the_same_state(
    steps: list[int], remaining: int, forced: bool
) -> None:
    once = advance(_fresh(remaining, forced=forced), SPEC, START + sum(steps))
    many = _fresh(remaining, forced=forced)
    for step in steps:
        many = advance(many, SPEC, many.as_of + step)
    assert many == once


@given(remaining=st.integers(1, 300_000), days=st.integers(0, 10))
def test_no_money_is_made_or_lost_by_use(remaining: int, days: int) -> None:
    state = advance(_fresh(remaining), SPEC, START + days * DAY)
    cost = sum(ws * price for ws, price in zip(state.energy_ws, PRICES, strict=True))
    assert cost == (remaining - state.remaining_hao) * 3_600_000 + state.charge_rest
    assert state.remaining_hao >= 0
    assert state.closed == (state.remaining_hao > 0)


@given(count=st.integers(0, 65_535), amount=st.integers(-10, 2**32))
def test_only_the_next_count_and_a_real_amount_are_taken(count: int, amount: int) -> None:
    state = MeterState(as_of=START, energy_ws=(0, 0, 0, 0), remaining_hao=100, purchase_count=41)
    if count == 42 and 0 < amount <= 2**31 - 2:
        after = take_sale(state, amount_fen=amount, purchase_count=count)
        assert after.remaining_hao == 100 + amount * 100
        assert after.purchase_count == 42
    else:
        with pytest.raises(SaleRefused):
            take_sale(state, amount_fen=amount, purchase_count=count)


def test_the_hours_of_the_load_are_hours_of_the_china_day() -> None:
    instant = datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
    for quarter in range(96):
        at = instant + timedelta(minutes=15 * quarter)
        assert hour_of(int(at.timestamp()) // SLOT_S) == at.astimezone(CHINA).hour
