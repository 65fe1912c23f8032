"""Time alone leads a virtual 645 or 188 meter to the same state, in one step or in many."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workers.virtual import cjt188_meter, dlt645_state
from workers.virtual.cjt188_meter import Spec188, State188
from workers.virtual.dlt645_state import FACTORY, State645

from .bus_world import START_S

STEPS = st.lists(st.integers(0, 86_400), min_size=1, max_size=12)


@given(
    steps=STEPS,
    balance=st.integers(-10_000, 400_000),
    kept=st.booleans(),
    moment=st.sampled_from(["0000000000", "3011221126", "0000231126"]),
)
def test_many_steps_and_one_step_lead_a_645_meter_to_the_same_state(
    steps: list[int], balance: int, kept: bool, moment: str
) -> None:
    settings = {**FACTORY, "04000108": moment, "04050203": "00000100"}
    fresh = State645(
        as_of=START_S,
        energy_ws=(0, 0, 0, 0),
        balance_hao=balance,
        kept=kept,
        settings=settings,
    )
    once = dlt645_state.advance(fresh, 900, START_S + sum(steps))
    many = fresh
    for step in steps:
        many = dlt645_state.advance(many, 900, many.as_of + step)
    assert many == once


@given(steps=STEPS, moved_after=st.integers(0, 5), shuts=st.booleans())
def test_many_steps_and_one_step_lead_a_188_meter_to_the_same_state(
    steps: list[int], moved_after: int, shuts: bool
) -> None:
    spec = Spec188(serial="W", address="0" * 14, litres_an_hour=77, heat_w=901, valve=True)
    fresh = State188(as_of=START_S)
    if shuts:
        fresh = replace(fresh, is_open=False, moves_until=START_S + moved_after)
    once = cjt188_meter.advance(fresh, spec, START_S + sum(steps))
    many = fresh
    for step in steps:
        many = cjt188_meter.advance(many, spec, many.as_of + step)
    assert many == once
    if shuts:
        assert once.millilitres == 77_000 * min(moved_after, sum(steps)) // 3600
