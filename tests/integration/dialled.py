"""A gateway that dials in: registered, and put on the list by an operator."""

from __future__ import annotations

from backend.kernel.db import unit_of_work
from backend.metering import operations as metering
from backend.metering.dial_in import DialIn, set_dial_in
from backend.metering.models import Gateway
from backend.metering.rules import GatewayLink

from .world import BOX, World


async def make_dialling(
    world: World, *, serial: str = "DTU-1", link: GatewayLink = GatewayLink.DTU
) -> Gateway:
    """A gateway of the world that dials in, not on the list yet."""
    async with unit_of_work(world.group_id) as work:
        return await metering.add_gateway(
            work,
            scope=world.scope,
            project_id=world.project.id,
            serial=serial,
            name=serial,
            link=link,
            at=world.clock.now(),
        )


async def allow(world: World, gateway: Gateway, dial_in: DialIn) -> None:
    """As an operator does it."""
    async with unit_of_work(world.group_id) as work:
        await set_dial_in(
            work,
            scope=world.scope,
            box=BOX,
            gateway_id=gateway.id,
            dial_in=dial_in,
            at=world.clock.now(),
        )
