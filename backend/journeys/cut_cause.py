"""Why a relay was opened, by the cloud or by the meter's own rule, and when power comes back by itself: for
whoever asks why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.control.calendars import cut_calendars
from backend.control.command_rules import CommandKind
from backend.control.safety_trips import running_trips
from backend.control.supplies import supplies_of_meters
from backend.control.supply_rules import OwnCut, SafetyLock, Why
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
    """The cuts that the cloud made and has not taken back, and those that meters made for a load or by a
    timetable of their own, by meter. One that the meter made for its own money is not among them."""
    supplies = await supplies_of_meters(work, meter_ids=meter_ids)
    cut = {
        each.meter_id: each.force.why
        for each in supplies.values()
        if each.force is not None and each.force.kind is CommandKind.TRIP
    }
    own = {
        each.meter_id: each.own_cut
        for each in supplies.values()
        if each.own_cut is not None and each.meter_id not in cut
    }
    if not cut:
        return await _own(work, own)
    locked = await running_trips(
        work, meter_ids=[m for m, w in cut.items() if w is Why.SAFETY_LOCK]
    )
    asleep = [meter_id for meter_id, why in cut.items() if why is Why.TIMETABLE]
    projects = {supplies[meter_id].project_id for meter_id in asleep}
    calendars = await cut_calendars(work, project_ids=projects, at=at) if asleep else {}
    off = await timed(work, meter_ids=asleep, calendars=calendars, at=at) if asleep else {}
    found = await _own(work, own)
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


async def _own(work: UnitOfWork, own: Mapping[UUID, OwnCut]) -> dict[UUID, Cut]:
    trips = await running_trips(work, meter_ids=list(own)) if own else {}
    return {
        meter_id: Cut(Why.TIMETABLE)
        if cut.lock is None
        else Cut(
            Why.SAFETY_LOCK, cut.lock, trips[meter_id].restore_at if meter_id in trips else None
        )
        for meter_id, cut in own.items()
    }
