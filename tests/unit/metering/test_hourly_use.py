"""A day counts as known only when readings tell all of it; what came after a silence is shared over it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.metering.hourly_use import whole_day

ALL = (1 << 24) - 1


def row(read: dict[int, int], gaps: dict[int, int] | None = None) -> tuple[int, str, str | None]:
    """A row of metering_hours: use by hour, and silences that ended in an hour."""
    hours = sum(1 << hour for hour in read)
    used = ",".join(str(read[hour]) for hour in sorted(read))
    if gaps is None:
        return hours, used, None
    return hours, used, ",".join(str(gaps.get(hour, 0)) for hour in sorted(read))


def test_a_day_that_was_read_all_through_is_as_it_was_read() -> None:
    assert whole_day(*row(dict.fromkeys(range(24), 5)), 1) == (5,) * 24


def test_what_came_after_a_silence_is_shared_over_its_hours_and_nothing_is_lost() -> None:
    read = {hour: 5 for hour in range(24) if not 9 <= hour <= 11}
    found = whole_day(*row(read | {12: 43}, {12: 1}), 1)
    assert found is not None
    assert found[9:13] == (10, 11, 11, 11)
    assert sum(found) == 20 * 5 + 43


def test_an_hour_between_two_sweeps_is_no_silence() -> None:
    read = {hour: 10 for hour in range(1, 24, 2)}
    assert whole_day(*row(read), 4) == (0, 10) * 12


def test_an_hour_at_either_end_may_be_missing_and_two_may_not() -> None:
    assert whole_day(*row(dict.fromkeys(range(1, 23), 5)), 1) == (0, *(5,) * 22, 0)
    assert whole_day(*row(dict.fromkeys(range(1, 24), 5)), 0) is None
    assert whole_day(*row(dict.fromkeys(range(23), 5)), 0) is None
    assert whole_day(*row(dict.fromkeys(range(24), 0)), 0) == (0,) * 24


def test_a_figure_that_is_not_there_is_nothing() -> None:
    assert whole_day(ALL, ",".join(["5"] * 23 + [""]), ",".join([""] * 24), 1) == (*(5,) * 23, 0)


@pytest.mark.parametrize(
    ("read", "gaps"),
    [
        (dict.fromkeys(range(2, 24), 5), None),  # the line came back in the morning
        (dict.fromkeys(range(24), 5), {0: 1}),  # its silence began the day before
        (dict.fromkeys(range(22), 5), None),  # it went silent in the evening
        (dict.fromkeys(range(24), 5) | {7: -3}, None),  # its register went back
        ({12: 100}, None),
    ],
)
def test_a_day_that_is_not_known_all_through_is_not_guessed(
    read: dict[int, int], gaps: dict[int, int] | None
) -> None:
    assert whole_day(*row(read, gaps), 1) is None


def test_the_hour_that_a_zone_repeats_counts_with_the_last() -> None:
    found = whole_day(*row(dict.fromkeys(range(25), 5)), 1)
    assert found is not None
    assert (len(found), found[23], sum(found)) == (24, 10, 125)


@given(
    st.dictionaries(st.integers(1, 23), st.tuples(st.integers(0, 10**6), st.booleans()), min_size=1)
)
def test_a_known_day_adds_up_to_what_was_read(read: dict[int, tuple[int, bool]]) -> None:
    read |= {0: (7, False)}
    used = {hour: figure for hour, (figure, _) in read.items()}
    gaps = {hour: int(silent) for hour, (_, silent) in read.items()}
    found = whole_day(*row(used, gaps), 1)
    if max(read) < 22:
        assert found is None
    else:
        assert found is not None
        assert sum(found) == sum(used.values())
        assert min(found) >= 0
