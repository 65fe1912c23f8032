"""A kettle is found, an air conditioner and what cannot be told are left alone (A24)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.control.load_rules import (
    Load,
    LoadGuard,
    find_load,
    guard_of,
    limits_for,
    restore_at,
)
from backend.control.supply_rules import SafetyLock
from backend.kernel.errors import InvalidInput

AT = datetime(2026, 11, 23, 4, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
WITHIN = 2 * HALF_HOUR
GUARD = LoadGuard(most_w=2_500, step_w=800, allowed=((1_000, 1_200),))


def load(power_w: int, var: int = 0, *, ago: timedelta = timedelta(0)) -> Load:
    """A circuit at 220 V that draws `power_w` and `var`."""
    apparent = sqrt(power_w**2 + var**2)
    return Load(AT - ago, power_w, 220_000, round(1_000_000 * apparent / 220_000))


def found(before: Load | None, now: Load, guard: LoadGuard = GUARD) -> SafetyLock | None:
    """What is wrong."""
    seen = find_load(guard, before=before, now=now, within=WITHIN)
    return None if seen is None else seen.lock


@pytest.mark.parametrize(
    ("before", "now", "lock"),
    [
        ((60, 20), (1_560, 20), SafetyLock.MALIGNANT_LOAD),  # a kettle
        ((60, 20), (860, 20), SafetyLock.MALIGNANT_LOAD),  # a step of just so much
        ((60, 20), (859, 20), None),
        ((60, 20), (1_160, 20), None),  # in the white list
        ((60, 20), (1_060, 20), None),
        ((60, 20), (1_059, 20), SafetyLock.MALIGNANT_LOAD),
        ((60, 20), (1_560, 700), None),  # a motor: power factor 0.91
        ((1_560, 20), (60, 20), None),  # switched off
        ((1_560, 20), (1_560, 20), None),  # on before
        ((60, 20), (2_500, 2_400), None),
        ((60, 20), (2_501, 2_400), SafetyLock.OVERLOAD),
        ((0, 0), (1_500, 0), SafetyLock.MALIGNANT_LOAD),  # after the circuit was off
    ],
)
def test_what_is_switched_on_is_told_from_two_readings(
    before: tuple[int, int], now: tuple[int, int], lock: SafetyLock | None
) -> None:
    assert found(load(*before, ago=HALF_HOUR), load(*now)) is lock


def test_what_was_seen_is_told_in_words() -> None:
    kettle = find_load(GUARD, before=load(60, ago=HALF_HOUR), now=load(1_560), within=WITHIN)
    assert kettle is not None
    assert kettle.detail["step_w"] == "1500"
    assert float(kettle.detail["power_factor"]) >= 0.99
    over = find_load(GUARD, before=None, now=load(3_000), within=WITHIN)
    assert over is not None
    assert over.detail == {"power_w": "3000", "most_w": "2500"}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, load(1_560)),
        (load(60, ago=WITHIN + timedelta(seconds=1)), load(1_560)),
        (load(60, ago=HALF_HOUR)._replace(power_w=None), load(1_560)),
        (load(60, ago=HALF_HOUR), load(1_560)._replace(power_w=None)),
        (load(60, ago=HALF_HOUR)._replace(power_w=-60), load(1_560)),
        (load(60, ago=HALF_HOUR)._replace(voltage_mv=None), load(1_560)),
        (load(60, ago=HALF_HOUR), load(1_560)._replace(current_ma=None)),
        # A three-phase meter: the current of one phase cannot carry the power of all.
        (load(60, ago=HALF_HOUR), load(1_560)._replace(current_ma=2_500)),
    ],
)
def test_what_cannot_be_told_switches_nobody_off(before: Load | None, now: Load) -> None:
    assert found(before, now) is None


def test_a_reading_just_old_enough_still_tells_of_a_step() -> None:
    assert found(load(60, ago=WITHIN), load(1_560)) is SafetyLock.MALIGNANT_LOAD


def of_one_phase(power_w: int, current_ma: int | None, *, mv: int | None = 200_000) -> Load:
    """A circuit at 200 V, so that what it draws can be worked out by hand."""
    return Load(AT, power_w, mv, current_ma)


OFF = of_one_phase(0, 0)._replace(at=AT - HALF_HOUR)
IDLE = of_one_phase(0, 1_400)._replace(at=AT - HALF_HOUR)  # a motor that idles: 280 var


@pytest.mark.parametrize(
    ("before", "now", "factor"),
    [
        (OFF, of_one_phase(1_000, 5_000), "1.000"),
        (OFF, of_one_phase(960, 5_000), "0.960"),  # 280 var with it
        (IDLE, of_one_phase(960, 6_000), "0.909"),  # 720 var: 440 more than before
        (OFF._replace(voltage_mv=None), of_one_phase(1_000, 5_000), "1.000"),  # no voltage when off
        (OFF, of_one_phase(1_000, 4_750), "1.000"),  # 95 % is rounding
        (OFF, of_one_phase(1_000, 4_749), None),  # less contradicts itself
        (OFF, of_one_phase(1_000, 0), None),
        (IDLE._replace(voltage_mv=None), of_one_phase(1_000, 5_000), None),
    ],
)
def test_the_power_factor_of_what_was_switched_on(
    before: Load, now: Load, factor: str | None
) -> None:
    seen = find_load(LoadGuard(None, 800, 900), before=before, now=now, within=WITHIN)
    assert (seen and seen.detail["power_factor"]) == factor


def test_the_very_factor_of_the_guard_is_malignant_and_less_is_not() -> None:
    now = of_one_phase(960, 5_000)
    assert found(OFF, now, LoadGuard(None, 960, 960)) is SafetyLock.MALIGNANT_LOAD
    assert found(OFF, now, LoadGuard(None, 960, 961)) is None


def test_a_guard_looks_only_for_what_it_was_told() -> None:
    step = LoadGuard(most_w=None, step_w=800)
    most = LoadGuard(most_w=2_500, step_w=None)
    assert found(load(0, ago=HALF_HOUR), load(9_000), step) is SafetyLock.MALIGNANT_LOAD
    assert found(load(0, ago=HALF_HOUR), load(2_000), most) is None
    assert found(None, load(2_501), most) is SafetyLock.OVERLOAD


@given(
    st.integers(0, 2_400),
    st.integers(0, 500),
    st.integers(0, 2_400),
    st.integers(0, 2_000),
)
def test_an_added_load_below_the_step_or_the_factor_is_never_malignant(
    base: int, base_var: int, added: int, added_var: int
) -> None:
    assume(base + added <= 2_500)
    lock = found(load(base, base_var, ago=HALF_HOUR), load(base + added, base_var + added_var))
    if added < 799 or added_var > 0.36 * added + 5:
        assert lock is None
    if added > 1_210 and added_var == 0:
        assert lock is SafetyLock.MALIGNANT_LOAD


def test_power_comes_back_until_the_trip_that_locks() -> None:
    after = [restore_at(GUARD, trips_today=n, at=AT) for n in range(4)]
    back = AT + timedelta(minutes=10)
    assert after == [back, back, None, None]
    once = LoadGuard(most_w=2_000, step_w=None, trips_a_day=1)
    assert restore_at(once, trips_today=0, at=AT) is None


GOOD: dict[str, Any] = {
    "most_w": 2_500,
    "step_w": 800,
    "factor_permille": 950,
    "allowed": [(1_500, 1_600), (1_000, 1_200)],
    "restore_minutes": 10,
    "trips_a_day": 3,
}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"most_w": None, "step_w": None}, "mostW"),
        ({"most_w": 99}, "mostW"),
        ({"most_w": 100_001}, "mostW"),
        ({"step_w": 99}, "stepW"),
        ({"step_w": 2_501}, "stepW"),
        ({"factor_permille": 799}, "powerFactor"),
        ({"factor_permille": 1_001}, "powerFactor"),
        ({"allowed": [(1, 2)] * 9}, "allowed"),
        ({"allowed": [(0, 2)]}, "allowed"),
        ({"allowed": [(1, 2), (3, 3), (4, 5)]}, "allowed"),
        ({"allowed": [(2, 2)]}, "allowed"),
        ({"allowed": [(2, 100_001)]}, "allowed"),
        ({"restore_minutes": 0}, "restoreMinutes"),
        ({"restore_minutes": 1_441}, "restoreMinutes"),
        ({"trips_a_day": 0}, "tripsADay"),
        ({"trips_a_day": 21}, "tripsADay"),
    ],
)
def test_a_guard_that_makes_no_sense_is_refused(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        guard_of(**{**GOOD, **changed})
    assert refused.value.field == field


def test_a_guard_that_makes_sense_is_kept() -> None:
    allowed = ((1_000, 1_200), (1_500, 1_600))
    assert guard_of(**GOOD) == LoadGuard(2_500, 800, 950, allowed, timedelta(minutes=10), 3)
    for one in (
        {"most_w": None},
        {"step_w": None},
        {"step_w": 2_500},
        {"step_w": 100},
        {"most_w": 100, "step_w": None},
        {"most_w": 100_000},
        {"factor_permille": 800},
        {"factor_permille": 1_000},
        {"allowed": [(n, n + 1) for n in range(1, 9)]},
        {"allowed": [(1, 100_000)]},
        {"restore_minutes": 1},
        {"restore_minutes": 1_440},
        {"trips_a_day": 1},
        {"trips_a_day": 20},
    ):
        assert guard_of(**{**GOOD, **one})


@given(
    st.none() | st.integers(100, 100_000),
    st.none() | st.integers(100, 100_000),
    st.integers(1, 1_440),
    st.booleans(),
    st.booleans(),
)
def test_a_meter_is_told_all_of_a_guard_or_nothing(
    most: int | None, step: int | None, minutes: int, listed: bool, by_meter: bool
) -> None:
    guard = LoadGuard(
        most_w=most,
        step_w=step,
        allowed=((1_000, 1_200),) if listed else (),
        restore=timedelta(minutes=minutes),
        by_meter=by_meter,
    )
    limits, cannot = limits_for(guard)
    fits = by_meter and not listed and minutes <= 0xFF
    if fits and most is not None and step is not None and most <= 0xFFFF:
        assert cannot == ""
        assert limits == {
            "on": 1,
            "most_w": most,
            "step_w": step,
            "factor_permille": 950,
            "trips": 3,
            "restore_minutes": minutes,
        }
    else:
        assert (limits, bool(cannot)) == ({}, True)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"by_meter": False}, "the guard is the cloud's to run"),
        ({"most_w": None}, "a meter wants both the most power and the step"),
        ({"step_w": None}, "a meter wants both the most power and the step"),
        ({"allowed": ((1, 2),)}, "a meter knows no white list"),
        ({"restore": timedelta(minutes=256)}, "a meter holds 255 minutes and 65535 W at most"),
        ({"most_w": 65_536}, "a meter holds 255 minutes and 65535 W at most"),
        ({"most_w": 65_535, "restore": timedelta(minutes=255)}, ""),
    ],
)
def test_why_a_meter_cannot_run_a_guard_is_said_to_its_operator(
    changed: dict[str, Any], why: str
) -> None:
    guard = replace(LoadGuard(most_w=2_500, step_w=800, by_meter=True), **changed)
    limits, told = limits_for(guard)
    assert (bool(limits), told) == (why == "", why)


def test_a_meter_that_runs_a_guard_is_told_all_of_it() -> None:
    guard = LoadGuard(2_500, 800, 960, (), timedelta(minutes=15), 4, by_meter=True)
    assert limits_for(guard) == (
        {
            "on": 1,
            "most_w": 2_500,
            "step_w": 800,
            "factor_permille": 960,
            "trips": 4,
            "restore_minutes": 15,
        },
        "",
    )
