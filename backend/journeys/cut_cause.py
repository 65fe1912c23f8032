"""Why the cloud opened a relay, and when it closes it by itself: for whoever asks why there is no power."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.control.calendars import cut_calendars
from backend.control.command_rules import CommandKind
from backend.control.load_guards import running_trips
from backend.control.supplies import supplies_of_meters
from backend.control.supply_rules import SafetyLock, Why
from backend.control.timetables import timed
from backend.kernel.db import UnitOfWork


class Cut(NamedTuple):
    """`why`: the rule that opened the relay; `lock`: of a load, which; `back_at`: when power comes back by
    itself, None when that takes a person, or is not known."""

    why: Why
    lock: SafetyLock | None = None
    back_at: datetime | None = None


async def cuts_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID], at: datetime
) -> dict[UUID, Cut]:
    """The cuts that the cloud made and has not taken back, by meter. One that the meter made for its own
    money is not among them."""
    supplies = await supplies_of_meters(work, meter_ids=meter_ids)
    cut = {
        each.meter_id: each.force.why
        for each in supplies.values()
        if each.force is not None and each.force.kind is CommandKind.TRIP
    }
    if not cut:
        return {}
    locked = await running_trips(
        work, meter_ids=[m for m, w in cut.items() if w is Why.SAFETY_LOCK]
    )
    asleep = [meter_id for meter_id, why in cut.items() if why is Why.TIMETABLE]
    projects = {supplies[meter_id].project_id for meter_id in asleep}
    calendars = await cut_calendars(work, project_ids=projects, at=at) if asleep else {}
    off = await timed(work, meter_ids=asleep, calendars=calendars, at=at) if asleep else {}
    found = {}
    for meter_id, why in cut.items():
        if meter_id in locked:
            trip = locked[meter_id]
            found[meter_id] = Cut(why, trip.kind, trip.restore_at)
        elif meter_id in off:
            found[meter_id] = Cut(why, None, None if off[meter_id].on else off[meter_id].until)
        else:
            ends = why is Why.FORCED_OFF  # a state with an end; without one `until` is None
            found[meter_id] = Cut(why, None, supplies[meter_id].until if ends else None)
    return found
