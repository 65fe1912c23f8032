"""What is of a meter's circuit: its timetable, what it may draw, the lock that it is under (A24)."""

from __future__ import annotations

from datetime import datetime

import strawberry

from backend.control.circuits import Circuit as CircuitRow
from backend.control.load_rules import RunBy
from backend.control.supply_rules import OwnCut

from .dormitory import LoadGuard, SafetyTrip, guard_as_shown, trip_of
from .timetables import Timetable, timetable_as_shown

strawberry.enum(
    OwnCut,
    description="What a meter opened its relay for by itself, its money apart; it gives power back itself.",
)


@strawberry.type(description="What a meter's circuit follows, may draw, and is locked for.")
class Circuit:
    """回路."""

    timetable: Timetable | None
    on: bool | None = strawberry.field(
        description="Whether there is to be power now by the timetable; null without one."
    )
    until: datetime | None = strawberry.field(
        description="When the timetable changes that; null when not within two weeks."
    )
    guard: LoadGuard | None
    run_by: RunBy | None = strawberry.field(description="Who sees to the guard; null without one.")
    own_cut: OwnCut | None = strawberry.field(
        description="What the meter opened its relay for by a rule of its own."
    )
    locked: SafetyTrip | None


def circuit_as_shown(row: CircuitRow) -> Circuit:
    """A circuit as the schema shows it."""
    return Circuit(
        timetable=None if row.timetable is None else timetable_as_shown(row.timetable),
        on=None if row.timed is None else row.timed.on,
        until=None if row.timed is None else row.timed.until,
        guard=None if row.guard is None else guard_as_shown(row.guard),
        run_by=row.run_by,
        own_cut=row.own_cut,
        locked=None if row.locked is None else trip_of(row.locked),
    )
