"""What doors of batches name, in one project: batches that wait, run, are paused, and one of which a meter
failed; all of one meter's clock."""

from __future__ import annotations

from datetime import timedelta

from strawberry import ID

from backend.control.batches import Batch
from backend.control.command_rules import CommandKind, CommandState
from backend.control.command_steps import End
from backend.journeys import batch as journey
from backend.journeys import serve_command
from backend.journeys.batch import Wish
from backend.journeys.batch_run import run_batch
from backend.journeys.batch_selection import Selection
from backend.kernel.db import unit_of_work
from backend.kernel.scope import Scope
from backend.metering import operations as metering
from backend.tenancy.project_settings import set_batch_limit
from schema.scalars import ref
from workers.models import meter_models

from ..batched import make_operator
from ..world import World, new_id

_KINDS = ("Batch", "WaitingBatch", "PausedBatch", "FailedBatch")


def no_batch_things() -> dict[str, ID]:
    """Ids that no batch has."""
    return {kind: ref("Batch", new_id()) for kind in _KINDS}


async def make_batch_things(world: World, *, prefix: str) -> dict[str, str]:
    """Opaque ids: a Batch that runs, a WaitingBatch, a PausedBatch, a FailedBatch."""
    at, another = world.clock.now(), await make_operator(world, f"wen{prefix}")
    async with unit_of_work(world.group_id) as work:
        gateway = await metering.add_gateway(
            work,
            scope=world.scope,
            project_id=world.project.id,
            serial=f"CLOCKS-{prefix}",
            name="Clocks",
            address="127.0.0.1:502",
            at=at,
        )
        await metering.add_meter(
            work,
            scope=world.scope,
            gateway=gateway,
            serial=f"CLOCK-{prefix}",
            model=meter_models()["DDSY1352-NK"],
            bus_address="1",
            at=at,
        )
    failed = await _confirmed(world, another, prefix)
    await _fails(world, failed)
    running = await _confirmed(world, another, prefix)
    paused = await _confirmed(world, another, prefix)
    await journey.pause_batch(scope=another, batch_id=paused.id, at=at)
    await _limit(world, 0)
    waiting = await _confirmed(world, another, prefix)
    await _limit(world, 10)
    made = zip(_KINDS, (running, waiting, paused, failed), strict=True)
    return {kind: ref("Batch", batch.id) for kind, batch in made}


async def _limit(world: World, alone: int) -> None:
    async with unit_of_work(world.group_id) as work:
        await set_batch_limit(
            work,
            scope=world.scope,
            project_id=world.project.id,
            alone=alone,
            at=world.clock.now(),
        )


async def _confirmed(world: World, scope: Scope, prefix: str) -> Batch:
    at = world.clock.now()
    made = await journey.prepare_batch(
        scope=scope,
        project_id=world.project.id,
        wish=Wish(CommandKind.SYNC_CLOCK, "summer is over"),
        selection=Selection(numbers=f"CLOCK-{prefix}"),
        models=meter_models(),
        at=at,
    )
    return await journey.confirm_batch(scope=scope, batch_id=made.id, at=at)


async def _fails(world: World, batch: Batch) -> None:
    at = world.clock.now() + timedelta(minutes=1)
    for _ in range(2):
        await run_batch(group_id=world.group_id, batch_id=batch.id, models=meter_models(), at=at)
        async with unit_of_work(world.group_id) as work:
            command_id = await work.fetchval(
                "SELECT command_id FROM control_batch_item WHERE group_id = $1 AND batch_id = $2",
                work.group_id,
                batch.id,
            )
        end = End(command_id, CommandState.FAILED, "the meter refused", None, at)
        await serve_command.ended(group_id=world.group_id, ends=[(end, None)])
