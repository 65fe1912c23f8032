"""When valves are moved, and what counts as flow through one that is shut (A18, A26)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backend.control.exercises import begins_now
from backend.kernel.clock import CHINA
from backend.metering.flow import ONE_STEP, moved_while_shut
from backend.metering.rules import MeterKind

THREE = datetime(2026, 11, 22, 19, tzinfo=UTC)  # 03:00 in China
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("off", "now"), [(-1, False), (0, True), (119, True), (120, False), (720, False)]
)
def test_exercises_begin_in_two_hours_of_a_night(off: int, now: bool) -> None:
    assert begins_now(180, THREE + timedelta(minutes=off), CHINA) is now


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        (500, 500, 0),
        (500, 500 + ONE_STEP, 0),
        (500, 501 + ONE_STEP, 1 + ONE_STEP),
        (500, 400, 0),  # it went back: another rule's business
        (99_999_990, 20, 30),  # its register began anew
    ],
)
def test_what_moves_by_more_than_a_step_is_flow(before: int, after: int, moved: int) -> None:
    kind = MeterKind.WATER
    assert moved_while_shut(before, after, kind=kind, since=THREE, until=THREE + HOUR) == moved
