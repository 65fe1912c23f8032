"""What can go wrong with a virtual meter, on demand. Any protocol's meters have these switches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(slots=True)
class MeterFaults:
    """Switches; the counters say how many more times it happens. The bus does the first group:

    silent: hears nothing, does nothing. silent_until: the same until that unix second (offline days).
    lose_requests: the request is lost on the way, the meter does not act. drop_answers: acts, its
    answer is lost. drop_write_answers: the same, for writes only. corrupt_answers: acts, its answer
    arrives with one bit wrong. double_answers: its answer arrives twice. delay_ms: answers late.

    The meter itself does the second: clock_offset_s: its clock is that far ahead (negative: behind).
    clock_drift_s: it gains so many seconds a day from the moment the fault is set. count_off: it
    shows and checks a purchase count that is off by so much.
    """

    silent: bool = False
    silent_until: int = 0
    lose_requests: int = 0
    drop_answers: int = 0
    drop_write_answers: int = 0
    corrupt_answers: int = 0
    double_answers: int = 0
    delay_ms: int = 0
    clock_offset_s: int = 0
    clock_drift_s: int = 0
    count_off: int = 0

    def use(self, name: str) -> bool:
        """Whether counter `name` was above zero; counts one down."""
        left: int = getattr(self, name)
        setattr(self, name, max(0, left - 1))
        return left > 0

    def mute(self, now: int) -> bool:
        """Whether the meter hears nothing at unix second `now`."""
        return self.silent or now < self.silent_until


FAULT_TYPES: Mapping[str, type] = {
    field.name: bool if field.name == "silent" else int for field in fields(MeterFaults)
}
SIGNED_FAULTS = frozenset({"clock_offset_s", "clock_drift_s", "count_off"})
