"""What a circuit may draw: overloads and malignant loads, seen from consecutive readings (A24, C21).

Pure. A malignant load (恶性负载: a kettle, an immersion heater) is a step of power that is nearly resistive.
Between two readings P and S = U x I are known, so the reactive power is Q = sqrt(S² - P²), and the power
factor of what was switched on is dP / sqrt(dP² + dQ²). Parameters as dormitory meters of the field have them
(reference/domain-notes.md 2.15, meter-protocols.md 5.3: power step, power factor, count, recover time).
Seen from afar this knows loads that were on at a reading: a meter's own detection is faster, and is believed
where its profile tells of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import isqrt
from typing import NamedTuple

from backend.kernel.errors import InvalidInput

from .supply_rules import SafetyLock

_MOST_W = 100_000
_MOST_RANGES = 8
_MINUTE = timedelta(minutes=1)
# What the registers of load control hold (reference/meter-protocols.md 5.3).
_MOST_IN_A_METER = 0xFFFF
_MOST_MINUTES = 0xFF
# P and S are rounded by the meter: so little below P is no contradiction, more is (a three-phase meter tells
# the voltage and current of one phase), and nothing is said of what contradicts itself.
_ROUNDED = 95  # percent
_MICRO = 1_000_000


class RunBy(StrEnum):
    """Who looks after a circuit's load: its meter, which is faster, or the cloud, at each reading."""

    METER = "METER"
    CLOUD = "CLOUD"


class Load(NamedTuple):
    """What a reading tells of a circuit: power in W (positive: drawn), mV and mA; None when not told."""

    at: datetime
    power_w: int | None
    voltage_mv: int | None
    current_ma: int | None


@dataclass(frozen=True, slots=True)
class LoadGuard:
    """负载规则. `most_w`: above it is an overload. `step_w`: a step of so much or more may be malignant.
    None: not looked for. `factor_permille`: from this power factor on it is. `allowed`: steps in these ranges
    of W are none (an air conditioner's heater). After `restore` power comes back; the last of `trips_a_day`
    stays until an operator unlocks. `by_meter`: meters that can are told it and run it themselves."""

    most_w: int | None
    step_w: int | None
    factor_permille: int = 950
    allowed: tuple[tuple[int, int], ...] = ()
    restore: timedelta = timedelta(minutes=10)
    trips_a_day: int = 3
    by_meter: bool = False


class Found(NamedTuple):
    """A load that is not allowed, with what it was seen by."""

    lock: SafetyLock
    detail: dict[str, str]


def find_load(
    guard: LoadGuard, *, before: Load | None, now: Load, within: timedelta
) -> Found | None:
    """What is wrong with the load of a circuit, None when nothing is. `before`: the reading before `now`;
    one that is older than `within` says nothing of a step."""
    if now.power_w is None:
        return None
    if guard.most_w is not None and now.power_w > guard.most_w:
        detail = {"power_w": str(now.power_w), "most_w": str(guard.most_w)}
        return Found(SafetyLock.OVERLOAD, detail)
    if guard.step_w is None or before is None or now.at - before.at > within:
        return None
    step = _step(before, now)
    if step is None or step[0] < guard.step_w or step[1] < guard.factor_permille:
        return None
    watts, permille = step
    if any(low <= watts <= high for low, high in guard.allowed):
        return None
    whole, rest = divmod(permille, 1000)
    detail = {"step_w": str(watts), "power_factor": f"{whole}.{rest:03d}"}
    return Found(SafetyLock.MALIGNANT_LOAD, detail)


def _step(before: Load, now: Load) -> tuple[int, int] | None:
    """Watts of what was switched on between two readings, and its power factor in permille; None when
    nothing was, or it cannot be told."""
    old, new = _reactive(before), _reactive(now)
    if old is None or new is None or before.power_w is None or now.power_w is None:
        return None
    watts = now.power_w - before.power_w
    if watts <= 0:
        return None
    active = _MICRO * watts
    return watts, 1000 * active // isqrt(active**2 + (new - old) ** 2)


def _reactive(load: Load) -> int | None:
    """Reactive power in millionths of a var; None when it cannot be told, or power is given back."""
    if load.power_w is None or load.power_w < 0:
        return None
    if load.power_w == 0 and load.current_ma == 0:
        return 0
    if load.voltage_mv is None or load.current_ma is None:
        return None
    active, apparent = _MICRO * load.power_w, load.voltage_mv * load.current_ma
    if 100 * apparent < _ROUNDED * active:
        return None
    return isqrt(max(0, apparent**2 - active**2))


def restore_at(guard: LoadGuard, *, trips_today: int, at: datetime) -> datetime | None:
    """When power comes back by itself after a trip at `at`, the first of the day when `trips_today` is 0;
    None: not before an operator unlocks."""
    return None if trips_today + 1 >= guard.trips_a_day else at + guard.restore


def guard_of(
    *,
    most_w: int | None,
    step_w: int | None,
    factor_permille: int,
    allowed: Sequence[tuple[int, int]],
    restore_minutes: int,
    trips_a_day: int,
    by_meter: bool = False,
) -> LoadGuard:
    """A guard as it is kept.

    Raises InvalidInput: neither a limit nor a step, figures nobody can mean, a step above the limit, a power
    factor that motors have too, a range that is none, no time or no trip.
    """
    if most_w is None and step_w is None:
        raise InvalidInput("say the most power, or the step of a malignant load", field="mostW")
    for name, watts in (("mostW", most_w), ("stepW", step_w)):
        if watts is not None and not 100 <= watts <= _MOST_W:
            raise InvalidInput(f"{name} is 100 to {_MOST_W} W", field=name)
    if most_w is not None and step_w is not None and step_w > most_w:
        raise InvalidInput("a step above the most power is an overload already", field="stepW")
    if not 800 <= factor_permille <= 1000:
        raise InvalidInput("a resistive load has a power factor of 0.8 to 1", field="powerFactor")
    if len(allowed) > _MOST_RANGES or any(not 0 < low < high <= _MOST_W for low, high in allowed):
        raise InvalidInput(
            f"{_MOST_RANGES} ranges of W at most, each from low to high", field="allowed"
        )
    if not 1 <= restore_minutes <= 24 * 60:
        raise InvalidInput("power comes back after 1 to 1440 minutes", field="restoreMinutes")
    if not 1 <= trips_a_day <= 20:
        raise InvalidInput("a circuit is locked by 1 to 20 trips a day", field="tripsADay")
    return LoadGuard(
        most_w,
        step_w,
        factor_permille,
        tuple(sorted(allowed)),
        timedelta(minutes=restore_minutes),
        trips_a_day,
        by_meter,
    )


def limits_for(guard: LoadGuard) -> tuple[dict[str, int], str]:
    """What a meter is told so that it runs a guard itself, and why it cannot; empty when it can. A meter
    holds a limit and a step, gives power back after a byte of minutes, and knows no white list."""
    if not guard.by_meter:
        return {}, "the guard is the cloud's to run"
    if guard.most_w is None or guard.step_w is None:
        return {}, "a meter wants both the most power and the step"
    if guard.allowed:
        return {}, "a meter knows no white list"
    minutes = guard.restore // _MINUTE
    if minutes > _MOST_MINUTES or guard.most_w > _MOST_IN_A_METER:
        return {}, f"a meter holds {_MOST_MINUTES} minutes and {_MOST_IN_A_METER} W at most"
    return {
        "on": 1,
        "most_w": guard.most_w,
        "step_w": guard.step_w,
        "factor_permille": guard.factor_permille,
        "trips": guard.trips_a_day,
        "restore_minutes": minutes,
    }, ""
