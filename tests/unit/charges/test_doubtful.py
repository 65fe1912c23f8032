"""A figure that was typed a hundred times too high is held against nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.charges.rules import JUMP, doubtful
from backend.kernel.money import ZERO, Money

_charged = st.tuples(st.integers(1, 10**6), st.integers(1, 10**9))


@pytest.mark.parametrize(
    ("charged", "found"),
    [
        ([], 0),
        ([(1_000, 600_000)], 0),  # the first price is what it is: nothing to compare it with
        ([(10_000, 60_000), (1_000, 600_000)], 594_000),
        ([(10_000, 60_000), (1_000, 600_000), (500, 3_000)], 594_000),
        ([(10_000, 60_000), (1_000, 30_000)], 0),  # five times: dear, and meant
        ([(10_000, 60_000), (1_000, 30_001)], 24_001),
        ([(10_000, 60_000), (1_000, 60), (1_000, 6_000)], 5_940),  # a price typed far too low
        ([(1_000, 60_000), (1_000, 6_000), (1_000, 60_000)], 54_000),  # the lowest counts
        ([(1_000, 100), (1_000, 900)], 800),  # of a price below one hao too
        ([(1_000, 0), (1_000, 6_000)], 0),  # a free month is no price
        ([(1_000, 1), (1_000, 6_000)], 5_999),  # one hao is
        ([(1, 1), (1, 6)], 5),
        ([(10_000, 60_000), (0, 600_000)], 0),  # no use, no price
        ([(10_000, 60_000), (1_000, -600)], 0),  # given back
        # Given back, but for what is read and not charged yet: it is not lost in the average.
        ([(10_000, 60_000), (80_000, 480_000), (3_000, 1_800_000)], 1_782_000),
    ],
)
def test_only_what_a_price_takes_beyond_its_jump_is_doubtful(
    charged: list[tuple[int, int]], found: int
) -> None:
    assert doubtful(charged) == Money(found)


@given(st.lists(_charged, max_size=6))
def test_what_is_doubtful_is_never_more_than_what_was_charged_and_nothing_without_a_jump(
    charged: list[tuple[int, int]],
) -> None:
    found = doubtful(charged)
    assert ZERO <= found <= Money(sum(hao for _, hao in charged))
    if all(hao * used <= JUMP * was * use for use, hao in charged for used, was in charged):
        assert found == ZERO
