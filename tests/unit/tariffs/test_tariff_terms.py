"""Terms that cannot be priced are refused with the field named; a slip of the comma is seen (A14)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given

from backend.kernel.band_calendar import DaySlot
from backend.kernel.errors import InvalidInput
from backend.tariffs.rules import Fee, Season, Step, StepPeriod, Terms
from backend.tariffs.terms import (
    JUMP,
    MOST_MONTHLY,
    MOST_PRICE,
    MOST_USE,
    as_json,
    check_terms,
    jumps,
    terms_of,
)

from .drawn import HOUSEHOLD, unhurried
from .drawn import terms as any_terms

FLAT = Season(1, 1, {"flat": 1})


@unhurried
@given(any_terms())
def test_terms_come_back_from_json_as_they_were(drawn: Terms) -> None:
    assert terms_of(json.loads(json.dumps(as_json(check_terms(drawn))))) == drawn


def priced(**prices: int) -> dict[str, Any]:
    return {"seasons": (Season(1, 1, prices),)}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seasons": ()}, "seasons"),
        ({"seasons": tuple(replace(FLAT, day=day) for day in range(1, 16))}, "seasons"),
        ({"seasons": (replace(FLAT, month=2), FLAT)}, "seasons"),
        ({"seasons": (FLAT, FLAT)}, "seasons"),
        ({"seasons": (replace(FLAT, month=2, day=29),)}, "seasons"),
        ({"seasons": (replace(FLAT, month=4, day=31),)}, "seasons"),
        ({"seasons": (replace(FLAT, month=13),)}, "seasons"),
        ({"seasons": (replace(FLAT, workday=2),)}, "seasons"),
        ({"seasons": (replace(FLAT, weekend=-1),)}, "seasons"),
        (priced(peak=1), "prices"),
        (priced(flat=1, noon=2), "prices"),
        (priced(flat=-1), "prices"),
        (priced(flat=1, peak=MOST_PRICE + 1), "prices"),
        ({"day_plans": ()}, "dayPlans"),
        ({"day_plans": HOUSEHOLD.day_plans * 5}, "dayPlans"),
        ({"day_plans": (*HOUSEHOLD.day_plans, ())}, "dayPlans"),
        ({"day_plans": (*HOUSEHOLD.day_plans, (DaySlot(1, "flat"),))}, "dayPlans"),
        (
            {"day_plans": (*HOUSEHOLD.day_plans, (DaySlot(0, "flat"), DaySlot(1440, "peak")))},
            "dayPlans",
        ),
        (
            {"day_plans": (*HOUSEHOLD.day_plans, (DaySlot(0, "flat"), DaySlot(0, "peak")))},
            "dayPlans",
        ),
        (
            {"day_plans": (*HOUSEHOLD.day_plans, (DaySlot(0, "flat"), DaySlot(5, "flat")))},
            "dayPlans",
        ),
        ({"day_plans": (*HOUSEHOLD.day_plans, (DaySlot(0, "noon"),))}, "dayPlans"),
        (
            {"day_plans": (*HOUSEHOLD.day_plans, (DaySlot(0, "flat"), DaySlot(5, "noon")))},
            "dayPlans",
        ),
        ({"steps": (Step(0, 1),)}, "steps"),
        ({"steps": (Step(5, 1), Step(5, 2))}, "steps"),
        ({"steps": (Step(MOST_USE + 1, 1),)}, "steps"),
        ({"steps": (Step(5, -1),)}, "steps"),
        ({"steps": tuple(Step(n, n) for n in range(1, 10))}, "steps"),
        ({"year_starts_in": 0}, "yearStartsIn"),
        ({"year_starts_in": 13}, "yearStartsIn"),
        ({"step_period": StepPeriod.MONTH, "year_starts_in": 2}, "yearStartsIn"),
        ({"loss": Fee(0, 10_001)}, "loss.share"),
        ({"public": Fee(-1, 0)}, "public.perUnit"),
        ({"service": Fee(MOST_PRICE + 1, 0)}, "service.perUnit"),
        ({"monthly": -1}, "monthly"),
        ({"monthly": MOST_MONTHLY + 1}, "monthly"),
        ({"days": {date(2026, 1, 1): 2}}, "days"),
        ({"days": {date(2026, 1, 1) + timedelta(days=n): 0 for n in range(401)}}, "days"),
    ],
)
def test_terms_that_mean_nothing_are_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_terms(replace(HOUSEHOLD, **change))
    assert refused.value.field == field


def test_terms_at_their_limits_are_taken() -> None:
    at_most = replace(
        HOUSEHOLD,
        seasons=(Season(2, 28, {"flat": MOST_PRICE}, workday=1, weekend=1),),
        steps=(*(Step(n, 0) for n in range(1, 8)), Step(MOST_USE, MOST_PRICE)),
        loss=Fee(MOST_PRICE, 10_000),
        monthly=MOST_MONTHLY,
        year_starts_in=12,
        days={date(2026, 1, 1) + timedelta(days=n): 1 for n in range(400)},
    )
    assert check_terms(at_most) is at_most


def test_a_price_typed_a_hundred_times_too_high_or_low_is_told() -> None:
    season = Season(1, 1, {"flat": 5_283, "peak": 5_583, "valley": 3_583})
    before = replace(HOUSEHOLD, seasons=(season,))
    slipped = replace(before, seasons=(replace(season, prices={**season.prices, "peak": 558_300}),))
    assert jumps(before, slipped) == ["peak: 5583 -> 558300", "spike: 5583 -> 558300"]
    assert jumps(slipped, before) == ["peak: 558300 -> 5583", "spike: 558300 -> 5583"]


def test_an_ordinary_change_and_a_first_version_need_no_second_look() -> None:
    assert jumps(None, HOUSEHOLD) == []
    assert jumps(HOUSEHOLD, HOUSEHOLD) == []
    doubled = tuple(
        replace(s, prices={band: price * JUMP for band, price in s.prices.items()})
        for s in HOUSEHOLD.seasons
    )
    assert jumps(HOUSEHOLD, replace(HOUSEHOLD, seasons=doubled)) == []


def test_figures_that_lie_far_apart_are_no_jump_and_a_fen_that_came_is_told() -> None:
    wide = replace(HOUSEHOLD, steps=(Step(1_000, 100), Step(2_000, 3_000)))
    assert jumps(wide, wide) == []
    assert jumps(HOUSEHOLD, replace(HOUSEHOLD, monthly=100)) == ["monthly: 0 -> 100"]
    assert jumps(HOUSEHOLD, replace(HOUSEHOLD, monthly=99)) == []


def test_fees_and_steps_that_come_go_or_leap_are_told_too() -> None:
    after = replace(HOUSEHOLD, steps=(), monthly=50_000, loss=Fee(0, 300), public=Fee(99, 0))
    assert jumps(HOUSEHOLD, after) == [
        "loss share: 0 -> 300",
        "monthly: 0 -> 50000",
        "steps: 500, 3000 -> none",
    ]
    cheap = (Season(1, 1, {"flat": 5_283, "valley": 3}), HOUSEHOLD.seasons[1])
    assert jumps(HOUSEHOLD, replace(HOUSEHOLD, seasons=cheap)) == [
        "deep: 3583 -> 3, 3583",
        "valley: 3583 -> 3, 3583",
    ]
