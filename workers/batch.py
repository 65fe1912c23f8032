"""A batch's event: rounds of a batch, a moment apart. When its worker dies the janitor takes it back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from backend.journeys.batch_run import run_batch
from workers.context import WorkerContext

_FOR = timedelta(seconds=15)  # its lease is 25 s: a killed worker's batch goes on soon
_LONG_S = 1.0  # a pause that is worth coming back


async def batch_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """Carry a batch on; gives when to look again. Raises NotFound."""
    ports, batch_id = context.ports, UUID(payload["batch_id"])
    begun = ports.clock.now()
    while True:
        now = ports.clock.now()
        again = await run_batch(
            group_id=group_id, batch_id=batch_id, models=ports.meter_models, at=now
        )
        if again is None or now - begun >= _FOR:
            return again
        pause_s = (again - now).total_seconds()
        if pause_s > _LONG_S:
            return again
        await asyncio.sleep(max(pause_s, 0))
