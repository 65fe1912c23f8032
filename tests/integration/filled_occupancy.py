"""A household that was opened and is being closed: rows of openings, takedowns and closings."""

from __future__ import annotations

from backend.journeys.closing import close_account
from backend.journeys.opening import NewHousehold, OpenedMeter, open_household
from backend.journeys.takedown import Ask
from backend.kernel.db import unit_of_work
from backend.metering import operations as metering
from backend.metering.readings import store_readings
from workers.models import meter_models

from .world import START, World, reading_of


async def fill_occupancy(world: World) -> None:
    """Open an account with a meter of its own, and begin to close it."""
    async with unit_of_work(world.group_id) as work:
        meter = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=world.gateway,
            serial=f"LIFE-{world.code}",
            model=meter_models()["DDSY1352-NK"],
            bus_address="157",
            at=START,
        )
        await store_readings(work, readings=[reading_of(meter.id, at=START)])
    new = NewHousehold(
        area_id=world.area.id,
        no="910077",
        name="Short stay",
        phone="13800138002",
        meters=[OpenedMeter(meter.id)],
    )
    account = await open_household(
        scope=world.scope,
        new=new,
        idempotency_key="short-stay",
        models=meter_models(),
        at=START,
    )
    ask = Ask(world.scope.actor, "moved out", "short-stay-ends", meter_models(), START)
    await close_account(scope=world.scope, account_id=account.id, cut=False, ask=ask)
