"""Ask for live readings: of one meter, or of all meters of a project (A8)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import unit_of_work
from backend.kernel.scope import Scope
from backend.metering import queries as metering
from backend.outbox.operations import emit
from backend.tenancy.queries import project
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


async def refresh_project(*, scope: Scope, project_id: UUID, at: datetime) -> int:
    """Queue a sweep of every gateway of the project; returns how many were not queued before in
    this same minute. Raises NotFound, Forbidden.
    """
    async with unit_of_work(scope.group_id) as work:
        await project(work, scope=scope, project_id=project_id)
        scope.require(Permission.METER_REFRESH, project_id)
        queued = 0
        for gateway in await metering.gateways_of_project(work, project_id=project_id):
            queued += await emit(
                work,
                topic="sweep.due",
                key=f"{gateway.id}:asked:{at:%Y%m%d%H%M}",
                payload={"gateway_id": str(gateway.id)},
                at=at,
            )
        if queued:
            await record(
                work,
                actor=scope.actor,
                action="project:meters:refresh",
                subject=str(project_id),
                at=at,
                project_id=project_id,
                after={"gateways": queued},
            )
    return queued
