"""Valves that are moved once a month, and meters that run though they are shut (A18, A26).

The codes of valves that are public shut and open, and know no part of the way (reference/meter-protocols.md
3.8): so no profile that ships leaves a minimum flow, and an exercise shuts the valve for some minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from backend.alerts.alarm_queries import open_subjects
from backend.alerts.alarm_rules import LEVELS, AlarmKind
from backend.alerts.alarms import NewAlarm, end_alarms, raise_alarms
from backend.control import exercises, supplies
from backend.control.command_rules import CommandKind, Order
from backend.control.supplies import Said
from backend.control.supply_rules import SupplyPolicy, Why
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.scope import Actor
from backend.metering import queries as metering
from backend.metering.flow import ClosedFlow, closed_flows, resting_valves
from backend.metering.rules import MeterKind, MeterModel
from backend.metering.supplied import supplied_meters

from .command import ask

EXERCISER = Actor("system", "valve exercise", "valve exercise")
_WHY = "monthly valve exercise"
_AT_ONCE = 10  # valves of a project a look
_FRESH = timedelta(hours=1)
_SUBJECT = "flow-"  # so that an alarm of a cover is one of its own


async def exercise_valves(*, group_id: int, models: Mapping[str, MeterModel], at: datetime) -> int:
    """Shut some valves that nothing flows through and that were not moved in this month; how many.

    The trip is a forced state with an end, so the engine of every supply opens them again, however often it
    must try; a valve that does not move is its case (SUPPLY_NOT_OBEYED).
    """
    names = [m.name for m in models.values() if m.kind is MeterKind.WATER and m.switches]
    async with unit_of_work(group_id) as work:
        projects = await exercises.exercising(work, at=at)
    moved = 0
    for project_id, month in projects.items():
        async with unit_of_work(group_id) as work:
            since = at - _FRESH
            resting = await resting_valves(work, project_id=project_id, models=names, since=since)
            serving = await supplied_meters(work, meter_ids=resting)
            due = await exercises.lock_idle(
                work,
                project_id=project_id,
                meter_ids=sorted(serving),
                month=month,
                at=at,
                limit=_AT_ONCE,
            )
            await _shut(work, due, models, at)
            await exercises.note_exercised(work, meter_ids=due, month=month)
        moved += len(due)
    return moved


async def _shut(
    work: UnitOfWork, meter_ids: Sequence[UUID], models: Mapping[str, MeterModel], at: datetime
) -> None:
    await supplies.set_policy(
        work,
        meter_ids=meter_ids,
        policy=SupplyPolicy.FORCED_OFF,
        until=at + exercises.SHUT_FOR,
        said=Said(_WHY, EXERCISER.name, at),
    )
    for meter_id in meter_ids:
        await ask(
            work,
            meter=await metering.meter_by_id(work, meter_id=meter_id),
            order=Order(CommandKind.TRIP, _WHY),
            models=models,
            actor=EXERCISER,
            at=at,
            why=Why.FORCED_OFF,
        )


async def watch_flow(*, group_id: int, at: datetime) -> int:
    """Alarm meters whose registers move though their last two readings showed them shut; how many are new. An
    alarm ends when the supply is on again: until then somebody is to go and look."""
    async with unit_of_work(group_id) as work:
        standing = await open_subjects(work, kind=AlarmKind.TAMPER)
        ours = {s: m for s, m in standing.items() if s.startswith(_SUBJECT) and m is not None}
        latest = await metering.latest_of_meters(work, meter_ids=list(ours.values()))
        over = [s for s, m in ours.items() if m in latest and latest[m].relay_closed]
        note = "the supply is on again"
        await end_alarms(work, kind=AlarmKind.TAMPER, subjects=over, note=note, at=at)
        alarms = [_alarm(flow) for flow in await closed_flows(work)]
        return len(await raise_alarms(work, alarms=alarms, at=at))


def _alarm(flow: ClosedFlow) -> NewAlarm:
    return NewAlarm(
        project_id=flow.project_id,
        kind=AlarmKind.TAMPER,
        subject=f"{_SUBJECT}{flow.meter_id}",
        account_id=flow.account_id,
        meter_id=flow.meter_id,
        gateway_id=flow.gateway_id,
        level=LEVELS[AlarmKind.TAMPER],
        detail={
            "moved": str(flow.moved),
            "unit": "L" if flow.kind is MeterKind.WATER else "Wh",
            "since": flow.since.isoformat(timespec="seconds"),
            "until": flow.until.isoformat(timespec="seconds"),
        },
    )
