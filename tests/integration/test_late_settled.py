"""A payment settled after the bill of its day was compared is on some bill, or it is a case (C6)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from backend.journeys.late_settled import TOPIC
from backend.kernel.db import unit_of_work
from backend.outbox.operations import Event, claim
from backend.reconcile.models import DayState
from backend.topups.ports import BillLine
from workers.reconcile import late_due

from .billed import DAY, NEXT_TEN, Books, make_books
from .test_books_worker import context_of
from .world import START, World, make_credential, pay

TOMORROW, DAY_AFTER = DAY + timedelta(days=1), DAY + timedelta(days=2)


@pytest.fixture
async def books(worlds: tuple[World, World]) -> Books:
    """Ours take money; theirs have a merchant account as well."""
    await make_credential(worlds[1])
    return await make_books(worlds[0])


async def closed_without(books: Books) -> BillLine:
    """A day's bill was compared and its day closed; then a payment of that day is settled. Its line."""
    books.publish()
    await books.compare()
    assert (await books.day()).state is DayState.CLOSED
    order = await books.order()
    assert (await pay(books.world, order, paid_at=START)).paid
    return books.line(order, at=START)


async def looks(world: World) -> list[Event]:
    """The looks that are planned, whenever they are due."""
    async with unit_of_work(world.group_id) as work:
        events = await claim(
            work, at=START + timedelta(days=9), lease=timedelta(seconds=1), limit=99
        )
    return [event for event in events if event.topic == TOPIC]


async def looked(books: Books, event: Event) -> datetime | None:
    """Do a look now; when the next one is wanted."""
    return await late_due(context_of(books), books.world.group_id, event.payload)


async def test_a_payment_settled_after_its_day_was_closed_that_no_bill_has_is_one_case(
    books: Books, worlds: tuple[World, World]
) -> None:
    line = await closed_without(books)
    (event,) = await looks(books.world)
    now = books.world.clock.now()
    assert await looked(books, event) == now + timedelta(hours=1), "the next bill may have it"
    assert await books.cases() == []
    books.publish(day=TOMORROW)
    await books.compare(TOMORROW)
    for _ in range(2):
        assert await looked(books, event) is None
    assert await books.cases() == [("PAYMENT_NOT_BILLED", True)]
    assert await looks(worlds[1]) == []
    books.publish(line, day=DAY_AFTER)
    await books.compare(DAY_AFTER)
    assert await books.cases() == [("PAYMENT_NOT_BILLED", False)], "a later bill had it after all"


async def test_a_payment_settled_late_that_the_next_bill_has_is_no_case(books: Books) -> None:
    line = await closed_without(books)
    (event,) = await looks(books.world)
    books.publish(line, day=TOMORROW)
    await books.compare(TOMORROW)
    assert await looked(books, event) is None
    assert await books.cases() == []


async def test_a_next_bill_that_never_comes_is_not_waited_for_beyond_its_time(books: Books) -> None:
    await closed_without(books)
    (event,) = await looks(books.world)
    books.world.clock.instant = NEXT_TEN + timedelta(days=1, hours=7)
    assert await looked(books, event) is not None
    books.world.clock.instant += timedelta(hours=1)
    assert await looked(books, event) is None
    assert await books.cases() == [("PAYMENT_NOT_BILLED", True)]


async def test_what_the_days_own_comparison_tells_is_not_told_again(books: Books) -> None:
    books.world.clock.instant = NEXT_TEN
    order = await books.order()
    await pay(books.world, order, paid_at=START)  # its bill is out, and not compared yet
    (event,) = await looks(books.world)
    books.publish()
    await books.compare()
    assert await looked(books, event) is None
    assert await books.cases() == [("BILL_DIFFERS", True)]


async def test_a_payment_that_is_settled_before_its_bill_is_out_is_not_looked_at(
    books: Books,
) -> None:
    books.world.clock.instant = NEXT_TEN - timedelta(minutes=2)
    await pay(books.world, await books.order(), paid_at=START)
    assert await looks(books.world) == []
