"""Rooms of students: a timetable, a guard over loads, and what a room draws."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from backend.control import load_guards, timetables
from backend.control.calendar_rules import DayKind
from backend.control.load_guards import KeptGuard
from backend.control.load_rules import LoadGuard
from backend.control.timetable_rules import Slot, timetable_of
from backend.control.timetables import KeptTimetable, Timing, TimingState
from backend.journeys import timetable
from backend.journeys.dormitory import guard_meters
from backend.kernel.db import unit_of_work
from backend.kernel.scope import Actor
from backend.metering.readings import store_readings

from .world import World, reading_of

NIGHT = {DayKind.WORKDAY: (Slot(0, False), Slot(6 * 60, True), Slot(23 * 60, False))}
ROOMS = LoadGuard(most_w=2_500, step_w=800, allowed=((1_000, 1_200),))
ANOTHER = Actor("operator", "op-other", "wen", "203.0.113.9")


async def make_timetable(world: World, *, name: str = "宿舍熄灯") -> KeptTimetable:
    """A timetable of nights without power."""
    return await timetable.make_timetable(
        scope=world.scope,
        project_id=world.project.id,
        name=name,
        timetable=timetable_of(NIGHT),
        at=world.clock.now(),
    )


async def waiting_timing(world: World, kept: KeptTimetable) -> Timing:
    """A plan that another operator made and that waits for a second one."""
    async with unit_of_work(world.group_id) as work:
        return await timetables.add_timing(
            work,
            project_id=world.project.id,
            timetable_id=kept.id,
            meter_ids=[world.meter.id],
            reason="lights out at eleven",
            state=TimingState.OPEN,
            actor=ANOTHER,
            at=world.clock.now(),
        )


async def make_guard(world: World, *, guard: LoadGuard = ROOMS, name: str = "宿舍") -> KeptGuard:
    """A guard of the project."""
    async with unit_of_work(world.group_id) as work:
        return await load_guards.save_guard(
            work,
            scope=world.scope,
            project_id=world.project.id,
            name=name,
            guard=guard,
            at=world.clock.now(),
        )


async def guarded(
    world: World, kept: KeptGuard | None, meter_ids: Sequence[UUID] | None = None
) -> int:
    """The world's meter is under the guard from now on."""
    return await guard_meters(
        scope=world.scope,
        guard_id=None if kept is None else kept.id,
        meter_ids=[world.meter.id] if meter_ids is None else meter_ids,
        reason="a room of students",
        at=world.clock.now(),
    )


async def draws(
    world: World, watts: int, *, at: datetime | None = None, closed: bool = True
) -> None:
    """The world's meter is read: its room draws so much, all of it resistive."""
    read_at = at or world.clock.now()
    reading = reading_of(world.meter.id, at=read_at, late_s=0)._replace(
        power_w=watts,
        voltage_mv=220_000,
        current_ma=round(1_000_000 * watts / 220_000),
        relay_closed=closed,
    )
    async with unit_of_work(world.group_id) as work:
        await store_readings(work, readings=[reading])
