"""What is of a circuit and not of the meter in it: it outlives the meter (A17, A24, C23)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .calendars import cut_calendars
from .command_rules import CommandKind
from .load_guards import KeptGuard, guards_of_meters
from .load_limits import limits_of_meters
from .load_rules import RunBy
from .safety_trips import SafetyTrip, running_trips
from .supplies import lock_supplies, supplies_of_meters
from .supply_rules import OwnCut
from .timetable_rules import Timed, supply_at
from .timetables import KeptTimetable, timetables_of_meters

_NEXT = (
    " FROM control_supply o WHERE o.group_id = $1 AND o.meter_id = $2 AND n.group_id = $1"
    " AND n.meter_id = $3"
)
# What goes to the next meter together, unless somebody said something of it already.
_PASSED_ON = (
    "UPDATE control_supply n SET policy = o.policy, policy_until = o.policy_until,"
    " policy_reason = o.policy_reason, policy_by = o.policy_by, policy_at = o.policy_at"
    f"{_NEXT} AND n.policy = 'AUTO'",
    "UPDATE control_supply n SET protected_reason = o.protected_reason,"
    " protected_by = o.protected_by, protected_at = o.protected_at, review_at = o.review_at"
    f"{_NEXT} AND n.protected_at IS NULL",
    f"UPDATE control_supply n SET timetable_id = o.timetable_id{_NEXT} AND n.timetable_id IS NULL",
    "UPDATE control_supply n SET guard_id = o.guard_id, load_seen_at = o.load_seen_at"
    f"{_NEXT} AND n.guard_id IS NULL",
)


async def pass_on(
    work: UnitOfWork, *, project_id: UUID, from_meter_id: UUID, to_meter_id: UUID
) -> None:
    """A meter takes the place of another at the same circuit: what is wanted there, what protects it, its
    timetable and its guard are the new meter's too. What the cloud made of the old relay is not."""
    await lock_supplies(work, meters=dict.fromkeys((from_meter_id, to_meter_id), project_id))
    for statement in _PASSED_ON:
        await work.execute(statement, work.group_id, from_meter_id, to_meter_id)


class Circuit(NamedTuple):
    """What a circuit follows, with what that says now, what it may draw and who sees to it (None: nobody),
    the lock that it is under, and what its meter opened it for by itself."""

    timetable: KeptTimetable | None
    timed: Timed | None
    guard: KeptGuard | None
    run_by: RunBy | None
    locked: SafetyTrip | None
    own_cut: OwnCut | None


async def circuits_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID], at: datetime
) -> dict[UUID, Circuit]:
    """The circuits of those meters that have anything of it: a few statements for a page."""
    kept = await timetables_of_meters(work, meter_ids=meter_ids)
    guards = await guards_of_meters(work, meter_ids=meter_ids)
    limits = await limits_of_meters(work, meter_ids=list(guards))
    supplies = await supplies_of_meters(work, meter_ids=meter_ids)
    cut = {each.meter_id: each.own_cut for each in supplies.values() if each.own_cut is not None}
    locked = await running_trips(work, meter_ids=meter_ids)
    projects = {each.project_id for each in kept.values()}
    calendars = await cut_calendars(work, project_ids=projects, at=at) if kept else {}
    found = {}
    for meter_id in kept.keys() | guards.keys() | locked.keys() | cut.keys():
        timetable, timed = kept.get(meter_id), None
        if timetable is not None:
            timed = supply_at(timetable.timetable, calendars[timetable.project_id], at)
        run_by = None
        if meter_id in guards:
            force = supplies[meter_id].force
            forced_on = force is not None and force.kind is CommandKind.KEEP_POWER
            runs = meter_id in limits and limits[meter_id].runs and not forced_on
            run_by = RunBy.METER if runs else RunBy.CLOUD
        found[meter_id] = Circuit(
            timetable,
            timed,
            guards.get(meter_id),
            run_by,
            locked.get(meter_id),
            cut.get(meter_id),
        )
    return found
