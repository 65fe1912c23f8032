"""What a driver read, as the reading that metering stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from backend.control.supply_rules import OwnCut, SafetyLock
from backend.journeys.dormitory import note_flagged
from backend.journeys.own_cuts import note_told
from backend.journeys.tamper import note_covers
from backend.kernel.db import UnitOfWork
from backend.metering.readings import Reading
from workers.drivers.ports import MeterSnapshot, Relay


def reading_of(
    meter_id: UUID, snapshot: MeterSnapshot, at: datetime, *, received_at: datetime | None = None
) -> Reading:
    """The reading of a meter at `at`, which came at `received_at` (None: at once)."""
    relay = snapshot.relay
    return Reading(  # by place: by name it costs twice as much, of each meter of a sweep
        meter_id,
        at,
        at if received_at is None else received_at,
        snapshot.meter_clock,
        snapshot.total,
        snapshot.remaining_hao,
        snapshot.purchase_count,
        None if relay is Relay.UNKNOWN else relay is Relay.CLOSED,
        snapshot.voltage_mv,
        snapshot.current_ma,
        snapshot.power_w,
        snapshot.bands,
        snapshot.cold_wh,
    )


def flagged_of(snapshot: MeterSnapshot) -> SafetyLock | None:
    """What a meter that closed its relay itself says of its load: over its limit. A malignant load is told by
    meters only once they cut for it (own_cut_of)."""
    return SafetyLock.OVERLOAD if snapshot.flags.overload else None


def own_cut_of(snapshot: MeterSnapshot) -> OwnCut | None:
    """What a meter says that it opened its relay for by a rule of its own, the gravest first. A relay that is
    closed was opened for nothing, whatever a control says of itself."""
    flags = snapshot.flags
    if snapshot.relay is Relay.CLOSED:
        return None
    if flags.malignant_load_cut:
        return OwnCut.MALIGNANT_LOAD
    if flags.overload_cut:
        return OwnCut.OVERLOAD
    return OwnCut.TIMETABLE if flags.timetable_cut else None


@dataclass(slots=True)
class SaidBeside:
    """What meters said beside their readings: of their loads, of cuts by rules of their own (None: of
    none), and how often they were opened."""

    flagged: dict[UUID, SafetyLock] = field(default_factory=dict)
    own_cuts: dict[UUID, OwnCut | None] = field(default_factory=dict)
    covers: dict[UUID, int] = field(default_factory=dict)

    def hear(self, meter_id: UUID, snapshot: MeterSnapshot) -> None:
        """Take in what a reading of a meter says; its newest word counts."""
        self.own_cuts[meter_id] = own_cut_of(snapshot)
        if (lock := flagged_of(snapshot)) is not None:
            self.flagged[meter_id] = lock
        if snapshot.cover_opens is not None:
            self.covers[meter_id] = snapshot.cover_opens


async def note_beside(work: UnitOfWork, beside: SaidBeside, at: datetime) -> None:
    """Keep what meters said beside their readings. One that cut by itself is locked by nobody else."""
    if beside.covers:
        await note_covers(work, opens=beside.covers, at=at)
    if beside.own_cuts:
        await note_told(work, told=beside.own_cuts, at=at)
    if beside.flagged:
        await note_flagged(work, flagged=beside.flagged, at=at)
