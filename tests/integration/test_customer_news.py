"""Customers hear of a refund that was made, once (A23, C27)."""

from __future__ import annotations

from backend.journeys.refund_sending import pursue
from backend.kernel.db import unit_of_work
from backend.topups.ports import RefundState as Word

from .refunding import ask, channel_says, cloud_order
from .world import World, bind_customer


async def told(world: World) -> list[tuple[str, str]]:
    """(address, text) of each message of the group, as the provider will get it, oldest first."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT e.payload FROM outbox_event e JOIN alerts_delivery d ON d.id::text = e.key"
            " WHERE e.topic = 'message.send' AND d.event = e.payload->>'event' ORDER BY e.id"
        )
    return [(row["payload"]["address"], row["payload"]["text"]) for row in rows]


async def test_a_customer_hears_of_a_refund_when_it_is_done_and_not_when_it_fails(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await bind_customer(world)
    order = await cloud_order(ours)
    failed = await ask(ours, order, "20")
    ports, _ = channel_says(ours, Word.FAILED)
    await pursue(ports, group_id=ours.group_id, refund_id=failed.id)
    assert await told(ours) == []
    refund = await ask(ours, order, "12.5")
    ports, _ = channel_says(ours, Word.ACCEPTED, Word.DONE)
    await pursue(ports, group_id=ours.group_id, refund_id=refund.id)
    assert await told(ours) == []
    for _ in range(2):
        await pursue(ports, group_id=ours.group_id, refund_id=refund.id)
    assert await told(ours) == [
        (
            "o-zhang",
            "退款完成：Shop 100001 12.50 元已退（11-22 12:00）。原路退回的，到账时间以支付渠道为准。",
        )
    ]
    assert await told(theirs) == []
