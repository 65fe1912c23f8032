"""A channel without a bill is asked for each number of ours, and its day is compared like any other (C6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from backend.kernel.db import unit_of_work
from backend.reconcile.models import DayState
from backend.reconcile.rules import BillClass
from backend.topups.ports import BillLine, ChannelUnavailable
from backend.topups.queries import order_by_id
from backend.topups.rules import OrderState

from .billed import DAY, NEXT_TEN, Books, Channel, make_books
from .world import World, make_credential, pay


@dataclass
class WithoutBill(Channel):
    """What the channel did by number; a number is `away` while it gets no answer."""

    done: dict[str, BillLine] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    asked_for: list[str] = field(default_factory=list)

    async def lines_of(
        self, *, order_nos: Sequence[str], refund_nos: Sequence[str]
    ) -> list[BillLine]:
        """See AsksEachNumber."""
        numbers = [*order_nos, *refund_nos]
        self.asked_for += numbers
        if self.away & set(numbers):
            raise ChannelUnavailable("no answer")
        return [self.done[number] for number in numbers if number in self.done]


@pytest.fixture
async def books(worlds: tuple[World, World]) -> Books:
    """Ours take money by a channel without a bill; theirs have a merchant account as well."""
    await make_credential(worlds[1])
    return replace(await make_books(worlds[0]), channel=WithoutBill())


def channel_of(books: Books) -> WithoutBill:
    """The channel behind the books."""
    assert isinstance(books.channel, WithoutBill)
    return books.channel


async def test_paid_lost_and_unconfirmed_orders_are_told_apart_without_a_bill(
    books: Books,
) -> None:
    channel = channel_of(books)
    agreed, lost, denied, unpaid = [await books.order(fen=fen) for fen in (5000, 700, 800, 900)]
    for order in (agreed, denied):
        await pay(books.world, order)
    channel.done = {order.order_no: books.line(order) for order in (agreed, lost)}
    await books.compare()
    assert sorted(channel.asked_for) == sorted(
        order.order_no for order in (agreed, lost, denied, unpaid)
    )
    assert channel.asked == 0, "nobody asks for a bill that there is not"
    async with unit_of_work(books.world.group_id) as work:
        found = await order_by_id(work, order_id=lost.id)
    assert found is not None
    assert found.state is OrderState.PAID, "settled as by a notice"
    items = [(item.kind, item.order_no, item.ours_fen) for item in await books.items()]
    assert sorted(items) == sorted(
        [(BillClass.ONLY_THEIRS, lost.order_no, None), (BillClass.ONLY_OURS, denied.order_no, 800)]
    )
    assert await books.cases() == [("BILL_DIFFERS", True)]
    assert (await books.day()).state is DayState.MATCHED


async def test_what_was_paid_after_midnight_belongs_to_the_next_day_and_closes_both(
    books: Books,
) -> None:
    channel, order = channel_of(books), await books.order()
    # The notice is lost, and the payer pays a quarter of an hour after midnight.
    after = NEXT_TEN - timedelta(hours=9, minutes=46)
    channel.done = {order.order_no: books.line(order, at=after)}
    await books.compare()
    assert (await books.day()).lines == 0
    await books.compare(DAY + timedelta(days=1))
    assert (await books.day(DAY + timedelta(days=1))).lines == 1
    async with unit_of_work(books.world.group_id) as work:
        found = await order_by_id(work, order_id=order.id)
    assert found is not None
    assert found.state is OrderState.PAID


async def test_a_number_that_gets_no_answer_leaves_the_day_open_and_late_it_is_a_case(
    books: Books,
) -> None:
    channel, order = channel_of(books), await books.order()
    await pay(books.world, order)
    channel.away, channel.done = {order.order_no}, {order.order_no: books.line(order)}
    with pytest.raises(ChannelUnavailable):
        await books.compare()
    assert (await books.day()).state is DayState.WAITING
    assert await books.cases() == []
    books.world.clock.instant = NEXT_TEN + timedelta(hours=9)
    with pytest.raises(ChannelUnavailable):
        await books.compare()
    assert await books.cases() == [("BILL_MISSING", True)]
    channel.away = set()
    await books.compare()
    assert (await books.day()).state is DayState.CLOSED
    assert await books.cases() == [("BILL_MISSING", False)]
