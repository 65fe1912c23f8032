"""What use costs: exact, the same however it is cut up, and never less for more (C2, C13, C16)."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.band_calendar import BANDS
from backend.tariffs import calendar, rules, terms
from backend.tariffs.rules import (
    Days,
    Fee,
    Line,
    LineKind,
    Position,
    Season,
    Segment,
    Step,
    TariffKind,
    Terms,
    Use,
    amounts_of,
    band_prices,
    compile_terms,
    cost_to_date,
    difference,
    price_segment,
    price_to_date,
    price_usage,
    step_of,
    total_of,
)

from .drawn import HOUSEHOLD, fees, month_days, unhurried, uses
from .drawn import terms as drawn_terms

FLAT = Terms(TariffKind.ELECTRICITY, (Season(1, 1, {"flat": 6_000}),))
STEPPED = replace(FLAT, steps=(Step(200_000, 500), Step(400_000, 3_000)))
befores = st.integers(0, 2**62)
any_terms = drawn_terms(calendar=False)


def merged(*parts: Sequence[Line]) -> dict[tuple[str, str], tuple[int, int]]:
    """Quantity and amount by kind and detail of several postings together; what came to nothing is out."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for line in (line for lines in parts for line in lines):
        quantity, amount = found.get((line.kind, line.detail), (0, 0))
        found[line.kind, line.detail] = quantity + line.quantity, amount + line.amount
    return {key: value for key, value in found.items() if value != (0, 0)}


@unhurried
@given(any_terms, befores, uses, uses)
def test_pricing_a_then_b_costs_what_a_and_b_cost_line_by_line(
    drawn: Terms, before: int, first: Use, second: Use
) -> None:
    plan = compile_terms(drawn)
    once = price_usage(plan, first.plus(second), Position(0, before))
    twice = (
        price_usage(plan, first, Position(0, before)),
        price_usage(plan, second, Position(0, before, first)),
    )
    assert merged(*twice) == merged(once)


@unhurried
@given(any_terms, befores, uses, uses)
def test_more_use_never_costs_less_in_any_line(
    drawn: Terms, before: int, first: Use, more: Use
) -> None:
    plan = compile_terms(drawn)
    for line in price_usage(plan, more, Position(0, before, first)):
        assert line.amount >= 0
        assert line.quantity >= 0


@unhurried
@given(any_terms, befores, uses)
def test_each_line_is_the_exact_price_rounded_half_up_once(
    drawn: Terms, before: int, use: Use
) -> None:
    """Against fractions: no line is off by more than half a hao, and a half goes up."""
    season = drawn.seasons[-1]
    plan = compile_terms(drawn)
    lines = price_segment(Segment(plan, len(drawn.seasons) - 1, use), before)
    by_band = dict(
        zip((*BANDS, "unbanded"), (*band_prices(season), season.prices["flat"]), strict=True)
    )
    energy = 0
    for line in lines:
        if line.kind is LineKind.ENERGY:
            assert line.price == (by_band[line.detail] if line.detail else season.prices["flat"])
            exact = Fraction(line.quantity * line.price, 1000)
            energy += line.amount
        elif line.kind is LineKind.STEP:
            exact = Fraction(line.quantity * line.price, 1000)
            energy += line.amount
        else:
            exact = Fraction(line.quantity * line.price, 1000) + Fraction(
                energy * line.share, 10_000
            )
        assert -Fraction(1, 2) < line.amount - exact <= Fraction(1, 2)
    assert sum(line.quantity for line in lines if line.kind is LineKind.ENERGY) == use.total


@unhurried
@given(any_terms, befores, uses)
def test_steps_charge_every_unit_above_a_limit_and_none_below(
    drawn: Terms, before: int, use: Use
) -> None:
    plan = compile_terms(drawn)
    found = {
        line.detail: line.quantity
        for line in price_segment(Segment(plan, 0, use), before)
        if line.kind is LineKind.STEP
    }
    limits = [step.above for step in drawn.steps] + [2**80]
    for number, step in enumerate(drawn.steps):
        inside = range(max(before, limits[number]), min(before + use.total, limits[number + 1]))
        wanted = max(0, inside.stop - inside.start) if step.surcharge else 0
        assert found.get(str(number + 2), 0) == wanted


def test_an_interval_across_a_limit_is_split_there() -> None:
    lines = price_usage(compile_terms(STEPPED), Use(flat=300_000), Position(0, 150_000))
    assert lines == (
        Line(LineKind.ENERGY, "", 300_000, 6_000, 0, 1_800_000),
        Line(LineKind.STEP, "2", 200_000, 500, 0, 100_000),
        Line(LineKind.STEP, "3", 50_000, 3_000, 0, 150_000),
    )


@pytest.mark.parametrize(("used", "step"), [(0, 1), (199_999, 1), (200_000, 2), (400_000, 3)])
def test_the_step_position_changes_with_the_unit_after_the_limit(used: int, step: int) -> None:
    plan = compile_terms(STEPPED)
    assert step_of(plan, used) == step
    next_unit = price_usage(plan, Use(flat=1), Position(0, used))
    told = [line.detail for line in next_unit if line.kind is LineKind.STEP]
    assert told == ([str(step)] if step > 1 else [])


def test_five_bands_cost_their_own_price_and_unknown_use_the_flat_one_and_says_so() -> None:
    bands = {"spike": 12_000, "peak": 9_000, "flat": 6_000, "valley": 3_000, "deep": 2_000}
    plan = compile_terms(replace(FLAT, seasons=(Season(1, 1, bands),)))
    lines = price_usage(plan, Use(1_000, 2_000, 3_000, 4_000, 5_000, 6_000))
    told = [(line.detail, line.price, line.amount) for line in lines]
    assert told == [
        ("spike", 12_000, 12_000),
        ("peak", 9_000, 18_000),
        ("flat", 6_000, 18_000),
        ("valley", 3_000, 12_000),
        ("deep", 2_000, 10_000),
        ("unbanded", 6_000, 36_000),
    ]


def test_bands_that_a_tariff_does_not_name_cost_what_their_neighbour_costs() -> None:
    assert band_prices(Season(1, 1, {"flat": 5})) == (5, 5, 5, 5, 5)
    assert band_prices(Season(1, 1, {"flat": 5, "peak": 8, "valley": 2})) == (8, 8, 5, 2, 2)
    assert band_prices(Season(1, 1, {"flat": 5, "spike": 9, "deep": 1})) == (9, 5, 5, 5, 1)


def test_fees_are_lines_of_their_own_on_use_and_on_the_energy_amount() -> None:
    plan = compile_terms(
        replace(STEPPED, loss=Fee(0, 300), public=Fee(200, 0), service=Fee(100, 50))
    )
    lines = price_usage(plan, Use(flat=10_000), Position(0, 400_000))
    assert amounts_of(lines) == {
        LineKind.ENERGY: 60_000,
        LineKind.STEP: 30_000,
        LineKind.LOSS: 2_700,
        LineKind.PUBLIC: 2_000,
        LineKind.SERVICE: 1_000 + 450,
    }
    assert total_of(lines) == 96_150
    told = [(line.kind, line.detail) for line in lines]
    fees_of = [LineKind.LOSS, LineKind.PUBLIC, LineKind.SERVICE]
    assert told == [(LineKind.ENERGY, ""), (LineKind.STEP, "3"), *((kind, "") for kind in fees_of)]


@unhurried
@given(st.integers(0, 10**9), st.integers(28, 31), st.data())
def test_the_monthly_fee_sums_to_the_whole_month_however_the_days_are_shared(
    monthly: int, length: int, data: st.DataObject
) -> None:
    plan = compile_terms(replace(FLAT, monthly=monthly))
    marks = [0, *sorted(data.draw(st.lists(st.integers(0, length)))), length]
    parts = [
        price_usage(plan, Use(), Position(), Days(first, last, length))
        for first, last in pairwise(marks)
    ]
    assert sum(total_of(lines) for lines in parts) == monthly
    for lines in parts:
        for line in lines:
            exact = Fraction(monthly * line.quantity, length)
            assert abs(line.amount - exact) < 1


def test_a_day_of_the_monthly_fee_is_rounded_half_up() -> None:
    shares = [
        total_of(price_usage(compile_terms(replace(FLAT, monthly=fee)), Use(), days=Days(0, 1, 30)))
        for fee in (14, 15, 44, 45)
    ]
    assert shares == [0, 1, 1, 2]


def test_the_monthly_fee_is_due_on_days_without_use_and_only_on_days_that_ended() -> None:
    plan = compile_terms(replace(FLAT, monthly=310_000))
    assert price_usage(plan, Use(), Position(), Days(0, 1, 31)) == (
        Line(LineKind.FIXED, "", 1, 310_000, 0, 10_000),
    )
    assert price_usage(plan, Use(), Position(), Days(7, 7, 31)) == ()


@unhurried
@given(any_terms, any_terms, st.lists(st.tuples(st.booleans(), uses, month_days()), max_size=3))
def test_steps_go_on_from_version_to_version_within_a_month(
    one: Terms, other: Terms, drawn: list[tuple[bool, Use, Days]]
) -> None:
    plans = compile_terms(one), compile_terms(other)
    segments = [Segment(plans[which], 0, use, days, 777) for which, use, days in drawn]
    used = 0
    priced = price_to_date(segments)
    for segment, lines in zip(segments, priced, strict=True):
        assert lines == price_segment(segment, 777 + used)
        used += segment.use.total
    assert cost_to_date(segments) == amounts_of([line for lines in priced for line in lines])


def test_a_year_of_steps_reaches_over_its_months_and_begins_anew() -> None:
    plan = compile_terms(HOUSEHOLD)
    june = Segment(plan, 0, Use(peak=100_000), year_before=2_700_000)
    ((_, step),) = price_to_date([june])
    assert step == Line(LineKind.STEP, "2", 40_000, 500, 0, 20_000)
    ((energy,),) = price_to_date([june._replace(year_before=0)])
    assert energy == Line(LineKind.ENERGY, "peak", 100_000, 5_583, 0, 558_300)


def test_a_segment_that_says_nothing_of_the_year_begins_it() -> None:
    plan = compile_terms(HOUSEHOLD)
    ((energy,),) = price_to_date([Segment(plan, 0, Use(peak=2_760_000))])
    assert energy.quantity == 2_760_000
    ((_, step),) = price_to_date([Segment(plan, 0, Use(peak=2_760_001))])
    assert (step.kind, step.quantity) == (LineKind.STEP, 1)


def test_a_fee_of_which_one_half_is_named_has_no_other_half() -> None:
    plan = compile_terms(replace(FLAT, loss=Fee(share=300), public=Fee(per_unit=100)))
    lines = price_usage(plan, Use(flat=10_000))
    assert amounts_of(lines) == {
        LineKind.ENERGY: 60_000,
        LineKind.LOSS: 1_800,
        LineKind.PUBLIC: 1_000,
    }


@unhurried
@given(any_terms, befores, uses, uses)
def test_a_corrected_reading_posts_the_difference_and_nothing_else(
    drawn: Terms, before: int, wrong: Use, right: Use
) -> None:
    """Period to date: what was posted plus the difference is what a clean run would have posted."""
    plan = compile_terms(drawn)
    posted = price_segment(Segment(plan, 0, wrong), before)
    clean = price_segment(Segment(plan, 0, right), before)
    correction = difference(clean, posted)
    assert merged(posted, correction) == merged(clean)
    assert difference(clean, clean) == ()


@pytest.mark.parametrize(
    ("use", "position"),
    [
        (Use(flat=-1), Position()),
        (Use(peak=5, flat=-1), Position(0, 0, Use(peak=9, flat=9))),
        (Use(), Position(0, -1)),
        (Use(flat=9), Position(0, 0, Use(flat=-3))),
    ],
)
def test_negative_use_is_never_priced(use: Use, position: Position) -> None:
    with pytest.raises(ValueError, match="never negative"):
        price_usage(compile_terms(FLAT), use, position)


def test_use_beyond_any_register_is_still_exact() -> None:
    lines = price_usage(compile_terms(STEPPED), Use(flat=10**30 + 1))
    assert lines[0].amount == 6 * 10**30 + 6
    assert lines[-1].amount == 3 * (10**30 + 1 - 400_000)


def test_half_a_hao_goes_up_and_less_goes_down() -> None:
    plan = compile_terms(replace(FLAT, seasons=(Season(1, 1, {"flat": 1}),)))
    assert [total_of(price_usage(plan, Use(flat=wh))) for wh in (499, 500, 1_499, 1_500)] == [
        0,
        1,
        1,
        2,
    ]


@unhurried
@given(fees, uses)
def test_a_surcharge_free_step_has_no_line_but_still_ends_the_one_before(
    fee: Fee, use: Use
) -> None:
    drawn = replace(FLAT, steps=(Step(100, 50), Step(200, 0)), public=fee)
    lines = price_usage(compile_terms(drawn), use)
    steps = {line.detail: line.quantity for line in lines if line.kind is LineKind.STEP}
    assert steps == ({"2": min(use.total, 200) - 100} if use.total > 100 else {})


@pytest.mark.parametrize("module", [rules, calendar, terms])
def test_no_float_and_no_clock_is_in_the_pure_files(module: ModuleType) -> None:
    tree = ast.parse(Path(module.__file__ or "").read_text())
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Div)
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert not (isinstance(node, ast.Attribute) and node.attr in {"now", "today", "utcnow"})
        assert not (isinstance(node, ast.Name) and node.id == "float")
