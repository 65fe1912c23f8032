"""An alarm fires on crossing, stands while the value hovers, and is armed again above hysteresis (C27)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.alerts.alarm_rules import (
    LEVELS,
    AlarmKind,
    Edge,
    check_levels,
    check_overload,
    falling,
    money_hysteresis,
    power_hysteresis,
    rising,
)
from backend.kernel.errors import InvalidInput
from backend.kernel.money import HAO_PER_YUAN

HAO = st.integers(-10_000_000, 10_000_000)
LEVEL = st.integers(0, 5_000_000)


def episodes(values: list[int], level: int) -> list[tuple[int, bool]]:
    """What a falling alarm did over values: (value, fired) at each edge."""
    edges, is_open = [], False
    for value in values:
        edge = falling(value, threshold=level, hysteresis=money_hysteresis(level), is_open=is_open)
        if edge is not Edge.STAYS:
            is_open = edge is Edge.FIRES
            edges.append((value, is_open))
    return edges


@given(values=st.lists(HAO, max_size=50), level=LEVEL)
def test_between_two_warnings_the_money_was_above_the_level_plus_hysteresis(
    values: list[int], level: int
) -> None:
    found = episodes(values, level)
    assert [fired for _, fired in found] == [each % 2 == 0 for each in range(len(found))]
    for value, fired in found:
        if fired:
            assert value <= level
        else:
            assert value > level + money_hysteresis(level)


@given(values=st.lists(HAO, max_size=50), level=LEVEL)
def test_after_every_value_an_alarm_stands_exactly_when_it_has_to(
    values: list[int], level: int
) -> None:
    is_open = False
    for value in values:
        edge = falling(value, threshold=level, hysteresis=money_hysteresis(level), is_open=is_open)
        is_open = edge is Edge.FIRES or (is_open and edge is Edge.STAYS)
        if value <= level:
            assert is_open
        if value > level + money_hysteresis(level):
            assert not is_open


@given(value=HAO, level=LEVEL, is_open=st.booleans())
def test_what_is_too_high_is_what_is_too_low_seen_in_a_mirror(
    value: int, level: int, is_open: bool
) -> None:
    low = falling(-value, threshold=-level - 1, hysteresis=30, is_open=is_open)
    assert rising(value, threshold=level, hysteresis=29, is_open=is_open) is low


@given(levels=st.lists(LEVEL, min_size=2, unique=True).map(sorted))
def test_of_two_levels_the_higher_one_is_never_armed_before_the_lower(levels: list[int]) -> None:
    for lower, higher in pairwise(levels):
        assert lower + money_hysteresis(lower) <= higher + money_hysteresis(higher)


@pytest.mark.parametrize(
    ("level", "yuan"), [(0, "1"), (10 * HAO_PER_YUAN, "1"), (50 * HAO_PER_YUAN, "5")]
)
def test_money_is_armed_again_a_tenth_above_and_at_least_a_yuan(level: int, yuan: str) -> None:
    assert money_hysteresis(level) == int(yuan) * HAO_PER_YUAN


def test_power_at_its_limit_is_allowed_and_is_armed_again_a_twentieth_below() -> None:
    hysteresis = power_hysteresis(2_000)
    assert rising(2_000, threshold=2_000, hysteresis=hysteresis, is_open=False) is Edge.STAYS
    assert rising(2_001, threshold=2_000, hysteresis=hysteresis, is_open=False) is Edge.FIRES
    assert rising(1_900, threshold=2_000, hysteresis=hysteresis, is_open=True) is Edge.STAYS
    assert rising(1_899, threshold=2_000, hysteresis=hysteresis, is_open=True) is Edge.ENDS


@pytest.mark.parametrize(
    ("low_1", "low_2"), [(10, 20), (-100, -100), (100, -100), (2_000_000_000, 0), (150, 100)]
)
def test_levels_that_make_no_sense_are_refused(low_1: int, low_2: int) -> None:
    with pytest.raises(InvalidInput):
        check_levels(low_1_hao=low_1, low_2_hao=low_2)


def test_levels_that_make_sense_are_taken() -> None:
    check_levels(low_1_hao=0, low_2_hao=0)
    check_levels(low_1_hao=200_000, low_2_hao=50_000)
    check_overload(None)
    check_overload(2_000)
    for watts in (0, -1, 1_000_001):
        with pytest.raises(InvalidInput):
            check_overload(watts)


def test_every_kind_of_alarm_has_a_level_and_the_last_warning_is_graver_than_the_first() -> None:
    assert set(LEVELS) == set(AlarmKind)
    assert LEVELS[AlarmKind.LOW_1] < LEVELS[AlarmKind.LOW_2] <= LEVELS[AlarmKind.ARREARS]
