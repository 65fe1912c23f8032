"""Charge what was stored of CLOUD meters, as its event tells (C13)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.journeys.charge import charge_meters
from backend.kernel.metrics import CHARGES
from workers.context import WorkerContext


async def charge_due(context: WorkerContext, group_id: int, payload: Mapping[str, str]) -> None:
    """The payload names meters, each with the instant of its oldest reading that came. Doing it twice
    charges once."""
    since = {UUID(meter): datetime.fromisoformat(at) for meter, at in payload.items()}
    made = await charge_meters(group_id=group_id, since=since, at=context.ports.clock.now())
    CHARGES.inc(made)
