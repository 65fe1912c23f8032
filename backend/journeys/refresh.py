"""Ask for a live reading of one meter: the worker reads it as soon as its bus is free (A8)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import unit_of_work
from backend.kernel.scope import Scope
from backend.metering import queries as metering
from backend.outbox.operations import emit
from backend.tenancy.rules import Permission

TOPIC = "meter.refresh"


async def refresh_meter(*, scope: Scope, meter_id: UUID, at: datetime) -> bool:
    """Queue a reading of the meter; False when one was asked for in this same minute.

    Raises NotFound, Forbidden.
    """
    async with unit_of_work(scope.group_id) as work:
        meter = await metering.meter(work, scope=scope, meter_id=meter_id)
        scope.require(Permission.METER_REFRESH, meter.project_id)
        new = await emit(
            work,
            topic=TOPIC,
            key=f"{meter_id}/{at:%Y%m%d%H%M}",
            payload={"meter_id": str(meter_id)},
            at=at,
        )
        if new:
            await record(
                work,
                actor=scope.actor,
                action="meter:self:refresh",
                subject=str(meter_id),
                at=at,
                project_id=meter.project_id,
            )
    return new
