"""Select before operate: a register tells whether the meter at an address is the one of the archive."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.metering.rules import MeterKind, may_be_the_same

HALF_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("last", "new", "phases", "elapsed", "same"),
    [
        (1_234_560, 1_234_560, 1, HALF_HOUR, True),
        (1_234_560, 1_240_000, 1, HALF_HOUR, True),
        (1_234_560, 1_234_550, 1, HALF_HOUR, False),  # it went back
        (1_234_560, 1_273_000, 1, HALF_HOUR, False),  # 38 kWh in half an hour through 100 A
        (1_234_560, 1_273_000, 3, HALF_HOUR, True),  # behind transformers it may
        (1_234_560, 1_273_000, 1, timedelta(days=1), True),
        (999_999_990, 30, 1, HALF_HOUR, True),  # it began anew
        (1_234_560, 1_230_000, 1, -HALF_HOUR, False),
    ],
)
def test_a_register_stands_where_the_archive_left_it_or_where_use_may_have_brought_it(
    last: int, new: int, phases: int, elapsed: timedelta, same: bool
) -> None:
    found = may_be_the_same(last, new, kind=MeterKind.ELECTRICITY, phases=phases, elapsed=elapsed)
    assert found is same
