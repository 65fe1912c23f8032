"""A group that has a batch with a meter in it, and a label on that meter."""

from __future__ import annotations

from backend.control.command_rules import CommandKind
from backend.journeys.batch import Wish, prepare_batch
from backend.journeys.batch_selection import Selection
from backend.kernel.db import unit_of_work
from backend.metering.tags import tag_meters
from workers.models import meter_models

from .world import World


async def fill_batches(world: World) -> None:
    """Put a label on the world's meter, and make a preview for all that have it."""
    at = world.clock.now()
    async with unit_of_work(world.group_id) as work:
        ids = [world.meter.id]
        await tag_meters(work, scope=world.scope, meter_ids=ids, tag="corridor", on=True, at=at)
    await prepare_batch(
        scope=world.scope,
        project_id=world.project.id,
        wish=Wish(CommandKind.SYNC_CLOCK, "summer is over"),
        selection=Selection(tags=["corridor"]),
        models=meter_models(),
        at=at,
    )
