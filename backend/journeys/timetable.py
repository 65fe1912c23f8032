"""Timetables of circuits: made, given to meters, agreed to by a second operator where they are many (A24).

No profile that ships can run a timetable of supply by itself: the calendars that meters take by command are
those of rate bands, and the layout of the makers' time control is not public (reference/meter-protocols.md
5.3 names its address only). So the cloud runs them all, by the engine of every supply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.control import timetables
from backend.control.command_rules import check_reason
from backend.control.second_word import check_second_word
from backend.control.timetable_rules import ALONE, Timetable, check_name
from backend.control.timetables import KeptTimetable, Timing, TimingState
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.scope import Scope
from backend.metering import queries as metering
from backend.metering.models import Meter
from backend.metering.rules import MeterModel
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

_AT_MOST = 2_000  # meters at a time


async def make_timetable(
    *, scope: Scope, project_id: UUID, name: str, timetable: Timetable, at: datetime
) -> KeptTimetable:
    """Keep a timetable (as `timetable_of` checked it) for meters of a project to follow.

    Raises NotFound, Forbidden, InvalidInput (the name), Conflict (the name is taken).
    """
    told = check_name(name)
    async with unit_of_work(scope.group_id) as work:
        await project_door(work, scope=scope, project_id=project_id)
        scope.require(Permission.METER_CONTROL, project_id)
        kept = await timetables.add_timetable(
            work,
            project_id=project_id,
            name=told,
            timetable=timetable,
            actor=scope.actor,
            at=at,
        )
        await record(
            work,
            actor=scope.actor,
            action="timetable:plan:make",
            subject=str(kept.id),
            at=at,
            project_id=project_id,
            after={"name": told, **_worded(timetable)},
        )
    return kept


def _worded(timetable: Timetable) -> dict[str, str]:
    return {
        str(kind): ", ".join(
            f"{slot.minute // 60:02d}:{slot.minute % 60:02d} {'on' if slot.on else 'off'}"
            for slot in plan
        )
        for kind, plan in timetable.plans.items()
    }


async def plan_timing(
    *,
    scope: Scope,
    timetable_id: UUID | None,
    meter_ids: Sequence[UUID],
    reason: str,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> Timing:
    """Let meters of one project follow a timetable from now on, or (None) none any more. More than ten wait
    for a second operator, unless they follow none: that cuts nobody.

    Raises NotFound, Forbidden, InvalidInput, Conflict (a model that cannot be switched).
    """
    told = check_reason(reason)
    if len(meter_ids) > _AT_MOST:
        raise InvalidInput(f"name {_AT_MOST} meters at most", field="meters")
    async with unit_of_work(scope.group_id) as work:
        meters = await metering.meters_together(work, scope=scope, meter_ids=meter_ids)
        project_id = meters[0].project_id
        scope.require(Permission.METER_CONTROL, project_id)
        if timetable_id is not None:
            kept = await timetables.timetable(work, scope=scope, timetable_id=timetable_id)
            if kept.project_id != project_id:
                raise InvalidInput("the timetable is another project's", field="timetable")
            _refuse_unless_switched(meters, models)
        at_once = timetable_id is None or len(meters) <= ALONE
        timing = await timetables.add_timing(
            work,
            project_id=project_id,
            timetable_id=timetable_id,
            meter_ids=[each.id for each in meters],
            reason=told,
            state=TimingState.DONE if at_once else TimingState.OPEN,
            actor=scope.actor,
            at=at,
        )
        if at_once:
            await _follow(work, timing)
        await _record(work, scope, "timetable:meters:plan", timing, at)
    return timing


def _refuse_unless_switched(meters: Sequence[Meter], models: Mapping[str, MeterModel]) -> None:
    for each in meters:
        model = models.get(each.profile)
        if model is None or not model.switches:
            raise Conflict(
                f"{each.serial}: {each.profile} has no relay or valve that obeys commands"
            )


async def rule_timing(*, scope: Scope, timing_id: UUID, approved: bool, at: datetime) -> Timing:
    """The second operator's word; approved, the meters follow from now on.

    Raises NotFound, Forbidden, Conflict (ruled before, expired, approved by who asked).
    """
    async with unit_of_work(scope.group_id) as work:
        asked = await timetables.lock_timing(work, scope=scope, timing_id=timing_id)
        scope.require(Permission.SUPPLY_APPROVE, asked.project_id)
        check_second_word(
            asked, waits_as=TimingState.OPEN, actor=scope.actor, approved=approved, at=at
        )
        ruled = await timetables.rule_timing(
            work, timing_id=timing_id, approved=approved, actor=scope.actor, at=at
        )
        if approved:
            await _follow(work, ruled)
        await _record(work, scope, "timetable:meters:rule", ruled, at)
    return ruled


async def _follow(work: UnitOfWork, timing: Timing) -> None:
    await timetables.follow(
        work,
        project_id=timing.project_id,
        meter_ids=timing.meter_ids,
        timetable_id=timing.timetable_id,
    )


async def _record(
    work: UnitOfWork, scope: Scope, action: str, timing: Timing, at: datetime
) -> None:
    await record(
        work,
        actor=scope.actor,
        action=action,
        subject=str(timing.id),
        at=at,
        project_id=timing.project_id,
        after={
            "timetable": None if timing.timetable_id is None else str(timing.timetable_id),
            "meters": [str(each) for each in timing.meter_ids[:20]],
            "count": len(timing.meter_ids),
            "reason": timing.reason,
            "state": str(timing.state),
        },
    )
