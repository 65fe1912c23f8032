"""What meters do to their relays by rules of their own: seen, alarmed, told to the room, ended (A24, C21).

A meter that tripped for its load gives power back itself, after its own minutes and no more after its own
count; the cloud neither closes it by force nor calls it a cut for arrears.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from backend.alerts.alarms import raise_alarms
from backend.control.calendars import cut_calendars
from backend.control.load_guards import guards_of_meters
from backend.control.load_limits import limits_of_meters
from backend.control.load_rules import restore_at
from backend.control.safety_trips import (
    SafetyTrip,
    lock_circuit,
    lock_own_cuts,
    note_own_cuts,
    own_cuts,
    running_trips,
    trips_of_day,
)
from backend.control.supply_rules import OwnCut, SafetyLock
from backend.kernel.clock import business_day
from backend.kernel.db import UnitOfWork
from backend.metering import queries as metering
from backend.metering.supplied import SuppliedMeter, supplied_meters

from .dormitory import alarm_of, end_locks, tell_room

_ENDED_BY = "meter"


async def note_told(
    work: UnitOfWork, *, told: Mapping[UUID, OwnCut | None], at: datetime
) -> tuple[int, int]:
    """What meters said at a reading just now of cuts by their own rules, None: of none. How many began, and
    how many are over. A cut that is told while the cloud forces the relay open begins nothing: whether the
    meter would have it open nobody can see then."""
    stood = await own_cuts(work, meter_ids=list(told))
    news = [each for each, cut in told.items() if cut is not stood.get(each)]
    if not news:
        return 0, 0
    projects = {
        each.id: each.project_id for each in await metering.meters_by_ids(work, meter_ids=news)
    }
    held = await lock_own_cuts(work, meters=projects)
    changed = {
        each: told[each]
        for each, (before, forced_open) in held.items()
        if told[each] is not before and not (forced_open and told[each] is not None)
    }
    over = [each for each in changed if held[each][0] is not None]
    await _end(work, over, at)
    await note_own_cuts(work, cuts=changed, at=at)
    begun = {each: cut.lock for each, cut in changed.items() if cut is not None}
    await _begin(work, {m: lock for m, lock in begun.items() if lock is not None}, projects, at)
    return len(begun), len(over)


async def _end(work: UnitOfWork, meter_ids: Sequence[UUID], at: datetime) -> None:
    running = await running_trips(work, meter_ids=meter_ids)
    mine = [each for each in running.values() if each.by_meter]
    await end_locks(work, mine, by=_ENDED_BY, note="the meter ended it by itself", at=at)


async def _begin(
    work: UnitOfWork,
    locks: Mapping[UUID, SafetyLock],
    projects: Mapping[UUID, UUID],
    at: datetime,
) -> None:
    """Trips of meters that serve somebody, or could; a lock of the cloud's that is running is enough said."""
    if not locks:
        return
    running = await running_trips(work, meter_ids=list(locks))
    meters = await supplied_meters(work, meter_ids=[each for each in locks if each not in running])
    guards = await guards_of_meters(work, meter_ids=list(meters))
    limits = await limits_of_meters(work, meter_ids=list(meters))
    calendars = await cut_calendars(work, project_ids=set(projects.values()), at=at)
    alarms = []
    for meter in meters.values():
        project_id = projects[meter.id]
        day = business_day(at, calendars[project_id].zone)
        back = None
        if meter.id in guards and meter.id in limits and limits[meter.id].runs:
            # Seen later than it was, so power is back by then; the meter's own count may be further than
            # ours.
            trips = await trips_of_day(work, meter_id=meter.id, day=day)
            back = restore_at(guards[meter.id].guard, trips_today=trips, at=at)
        trip = await lock_circuit(
            work,
            project_id=project_id,
            meter_id=meter.id,
            kind=locks[meter.id],
            by_meter=True,
            detail={"told_by": "meter"},
            day=day,
            restore_at=back,
            at=at,
        )
        alarms.append(alarm_of(trip, meter))
        await _tell(work, trip, meter, at)
    await raise_alarms(work, alarms=alarms, at=at)


async def _tell(work: UnitOfWork, trip: SafetyTrip, meter: SuppliedMeter, at: datetime) -> None:
    if meter.account_id is not None:
        await tell_room(work, trip, meter.account_id, at)
