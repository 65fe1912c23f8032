"""Drive what ends a meter's service and closes an account: read the meters, then take the next step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.journeys import closing_steps, takedown_steps
from backend.kernel.errors import DomainError, Unavailable
from workers.context import WorkerContext
from workers.sweep import meter_refresh


async def takedown_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """Read the meters that a takedown waits for and go on with it; gives when to look again.

    Raises Unavailable when a meter cannot be reached: the event comes back later.
    """
    takedown_id, now = UUID(payload["takedown_id"]), context.ports.clock.now
    errand = await takedown_steps.look(
        group_id=group_id,
        takedown_id=takedown_id,
        models=context.ports.meter_models,
        at=now(),
    )
    if errand.again_at is not None:
        return errand.again_at
    missed: Unavailable | None = None
    for meter_id in errand.read:
        try:
            await meter_refresh(context, group_id, {"meter_id": str(meter_id)})
        except Unavailable as error:
            missed = error
    try:
        again = await takedown_steps.go_on(group_id=group_id, takedown_id=takedown_id, at=now())
    except takedown_steps.REFUSALS as error:
        await _fails(group_id, takedown_id, error, now())
        raise Unavailable(error.message) from error
    if missed is not None and again is not None:
        await takedown_steps.not_reached(
            group_id=group_id, takedown_id=takedown_id, why=missed.message, at=now()
        )
        raise missed
    return again


async def _fails(group_id: int, takedown_id: UUID, error: DomainError, at: datetime) -> None:
    await takedown_steps.fails(group_id=group_id, takedown_id=takedown_id, error=error, at=at)


async def closing_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """Go on with a closing; gives when to look again."""
    return await closing_steps.advance(
        group_id=group_id,
        closing_id=UUID(payload["closing_id"]),
        models=context.ports.meter_models,
        at=context.ports.clock.now(),
    )
