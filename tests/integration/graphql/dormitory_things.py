"""What doors of dormitories name, in one project: a timetable, a plan that waits, a guard, a locked room."""

from __future__ import annotations

from backend.control.supply_rules import SafetyLock
from backend.journeys.dormitory import note_flagged
from backend.kernel.db import unit_of_work
from schema.scalars import ref

from ..dormitory import guarded, make_guard, make_timetable, waiting_timing
from ..world import World, make_account, make_meter


async def make_dormitory_things(world: World, *, prefix: str) -> dict[str, str]:
    """Opaque ids: Timetable, a Timing that another operator asked for, LoadGuard, LockedMeter."""
    account = await make_account(world, no=f"5{prefix}0001")
    meter, _ = await make_meter(world, serial=f"ROOM-{prefix}", bus_address=193, account=account)
    kept = await make_timetable(world, name=f"Nights {prefix}")
    timing = await waiting_timing(world, kept)
    guard = await make_guard(world, name=f"Rooms {prefix}")
    await guarded(world, guard, [meter.id])
    async with unit_of_work(world.group_id) as work:
        flagged = {meter.id: SafetyLock.OVERLOAD}
        assert await note_flagged(work, flagged=flagged, at=world.clock.now()) == 1
    return {
        "Timetable": ref("Timetable", kept.id),
        "Timing": ref("Timing", timing.id),
        "LoadGuard": ref("LoadGuard", guard.id),
        "LockedMeter": ref("Meter", meter.id),
    }
