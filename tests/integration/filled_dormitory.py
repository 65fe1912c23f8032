"""A project with a calendar and a house of students: rows of windows, days, timetables, guards, trips and
load limits in meters."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from backend.control import calendars, exercises
from backend.control.calendar_rules import DEFAULT, Mark
from backend.control.load_rules import LoadGuard
from backend.control.supply_rules import SafetyLock
from backend.journeys.dormitory import note_flagged
from backend.journeys.load_limits import tend_load_limits
from backend.kernel.db import unit_of_work
from workers.models import meter_models

from .dormitory import guarded, make_guard, make_timetable, waiting_timing
from .world import World


async def fill_dormitory(world: World) -> None:
    """Set the window of cuts, mark a day, plan a timetable, lock a circuit, tell its meter its limits."""
    at = world.clock.now()
    asked: dict[str, Any] = {"scope": world.scope, "project_id": world.project.id, "at": at}
    day = at.date() + timedelta(days=30)
    async with unit_of_work(world.group_id) as work:
        await calendars.set_cut_window(work, window=DEFAULT, **asked)
        await calendars.mark_days(work, days=[day], mark=Mark.EXAM, name="期末", **asked)
        await exercises.set_exercise(work, starts=180, **asked)
    await waiting_timing(world, await make_timetable(world))
    await guarded(world, await make_guard(world))
    async with unit_of_work(world.group_id) as work:
        await note_flagged(work, flagged={world.meter.id: SafetyLock.OVERLOAD}, at=at)
    guard = LoadGuard(most_w=2_500, step_w=800, by_meter=True)
    await guarded(world, await make_guard(world, guard=guard))
    await tend_load_limits(group_id=world.group_id, models=meter_models(), at=at)
