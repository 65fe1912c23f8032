"""The clock's work on the books: what is due is planned once, done by its handler, and again if need be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.kernel.db import unit_of_work
from backend.outbox.operations import Event, claim, finish
from backend.topups.ports import ChannelUnavailable
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.handlers import GIVE_UP_AFTER, HANDLERS, SLOW_TOPICS
from workers.reconcile import plan_books

from .billed import DAY, NEXT_TEN, Books, make_books
from .world import World, pay

TOPICS = {"bill.due", "proof.due", "statement.due"}


def context_of(books: Books) -> WorkerContext:
    """A worker without a bus: these jobs ask no meter."""
    return WorkerContext(books.ports, Buses(BusLease("postgresql://nowhere"), access=Access()))


async def due(books: Books) -> list[Event]:
    """The books' events that are due now."""
    async with unit_of_work(books.world.group_id) as work:
        found = await claim(
            work, at=books.world.clock.now(), lease=timedelta(seconds=30), limit=100
        )
    return [event for event in found if event.topic in TOPICS]


async def do(books: Books, event: Event) -> None:
    """What the worker does with an event."""
    again = await HANDLERS[event.topic](context_of(books), books.world.group_id, event.payload)
    assert again is None
    async with unit_of_work(books.world.group_id) as work:
        await finish(work, event_id=event.id, at=books.world.clock.now())


async def test_a_day_that_is_over_is_compared_proved_and_stated(
    worlds: tuple[World, World],
) -> None:
    books = await make_books(worlds[0])
    order = await books.order()
    await pay(books.world, order)
    books.publish(books.line(order))
    books.world.clock.instant = NEXT_TEN
    for _ in range(2):
        await plan_books(group_id=books.world.group_id, at=NEXT_TEN)
    events = await due(books)
    assert {event.topic for event in events} == TOPICS
    assert len(events) == 3, "each is planned once"
    for event in events:
        await do(books, event)
    async with unit_of_work(books.world.group_id) as work:
        assert await work.fetchval("SELECT state FROM reconcile_day") == "CLOSED"
        assert await work.fetchval("SELECT verdict FROM reconcile_proof") == "UNREAD"
        assert await work.fetchval("SELECT day FROM reconcile_statement") == DAY
    await plan_books(group_id=books.world.group_id, at=NEXT_TEN + timedelta(hours=1))
    books.world.clock.advance(timedelta(hours=1))
    assert await due(books) == []
    async with unit_of_work(worlds[1].group_id) as work:
        for count in (
            "SELECT count(*) FROM reconcile_day",
            "SELECT count(*) FROM reconcile_proof",
            "SELECT count(*) FROM reconcile_statement",
        ):
            assert await work.fetchval(count) == 0


async def test_a_bill_that_is_not_out_is_handed_back_to_be_tried_for_ever(
    worlds: tuple[World, World],
) -> None:
    books = await make_books(worlds[0])
    books.world.clock.instant = NEXT_TEN
    await plan_books(group_id=books.world.group_id, at=NEXT_TEN)
    (bill,) = [event for event in await due(books) if event.topic == "bill.due"]
    with pytest.raises(ChannelUnavailable):
        await do(books, bill)
    assert "bill.due" not in GIVE_UP_AFTER
    assert TOPICS <= SLOW_TOPICS, "a large bill or project takes longer than a short job may"
