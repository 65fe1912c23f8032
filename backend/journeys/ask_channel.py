"""Ask the channel actively: a notice may come never or late (C5)."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from uuid import UUID

from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.metrics import TOPUPS
from backend.tenancy import queries as tenancy
from backend.topups import operations
from backend.topups import queries as topups
from backend.topups.operations import BELL
from backend.topups.ports import ChannelRefused
from backend.topups.rules import OrderState, next_query

from .ports import Ports
from .settle import settle


async def ask_channel(ports: Ports, *, group_id: int, order_id: UUID) -> datetime | None:
    """Ask the channel about an unpaid order and act on the answer; returns when to ask again.

    An order past its time is closed at the channel, then asked for once more: a payment may have
    won the race (C5). Raises ChannelUnavailable: nothing is known, ask again.
    """
    async with unit_of_work(group_id) as work:
        order = await topups.order_by_id(work, order_id=order_id)
        if order is None:
            raise NotFound("no such order")
        if order.state is OrderState.PAID or order.credential_id is None:
            return None
        credential = await tenancy.credential_by_id(
            work, box=ports.box, credential_id=order.credential_id
        )
    channel = ports.payment_channel(group_id, credential)
    expired = ports.clock.now() >= order.expires_at
    if expired and order.state is OrderState.CREATED:
        with suppress(ChannelRefused):  # a paid order cannot be closed: the query below tells
            await channel.close(order.order_no)
    payment = await channel.query(order.order_no)
    settled = await settle(
        ports, group_id=group_id, credential_id=credential.id, payment=payment, source="query"
    )
    if settled.paid:
        return None
    if expired:
        async with unit_of_work(group_id) as work:
            if await operations.mark_closed(work, order_id=order_id, at=ports.clock.now()):
                TOPUPS.labels(step="closed").inc()
                work.notify(BELL, f"{group_id}:{order_id}")
    return next_query(created_at=order.created_at, at=ports.clock.now())
