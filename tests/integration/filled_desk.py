"""A row in every table of refunds and cash desks, each made by the product's own operations."""

from __future__ import annotations

from backend.journeys.cashier import print_receipt, take_money
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.topups.rules import Channel

from .desk import opened
from .refunding import ask, move
from .world import World, make_account, make_meter


async def fill_desk(world: World) -> None:
    """A shift, money taken in it, its receipt, a refund of it, and what was left of it moved."""
    payer, right = await make_account(world, no="900001"), await make_account(world, no="900002")
    meter, _ = await make_meter(world, serial="M-desk", bus_address=240, account=payer)
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE metering_meter SET credit_mode = 'CLOUD' WHERE id = $1", meter.id
        )
    await opened(world, desk="fill")
    at = world.clock.now()
    order = await take_money(
        scope=world.scope,
        account_id=payer.id,
        amount=Money.parse("20"),
        channel=Channel.CARD,
        slip_no="FILL0001",
        idempotency_key="fill-desk-1",
        at=at,
    )
    await print_receipt(scope=world.scope, order_id=order.id, at=at)
    await ask(world, order, "5")
    await move(world, order, right.id)
