"""A message that no provider takes ends as refused, with its reason: nothing waits for ever unseen."""

from __future__ import annotations

from uuid import UUID

from backend.alerts.operations import queue_delivery
from backend.alerts.ports import MessageChannel
from backend.kernel.db import unit_of_work
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.handlers import GIVE_UP_AFTER
from workers.main import handle_event

from .world import START, World


async def _try(world: World, attempts: int) -> tuple[str, str | None, bool]:
    """Let the worker try the group's one message; (delivery state, its error, event done)."""
    async with unit_of_work(world.group_id) as work:
        event = await work.fetchrow("SELECT id, payload FROM outbox_event")
    assert event is not None
    job = {
        "group_id": world.group_id,
        "event_id": str(event["id"]),
        "topic": "message.send",
        "payload": event["payload"],
        "attempts": attempts,
    }
    context = WorkerContext(world.ports, Buses(BusLease("postgresql://nowhere"), access=Access()))
    await handle_event({"context": context}, job)
    async with unit_of_work(world.group_id) as work:
        row = await work.fetchrow("SELECT state, last_error FROM alerts_delivery")
        done = await work.fetchval("SELECT done_at IS NOT NULL FROM outbox_event")
    assert row is not None
    return row["state"], row["last_error"], done


async def test_a_message_is_tried_again_and_at_last_given_up_with_its_reason(
    worlds: tuple[World, World],
) -> None:
    for world in worlds:
        async with unit_of_work(world.group_id) as work:
            await queue_delivery(
                work,
                channel=MessageChannel.SMS,
                event="bind_code",
                key="given-up",
                customer_id=None,
                content={"address": "13800000000", "text": "x"},
                at=START,
            )
    ours, theirs = worlds
    last = GIVE_UP_AFTER["message.send"]
    assert await _try(ours, last - 1) == ("QUEUED", None, False)
    state, error, done = await _try(ours, last)
    assert (state, done) == ("REFUSED", True)
    assert error is not None
    assert error.startswith("given up: ")
    async with unit_of_work(theirs.group_id) as work:
        untouched: UUID | None = await work.fetchval(
            "SELECT id FROM alerts_delivery WHERE state = 'QUEUED'"
        )
    assert untouched is not None
