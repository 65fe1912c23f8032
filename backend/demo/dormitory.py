"""House rules of the demo's dormitories: nights without power and what a room may draw, which one room's
meter sees to by itself and no other follows until an operator says so; and at what a room is alarmed."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.alerts.levels import Levels, set_project_levels
from backend.control.calendar_rules import DayKind
from backend.control.load_guards import save_guard
from backend.control.load_rules import LoadGuard
from backend.control.timetable_rules import Slot, timetable_of
from backend.journeys.dormitory import guard_meters
from backend.journeys.timetable import make_timetable
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.metering.queries import gateways_of_project, meters_of_gateway

_NIGHTS = {
    DayKind.WORKDAY: (Slot(0, False), Slot(6 * 60, True), Slot(23 * 60, False)),
    DayKind.WEEKEND: (Slot(0, True), Slot(30, False), Slot(7 * 60, True)),
    DayKind.EXAM: (Slot(0, True),),
}
_ROOMS = LoadGuard(most_w=2_500, step_w=800, allowed=((1_000, 1_200),))
_IN_THE_METER = LoadGuard(most_w=3_500, step_w=1_200, by_meter=True)  # a meter knows no white list


# Rooms pay little at a time.
_ALARMED_AT = Levels(low_1=Money.parse("10"), low_2=Money.parse("3"), overload_w=2_200)


async def house_rules(*, scope: Scope, project_id: UUID, trial: str, at: datetime) -> None:
    """Make a dormitory's timetable, load guards and alarm levels. `trial`: the serial of the meter that runs
    a guard by itself."""
    await make_timetable(
        scope=scope,
        project_id=project_id,
        name="宿舍熄灯",
        timetable=timetable_of(_NIGHTS),
        at=at,
    )
    async with unit_of_work(scope.group_id) as work:
        await save_guard(
            work, scope=scope, project_id=project_id, name="宿舍用电", guard=_ROOMS, at=at
        )
        in_the_meter = await save_guard(
            work,
            scope=scope,
            project_id=project_id,
            name="宿舍用电·表内",
            guard=_IN_THE_METER,
            at=at,
        )
        await set_project_levels(
            work, scope=scope, project_id=project_id, levels=_ALARMED_AT, at=at
        )
        (gateway,) = await gateways_of_project(work, project_id=project_id)
        meters = await meters_of_gateway(work, gateway_id=gateway.id)
    await guard_meters(
        scope=scope,
        guard_id=in_the_meter.id,
        meter_ids=[each.id for each in meters if each.serial == trial],
        reason="a trial in one room",
        at=at,
    )
