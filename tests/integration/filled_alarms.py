"""A project with an alarm, and a meter that has alarm levels of its own."""

from __future__ import annotations

from backend.alerts.covers import keep_covers
from backend.alerts.levels import keep_meter_levels
from backend.journeys.alarms import tend_alarms
from backend.kernel.db import unit_of_work

from .world import World


async def fill_alarms(world: World) -> None:
    """Look at what is alarmed: the meter holds no money."""
    at = world.clock.now()
    async with unit_of_work(world.group_id) as work:
        await keep_meter_levels(
            work,
            actor=world.scope.actor,
            project_id=world.project.id,
            meter_id=world.meter.id,
            low=None,
            overload_w=5_000,
            at=at,
        )
        await keep_covers(work, opens={world.meter.id: 1}, at=at)
    looked = await tend_alarms(group_id=world.group_id, at=at)
    assert looked.began
