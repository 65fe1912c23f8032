"""The bill of each day against the book: what differs is told, settled or ended by a person (C6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from backend.audit.queries import entries
from backend.journeys.reconcile import plan_bills, reconcile_day
from backend.journeys.reconcile_desk import (
    bill_day,
    bill_days,
    bill_items,
    close_day,
    resolve_item,
)
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.reconcile.models import DayState
from backend.reconcile.rules import BillClass
from backend.topups.operations import mark_closed
from backend.topups.ports import ChannelUnavailable
from backend.topups.queries import order_by_id
from backend.topups.rules import OrderState

from .billed import DAY, NEXT_TEN, Books, make_books
from .world import START, World, admin_scope, make_credential, new_id, pay

NOTE = "the bank confirmed it by phone"


@pytest.fixture
async def books(worlds: tuple[World, World]) -> Books:
    """Ours take money; theirs have a merchant account as well."""
    await make_credential(worlds[1])
    return await make_books(worlds[0])


async def counts(books: Books) -> tuple[int, ...]:
    """Rows of everything that a comparison may write."""
    tables = ("reconcile_day", "reconcile_line", "reconcile_item", "alerts_case", "ledger_entry")
    async with unit_of_work(books.world.group_id) as work:
        return tuple([await work.fetchval(f"SELECT count(*) FROM {table}") for table in tables])


async def test_a_day_in_which_bill_and_book_agree_closes_by_itself(books: Books) -> None:
    orders = [await books.order(fen=fen) for fen in (5000, 12_345)]
    for order in orders:
        await pay(books.world, order)
    books.publish(*(books.line(order) for order in orders))
    assert await books.compare() is None
    day = await books.day()
    assert (day.state, day.closed_by, day.lines, day.matched) == (DayState.CLOSED, "system", 2, 2)
    assert (day.ours_paid_fen, day.theirs_paid_fen) == (17_345, 17_345)
    assert await books.items() == []
    assert await books.cases() == []


async def test_a_lost_payment_is_settled_from_the_bill_as_by_a_notice(books: Books) -> None:
    order = await books.order()
    late = await books.order(fen=700)
    async with unit_of_work(books.world.group_id) as work:
        await mark_closed(work, order_id=late.id, at=START)
    books.publish(books.line(order), books.line(late))
    await books.compare()
    async with unit_of_work(books.world.group_id) as work:
        for each in (order, late):
            now = await order_by_id(work, order_id=each.id)
            assert now is not None
            assert (now.state, now.paid_at) == (OrderState.PAID, START)
        assert await work.fetchval("SELECT count(*) FROM control_vend") == 2
    day = await books.day()
    assert (day.state, day.matched, day.ours_paid_fen) == (DayState.MATCHED, 2, 5700)
    # An auditor still sees that it was the bill that told of them.
    told = await books.items()
    assert [item.kind for item in told] == [BillClass.ONLY_THEIRS] * 2
    assert {item.resolved_by for item in told} == {"system"}
    assert await books.cases() == []


async def test_what_stays_different_is_an_item_and_a_case_each_with_both_amounts(
    books: Books,
) -> None:
    ours, wrong, unknown = await books.order(), await books.order(fen=800), await books.order()
    for order in (ours, wrong):
        await pay(books.world, order)
    books.publish(
        books.line(wrong, amount_fen=810),
        books.line(unknown, order_no="20261122000000ffff", amount_fen=99),
        books.line(
            ours, order_no=ours.order_no, amount_fen=0, refund_no="RCONSOLE1", refund_fen=50
        ),
    )
    await books.compare()
    items = {item.kind: (item.ours_fen, item.theirs_fen) for item in await books.items()}
    assert items == {
        BillClass.AMOUNT_DIFFERS: (800, 810),
        BillClass.ONLY_THEIRS: (None, 99),
        BillClass.ONLY_OURS: (5000, None),
        BillClass.REFUND_DIFFERS: (None, 50),
    }
    cases = await books.cases()
    assert cases == [("BILL_DIFFERS", True)] * 4 + [("PAYMENT_MISMATCH", True)]
    assert (await books.day()).state is DayState.MATCHED


async def test_a_payment_of_another_amount_than_ordered_is_not_believed_from_a_bill_either(
    books: Books,
) -> None:
    order = await books.order()
    books.publish(books.line(order, amount_fen=4999))
    await books.compare()
    async with unit_of_work(books.world.group_id) as work:
        now = await order_by_id(work, order_id=order.id)
        assert await work.fetchval("SELECT count(*) FROM ledger_entry") == 0
    assert now is not None
    assert now.state is OrderState.CREATED
    (item,) = await books.items()
    assert (item.kind, item.resolved_at) == (BillClass.ONLY_THEIRS, None)


async def test_money_that_the_channel_gave_back_the_same_day_is_not_sold_for(books: Books) -> None:
    order = await books.order()
    books.publish(
        books.line(order), books.line(order, amount_fen=0, refund_no="RC1", refund_fen=5000)
    )
    await books.compare()
    async with unit_of_work(books.world.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM control_vend") == 0
    assert {item.kind for item in await books.items()} == {
        BillClass.ONLY_THEIRS,
        BillClass.REFUND_DIFFERS,
    }


async def test_doing_it_again_changes_nothing_and_asks_the_channel_no_more(books: Books) -> None:
    ours = await books.order()
    await pay(books.world, ours)
    books.publish(books.line(await books.order()), books.line(ours, amount_fen=1))
    await books.compare()
    before, items = await counts(books), await books.items()
    day = await books.day()
    for _ in range(3):
        await books.compare()
    assert await counts(books) == before
    assert await books.items() == items
    assert await books.day() == day
    assert books.channel.asked == 1


async def test_two_workers_on_one_bill_settle_and_tell_once(books: Books) -> None:
    order = await books.order()
    books.publish(books.line(order), books.line(order, order_no="20261122000000eeee"))
    books.world.clock.instant = NEXT_TEN
    await plan_bills(group_id=books.world.group_id, at=NEXT_TEN)
    day_id = (await books.day()).id
    group_id = books.world.group_id
    await asyncio.gather(
        *(reconcile_day(books.ports, group_id=group_id, day_id=day_id) for _ in range(6))
    )
    async with unit_of_work(group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM control_vend") == 1
        assert await work.fetchval("SELECT count(*) FROM reconcile_line") == 2
    assert len(await books.items()) == 2
    assert await books.cases() == [("BILL_DIFFERS", True), ("PAYMENT_MISMATCH", True)]


async def test_an_order_of_the_last_second_of_the_day_ends_with_the_next_bill(books: Books) -> None:
    books.world.clock.instant = START + timedelta(hours=11, minutes=59, seconds=59)
    order = await books.order()
    await pay(books.world, order)
    line = books.line(order)
    books.publish()
    await books.compare()
    today = await books.day()
    assert (today.state, today.carried_fen) == (DayState.CLOSED, 5000)
    tomorrow = DAY + timedelta(days=1)
    books.publish(line, day=tomorrow)
    await books.compare(tomorrow)
    day = await books.day(tomorrow)
    assert (day.state, day.matched, day.carried_fen) == (DayState.CLOSED, 1, 0)


async def test_an_order_of_the_last_second_that_no_bill_brings_is_told_a_day_later(
    books: Books,
) -> None:
    books.world.clock.instant = START + timedelta(hours=11, minutes=59, seconds=59)
    await pay(books.world, await books.order())
    tomorrow = DAY + timedelta(days=1)
    for day in (DAY, tomorrow):
        books.publish(day=day)
        await books.compare(day)
    assert [item.kind for item in await books.items()] == [BillClass.ONLY_OURS]
    assert (await books.day(tomorrow)).state is DayState.MATCHED


async def test_a_payment_that_a_later_bill_brings_ends_its_item_and_case(books: Books) -> None:
    order = await books.order()
    await pay(books.world, order)
    line = books.line(order)
    books.publish()
    await books.compare()
    assert await books.cases() == [("BILL_DIFFERS", True)]
    tomorrow = DAY + timedelta(days=1)
    books.publish(line, day=tomorrow)
    await books.compare(tomorrow)
    (item,) = await books.items()
    assert (item.kind, item.resolved_by) == (BillClass.ONLY_OURS, "system")
    assert await books.cases() == [("BILL_DIFFERS", False)]
    # Something differed, so a person still puts an end to that day; the next day is clean.
    assert (await books.day()).state is DayState.MATCHED
    assert (await books.day(tomorrow)).state is DayState.CLOSED


async def test_a_bill_that_does_not_come_is_asked_for_again_and_becomes_a_case(
    books: Books,
) -> None:
    with pytest.raises(ChannelUnavailable):
        await books.compare()
    assert await books.cases() == []
    assert (await books.day()).last_error == "no bill yet"
    books.world.clock.instant = NEXT_TEN + timedelta(hours=8)
    for _ in range(2):
        with pytest.raises(ChannelUnavailable):
            await books.compare()
    assert await books.cases() == [("BILL_MISSING", True)]
    assert (await books.day()).state is DayState.WAITING
    books.publish()
    await books.compare()
    assert await books.cases() == [("BILL_MISSING", False)]
    assert (await books.day()).state is DayState.CLOSED


async def test_a_day_is_planned_once_and_only_when_its_bill_is_out(books: Books) -> None:
    group_id = books.world.group_id
    assert await plan_bills(group_id=group_id, at=NEXT_TEN - timedelta(minutes=2)) == 0
    assert await plan_bills(group_id=group_id, at=NEXT_TEN) == 1
    assert await plan_bills(group_id=group_id, at=NEXT_TEN) == 0
    async with unit_of_work(group_id) as work:
        payload = await work.fetchval("SELECT payload FROM outbox_event WHERE topic = 'bill.due'")
    assert UUID(payload["day_id"]) == (await books.day()).id


async def test_a_day_closes_only_when_each_item_was_ended_with_a_note(books: Books) -> None:
    world = books.world
    await pay(world, await books.order())
    books.publish(books.line(await books.order(), order_no="20261122000000dddd"))
    await books.compare()
    day = await books.day()
    at = NEXT_TEN
    with pytest.raises(Conflict, match="2 items"):
        await close_day(scope=world.scope, day_id=day.id, note=NOTE, at=at)
    items = await books.items()
    with pytest.raises(InvalidInput):
        await resolve_item(scope=world.scope, item_id=items[0].id, note="  ok ", at=at)
    for item in items:
        ended = await resolve_item(scope=world.scope, item_id=item.id, note=NOTE, at=at)
        assert (ended.resolved_by, ended.note) == ("ling", NOTE)
    with pytest.raises(Conflict, match="before"):
        await resolve_item(scope=world.scope, item_id=items[0].id, note=NOTE, at=at)
    assert ("BILL_DIFFERS", True) not in await books.cases()
    closed = await close_day(scope=world.scope, day_id=day.id, note=NOTE, at=at)
    assert (closed.state, closed.closed_by, closed.note) == (DayState.CLOSED, "ling", NOTE)
    with pytest.raises(Conflict, match="before"):
        await close_day(scope=world.scope, day_id=day.id, note=NOTE, at=at)
    async with unit_of_work(world.group_id) as work:
        told = await entries(work, before_seq=None, limit=3)
    assert [entry.action for entry in told] == [
        "reconcile:day:close",
        "reconcile:item:resolve",
        "reconcile:item:resolve",
    ]
    assert await reconcile_day(books.ports, group_id=world.group_id, day_id=day.id) is None
    assert len(await books.items()) == 2


async def test_the_database_itself_closes_no_day_over_an_open_item(books: Books) -> None:
    await pay(books.world, await books.order())
    books.publish()
    await books.compare()
    forced = (
        "UPDATE reconcile_day SET state = 'CLOSED', closed_at = now(), closed_by = 'x'",
        "UPDATE reconcile_item SET resolved_at = now(), resolved_by = 'x'",
        "UPDATE reconcile_item SET resolved_at = now(), resolved_by = 'x', note = 'ok'",
    )
    for statement in forced:
        with pytest.raises(asyncpg.CheckViolationError):
            async with unit_of_work(books.world.group_id) as work:
                await work.execute(statement)
    (item,) = await books.items()
    await resolve_item(scope=books.world.scope, item_id=item.id, note=NOTE, at=NEXT_TEN)
    day_id = (await books.day()).id
    await close_day(scope=books.world.scope, day_id=day_id, note=NOTE, at=NEXT_TEN)
    for statement in (
        "UPDATE reconcile_day SET note = 'another'",
        "UPDATE reconcile_item SET note = 'another'",
        "INSERT INTO reconcile_item SELECT group_id, gen_random_uuid(), project_id, day_id, 'k2',"
        " kind, order_no, transaction_id, refund_no, ours_fen, theirs_fen, reason, found_at"
        " FROM reconcile_item",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            async with unit_of_work(books.world.group_id) as work:
                await work.execute(statement)


async def test_who_may_not_sees_and_ends_nothing(books: Books, worlds: tuple[World, World]) -> None:
    await pay(books.world, await books.order())
    books.publish()
    await books.compare()
    (item,) = await books.items()
    day, at = await books.day(), NEXT_TEN
    reader = admin_scope(books.world.group_id, permissions=frozenset({"reconcile:read"}))
    stranger = admin_scope(books.world.group_id, permissions=frozenset({"case:read"}))
    for scope, refused in (
        (reader, Forbidden),
        (stranger, NotFound),
        (worlds[1].scope, NotFound),
    ):
        with pytest.raises(refused):
            await resolve_item(scope=scope, item_id=item.id, note=NOTE, at=at)
        with pytest.raises(refused):
            await close_day(scope=scope, day_id=day.id, note=NOTE, at=at)
    async with unit_of_work(books.world.group_id) as work:
        pages = {"project_id": day.project_id, "only_open": True, "before": None, "limit": 9}
        seen = await bill_days(work, scope=reader, **pages)  # type: ignore[arg-type] # as named
        assert [each.id for each in seen] == [day.id]
        assert await bill_items(work, scope=reader, day_id=day.id, before=None, limit=9) == [item]
        with pytest.raises(NotFound):
            await bill_days(work, scope=stranger, **pages)  # type: ignore[arg-type] # as named
        with pytest.raises(NotFound):
            await bill_day(work, scope=reader, day_id=new_id())
    async with unit_of_work(worlds[1].group_id) as work:
        with pytest.raises(NotFound):
            await bill_day(work, scope=worlds[1].scope, day_id=day.id)
        assert await work.fetchval("SELECT count(*) FROM reconcile_item") == 0


async def test_a_day_whose_bill_never_comes_is_closed_by_a_person_once_it_is_overdue(
    books: Books,
) -> None:
    with pytest.raises(ChannelUnavailable):
        await books.compare()
    day, scope = await books.day(), books.world.scope
    with pytest.raises(Conflict, match="compared"):
        await close_day(scope=scope, day_id=day.id, note=NOTE, at=NEXT_TEN)
    late = books.world.clock.instant = NEXT_TEN + timedelta(hours=8)
    with pytest.raises(ChannelUnavailable):
        await books.compare()
    closed = await close_day(scope=scope, day_id=day.id, note=NOTE, at=late)
    assert (closed.state, closed.fetched_at, closed.closed_by) == (DayState.CLOSED, None, "ling")
    assert await books.cases() == [("BILL_MISSING", False)]
    assert await books.compare() is None, "and the worker lets it rest"


async def test_a_refund_that_names_no_order_is_found_again_by_its_own_number(books: Books) -> None:
    nameless = books.line(
        await books.order(), order_no="", amount_fen=0, refund_no="R1", refund_fen=9
    )
    tomorrow = DAY + timedelta(days=1)
    for day in (DAY, tomorrow):
        books.publish(nameless, day=day)
        await books.compare(day)
    assert [(item.order_no, item.refund_no) for item in await books.items()] == [("", "R1")] * 2
