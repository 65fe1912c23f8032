"""Load control of the virtual prepaid meters 负控: trips on too much power or on a resistive step, gives
back after minutes, stays open after its count. Pure; time in whole unix seconds.

How a real meter judges a step is not public. Here a step is an appliance that is plugged in, or is still
plugged in when power comes back; it is resistive, so its power factor is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OVERLOAD, MALIGNANT_LOAD = "overload", "malignant_load"
_RESISTIVE = 1000  # permille


@dataclass(frozen=True, slots=True)
class LoadControl:
    """What the meter was told: its registers 0480 to 0486. `odd_word`, `odd_byte`: two that nobody can name,
    held as they were written."""

    on: bool = False
    most_w: int = 0
    step_w: int = 0
    factor_permille: int = 0
    trips: int = 0
    restore_minutes: int = 0
    odd_word: int = 0
    odd_byte: int = 0


@dataclass(frozen=True, slots=True)
class LoadMemory:
    """What it remembers: the appliance's power, whether that is a step that was not judged yet, what it cut
    for at unix second `cut_at` (empty: it did not), and how often."""

    appliance_w: int = 0
    stepped: bool = False
    cut: str = ""
    cut_at: int = 0
    trips: int = 0


def plugged(memory: LoadMemory, watts: int) -> LoadMemory:
    """An appliance is plugged in, 0: out."""
    return replace(memory, appliance_w=watts, stepped=watts > 0)


def judged(control: LoadControl, memory: LoadMemory, *, power_w: int, at: int) -> LoadMemory:
    """After a look at the power that is drawn now, the appliance's included."""
    found = ""
    if control.on and power_w > control.most_w > 0:
        found = OVERLOAD
    elif (
        control.on
        and memory.stepped
        and memory.appliance_w >= control.step_w > 0
        and control.factor_permille <= _RESISTIVE
    ):
        found = MALIGNANT_LOAD
    memory = replace(memory, stepped=False)
    return replace(memory, cut=found, cut_at=at, trips=memory.trips + 1) if found else memory


def back_at(control: LoadControl, memory: LoadMemory) -> int | None:
    """When a meter that cut closes by itself; None: not without somebody who switches its control off."""
    if not control.on:
        return memory.cut_at
    if memory.trips >= control.trips > 0:
        return None
    return memory.cut_at + 60 * control.restore_minutes


def given_back(memory: LoadMemory) -> LoadMemory:
    """Power is back; what is still plugged in is a step once more."""
    return replace(memory, cut="", stepped=memory.appliance_w > 0)
