"""What doors of refunds and cash desks name, in one project: paid top-ups, a request, a shift."""

from __future__ import annotations

from backend.journeys.cash_desk import open_shift
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from schema.scalars import ref

from ..refunding import ask
from ..world import World, make_account, make_credential, make_meter, make_order, pay


async def make_money_things(world: World, *, prefix: str) -> dict[str, str]:
    """Opaque ids: PaidTopUp (its money in the purse), Refund (waits for a second operator), Shift, and
    RightAccount (for a top-up of the wrong room)."""
    payer = await make_account(world, no=f"{prefix}00031")
    right = await make_account(world, no=f"{prefix}00032")
    meter, assignment = await make_meter(
        world, serial=f"CLOUD-{prefix}", bus_address=211, account=payer
    )
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE metering_meter SET credit_mode = 'CLOUD' WHERE id = $1", meter.id
        )
    credential_id = await make_credential(world)
    orders = [
        await make_order(
            world,
            credential_id=credential_id,
            amount_fen=30_000,
            account=payer,
            assignment=assignment,
        )
        for _ in range(2)
    ]
    for order in orders:
        assert (await pay(world, order)).paid
    refund = await ask(world, orders[1], "150")
    shift = await open_shift(
        scope=world.scope,
        project_id=world.project.id,
        desk=f"desk {prefix}",
        change=Money.parse("100"),
        at=world.clock.now(),
    )
    return {
        "PaidTopUp": ref("TopUp", orders[0].id),
        "Refund": ref("Refund", refund.id),
        "Shift": ref("Shift", shift.id),
        "RightAccount": ref("Account", right.id),
    }
