"""How far a reading of a gateway is believed: what a taken gateway may say is bounded (trust.md section 7).

Pure. A meter's register does not run backwards, does not run faster than a meter of its kind can, and is
not read in the future. The bounds are generous: they are against lies, not against odd use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backend.metering.rules import ONE_PHASE_WH_AN_HOUR, MeterKind
from backend.uplink.message import Read

AHEAD = timedelta(seconds=300)
OLDEST = timedelta(days=92)  # what a gateway may have kept while it was cut off
# Register units an hour: 25 kW on each phase for a meter that is connected itself; behind current
# transformers (three phases) 500 kW; DN 150 at its peak; a large heat exchanger.
_MOST_AN_HOUR = {
    MeterKind.ELECTRICITY: 500_000,
    MeterKind.WATER: 300_000,
    MeterKind.HEAT: 5_000_000,
}
_SLACK = 2_000  # registers go in steps of up to a kWh or a cubic metre
# A register that went round has 5 to 7 digits of kWh, or 4 to 7 of cubic metres, before its units.
_RANGES = tuple(10**digits for digits in (7, 8, 9, 10))


class Doubt(StrEnum):
    """Why a reading is not believed."""

    NO_TOTAL = "NO_TOTAL"
    FUTURE = "FUTURE"
    TOO_OLD = "TOO_OLD"
    BACKWARDS = "BACKWARDS"
    TOO_FAST = "TOO_FAST"


@dataclass(frozen=True, slots=True)
class Mark:
    """A register at an instant."""

    at: datetime
    total: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What flows through a meter, and how much of it in an hour at most (register units)."""

    kind: MeterKind
    most_an_hour: int

    @classmethod
    def of(cls, kind: MeterKind, *, phases: int) -> Pace:
        """The pace of a meter of `kind`."""
        single = kind is MeterKind.ELECTRICITY and phases == 1
        return cls(kind, ONE_PHASE_WH_AN_HOUR if single else _MOST_AN_HOUR[kind])

    def total(self, read: Read) -> int | None:
        """The main register of a meter of this kind, as the gateway read it."""
        match self.kind:
            case MeterKind.WATER:
                return read.volume_l
            case MeterKind.HEAT:
                return read.heat_wh
        return read.energy_wh

    def allows(self, before: Mark, after: Mark) -> Doubt | None:
        """Why `after` cannot follow `before`; None when it can. A register that has gone round (C14:
        from over 90 % of its range to under 10 %) has run on, not back."""
        seconds = int((after.at - before.at).total_seconds())
        most = self.most_an_hour * seconds // 3600 + _SLACK
        used = after.total - before.total
        if used >= 0:
            return None if used <= most else Doubt.TOO_FAST
        for size in _RANGES:
            over = 10 * before.total > 9 * size and 10 * after.total < size
            if over and before.total < size and used + size <= most:
                return None
        return Doubt.BACKWARDS


def doubt_of_instant(read: Read, *, received_at: datetime) -> Doubt | None:
    """Why a reading cannot be of this instant; None when it can."""
    if read.at - received_at > AHEAD:
        return Doubt.FUTURE
    return Doubt.TOO_OLD if received_at - read.at > OLDEST else None


def doubt_of_total(
    mark: Mark, *, pace: Pace, before: Mark | None, after: Mark | None
) -> Doubt | None:
    """Why a register cannot stand so between its neighbours in time (None: not known)."""
    if before is not None and (doubt := pace.allows(before, mark)):
        return doubt
    return pace.allows(mark, after) if after is not None else None
