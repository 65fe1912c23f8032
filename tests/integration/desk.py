"""A cash desk in a test's world: an open shift, and money taken at it."""

from __future__ import annotations

import secrets
from uuid import UUID

from backend.journeys.cash_desk import open_shift
from backend.journeys.cashier import take_money
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.topups.queries import Order
from backend.topups.rules import Channel
from backend.topups.shifts import Shift

from .world import World


async def cloud(world: World) -> World:
    """The world's meters leave their money to the cloud."""
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE metering_meter SET credit_mode = 'CLOUD'")
    return world


async def opened(
    world: World, *, desk: str = "一号窗口", change: str = "100", scope: Scope | None = None
) -> Shift:
    """An open shift with change in its drawer."""
    return await open_shift(
        scope=scope or world.scope,
        project_id=world.project.id,
        desk=desk,
        change=Money.parse(change),
        at=world.clock.now(),
    )


async def take(
    world: World,
    yuan: str = "50",
    *,
    slip: str | None = None,
    key: str = "",
    scope: Scope | None = None,
    account_id: UUID | None = None,
    meter_id: UUID | None = None,
) -> Order:
    """Money taken at the desk: cash, or by card when there is a slip."""
    return await take_money(
        scope=scope or world.scope,
        account_id=account_id or world.account.id,
        amount=Money.parse(yuan),
        channel=Channel.CASH if slip is None else Channel.CARD,
        slip_no=slip,
        idempotency_key=key or secrets.token_hex(8),
        at=world.clock.now(),
        meter_id=meter_id,
    )
