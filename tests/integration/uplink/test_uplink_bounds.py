"""How far a genuine gateway is believed: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backend.metering.rules import MeterKind, may_pass
from backend.uplink.message import Read, RelayState
from workers.uplink_bounds import Doubt, Mark, Pace, doubt_of_instant, doubt_of_total

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SINGLE = Pace.of(MeterKind.ELECTRICITY, phases=1)
WATER = Pace.of(MeterKind.WATER, phases=0)


def _read(at: datetime) -> Read:
    return Read(
        meter="M-1",
        frame_no=1,
        at=at,
        relay=RelayState.CLOSED,
        energy_wh=1,
        volume_l=2,
        heat_wh=3,
    )


def _follows(before: int, after: int, *, hours: float = 1, pace: Pace = SINGLE) -> Doubt | None:
    later = Mark(NOON + hours * HOUR, after)
    return doubt_of_total(later, pace=pace, before=Mark(NOON, before), after=None)


def test_each_kind_of_meter_is_read_by_its_own_register() -> None:
    kinds = (MeterKind.ELECTRICITY, MeterKind.WATER, MeterKind.HEAT)
    assert [Pace.of(kind, phases=1).total(_read(NOON)) for kind in kinds] == [1, 2, 3]


@pytest.mark.parametrize(
    ("ahead", "doubt"),
    [
        (timedelta(seconds=300), None),
        (timedelta(seconds=301), Doubt.FUTURE),
        (timedelta(days=-92), None),
        (timedelta(days=-92, seconds=-1), Doubt.TOO_OLD),
    ],
)
def test_a_reading_is_not_of_the_future_and_not_of_a_time_that_nobody_kept(
    ahead: timedelta, doubt: Doubt | None
) -> None:
    assert doubt_of_instant(_read(NOON + ahead), received_at=NOON) is doubt


@pytest.mark.parametrize(
    ("before", "after", "hours", "doubt"),
    [
        (5000, 5000, 1, None),
        (5000, 4999, 1, Doubt.BACKWARDS),
        (5000, 0, 1, Doubt.BACKWARDS),
        (0, 27_000, 1, None),  # 25 kW for an hour and the slack
        (0, 27_001, 1, Doubt.TOO_FAST),
        (0, 2000, 0, None),
        (0, 2001, 0, Doubt.TOO_FAST),
        (0, 25_000 * 72 + 2000, 72, None),
    ],
)
def test_a_single_phase_meter_runs_forward_and_at_no_more_than_it_can_carry(
    before: int, after: int, hours: float, doubt: Doubt | None
) -> None:
    assert _follows(before, after, hours=hours) is doubt


@pytest.mark.parametrize(
    ("before", "after", "hours", "doubt"),
    [
        (999_995_000, 4_000, 1, None),
        (999_995_000, 40_000, 1, Doubt.BACKWARDS),  # 45 kWh in an hour: it cannot have gone round
        (899_000_000, 1_000, 10_000, Doubt.BACKWARDS),  # not over 90 % of the range before
        (999_995_000, 100_000_000, 10_000, Doubt.BACKWARDS),  # not under 10 % after
        (9_999_000, 1_000, 1, None),  # 5 digits of kWh at 0.1 kWh
        (9_500, 100, 1, Doubt.BACKWARDS),  # no register is so small
    ],
)
def test_a_register_that_went_round_has_run_on_and_any_other_fall_is_a_lie(
    before: int, after: int, hours: float, doubt: Doubt | None
) -> None:
    assert _follows(before, after, hours=hours) is doubt


def test_a_late_reading_lies_between_its_neighbours() -> None:
    before, after = Mark(NOON, 1000), Mark(NOON + 2 * HOUR, 3000)
    late = NOON + HOUR
    for total, doubt in ((1000, None), (2000, None), (3000, None)):
        assert doubt_of_total(Mark(late, total), pace=SINGLE, before=before, after=after) is doubt
    lie = doubt_of_total(Mark(late, 3001), pace=SINGLE, before=before, after=after)
    assert lie is Doubt.BACKWARDS
    lie = doubt_of_total(Mark(late, 999), pace=SINGLE, before=before, after=after)
    assert lie is Doubt.BACKWARDS


def test_water_and_three_phases_may_run_faster() -> None:
    assert _follows(0, 300_000, pace=WATER) is None
    assert _follows(0, 303_000, pace=WATER) is Doubt.TOO_FAST
    three = Pace.of(MeterKind.ELECTRICITY, phases=3)
    assert _follows(0, 500_000, pace=three) is None
    assert _follows(0, 503_000, pace=three) is Doubt.TOO_FAST


@pytest.mark.parametrize("kind", list(MeterKind))
@pytest.mark.parametrize("hours", [0, 1, 30])
def test_what_is_believed_of_a_gateway_is_never_held_by_charging(
    kind: MeterKind, hours: int
) -> None:
    pace = Pace.of(kind, phases=3)
    most = pace.most_an_hour * hours + 2_000
    at = NOON + timedelta(hours=hours)
    assert pace.allows(Mark(NOON, 0), Mark(at, most)) is None
    assert may_pass(most, kind, timedelta(hours=hours))
