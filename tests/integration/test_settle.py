"""A payment becomes money in the book and a numbered vend once, or a case, and is never dropped (C5)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from backend.control.queries import vends_of_topups
from backend.control.rules import VendState
from backend.journeys.notice import settle_notice, store_notice
from backend.journeys.settle import Settled, _settle_all, _Statement, settle
from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.money import ZERO, Money
from backend.ledger.queries import owed
from backend.ledger.rules import AccountKind
from backend.metering.queries import assignment_by_id
from backend.outbox.operations import claim
from backend.outbox.queries import outcome_of
from backend.topups.operations import mark_closed
from backend.topups.ports import PaymentState
from backend.topups.queries import Order, order_by_id
from backend.topups.rules import OrderState, Verdict

from .test_ledger import expect_kept_is_derived
from .world import (
    APP_ID,
    START,
    World,
    make_account,
    make_credential,
    make_meter,
    make_order,
    merchant_of,
    new_id,
    pay,
    payment_of,
)

FIFTY = Money.parse("50")


@dataclass(frozen=True)
class Till:
    """A world that takes money, and the group beside it."""

    world: World
    other: World
    credential_id: UUID

    async def order(self, *, fen: int = 5000) -> Order:
        """A fresh order of the world's account."""
        return await make_order(self.world, credential_id=self.credential_id, amount_fen=fen)


@pytest.fixture
async def till(worlds: tuple[World, World]) -> Till:
    """Both groups have merchant accounts; the first one sells."""
    for world in worlds:
        await make_credential(world)
    return Till(*worlds, credential_id=await make_credential(worlds[0]))


@dataclass(frozen=True)
class Effects:
    """Everything one group's settles left behind."""

    entries: int
    lots: int
    vends: int
    due_events: int
    last_purchase_no: int
    in_transit: Money
    purse: Money
    cases: tuple[str, ...]


async def effects(world: World) -> Effects:
    """What is in the world's book, queue and list of cases now."""
    async with unit_of_work(world.group_id) as work:
        assignment = await assignment_by_id(work, assignment_id=world.assignment.id)
        transit = await owed(work, kind=AccountKind.IN_TRANSIT, refs=[world.meter.id])
        purse = await owed(work, kind=AccountKind.PURSE, refs=[world.account.id])
        cases = await work.fetch("SELECT kind FROM alerts_case ORDER BY opened_at, id")
        return Effects(
            entries=await work.fetchval("SELECT count(*) FROM ledger_entry"),
            lots=await work.fetchval("SELECT count(*) FROM ledger_lot"),
            vends=await work.fetchval("SELECT count(*) FROM control_vend"),
            due_events=await work.fetchval(
                "SELECT count(*) FROM outbox_event WHERE topic = 'vend.due'"
            ),
            last_purchase_no=assignment.last_purchase_no,
            in_transit=transit[world.meter.id],
            purse=purse[world.account.id],
            cases=tuple(row["kind"] for row in cases),
        )


NOTHING = Effects(0, 0, 0, 0, 0, ZERO, ZERO, ())
ONE_SALE = Effects(2, 1, 1, 1, 1, FIFTY, ZERO, ())


async def order_now(world: World, order: Order) -> Order:
    """The order as the database has it."""
    async with unit_of_work(world.group_id) as work:
        found = await order_by_id(work, order_id=order.id)
    assert found is not None
    return found


async def test_a_payment_is_booked_reserved_numbered_and_queued_by_one_commit(till: Till) -> None:
    order = await till.order()
    settled = await pay(till.world, order)
    assert (settled.verdict, settled.paid, settled.order_id) == (Verdict.SETTLE, True, order.id)
    assert await effects(till.world) == ONE_SALE
    assert await effects(till.other) == NOTHING
    paid = await order_now(till.world, order)
    assert (paid.state, paid.paid_at) == (OrderState.PAID, START)
    async with unit_of_work(till.world.group_id) as work:
        vend = (await vends_of_topups(work, topup_ids=[order.id]))[order.id]
        events = await claim(work, at=START, lease=timedelta(seconds=30), limit=10)
    assert (vend.purchase_no, vend.amount, vend.state) == (1, FIFTY, VendState.QUEUED)
    payload = {"meter_id": str(till.world.meter.id), "vend_id": str(vend.id)}
    assert [e.payload for e in events if e.topic == "vend.due"] == [payload]
    await expect_kept_is_derived(till.world)


async def test_notice_notice_and_query_at_once_fifty_times_sell_once_each(till: Till) -> None:
    for number in range(1, 51):
        order = await till.order()
        settled = await asyncio.gather(
            pay(till.world, order),
            pay(till.world, order),
            pay(till.world, order, source="query"),
        )
        verdicts = sorted(str(one.verdict) for one in settled)
        assert verdicts == ["ALREADY", "ALREADY", "SETTLE"]
        assert all(one.paid for one in settled)
        money = Money(number * FIFTY.hao)
        assert await effects(till.world) == Effects(
            2 * number, number, number, number, number, money, ZERO, ()
        )
    assert await effects(till.other) == NOTHING
    await expect_kept_is_derived(till.world)


async def test_fifty_copies_of_a_notice_at_once_sell_once(till: Till) -> None:
    order = await till.order()
    settled = await asyncio.gather(*(pay(till.world, order) for _ in range(50)))
    assert sorted(str(one.verdict) for one in settled) == ["ALREADY"] * 49 + ["SETTLE"]
    assert await effects(till.world) == ONE_SALE


async def test_writers_of_ten_processes_at_once_sell_once(till: Till) -> None:
    """Within a process one writer goes after the other; between processes only the order's lock stands."""
    order, world = await till.order(), till.world
    said = [_Statement(world.ports, till.credential_id, payment_of(world, order), "notice")]
    told = await asyncio.gather(*(_settle_all(world.group_id, said) for _ in range(10)))
    verdicts = sorted(str(settled.verdict) for (settled,) in told)
    assert verdicts == ["ALREADY"] * 9 + ["SETTLE"]
    assert await effects(world) == ONE_SALE


async def test_a_kept_notice_is_settled_from_the_inbox_and_the_same_notice_is_kept_once(
    till: Till,
) -> None:
    order, world = await till.order(), till.world
    kept = [
        await store_notice(
            world.ports,
            group_id=world.group_id,
            channel=order.channel,
            credential_id=till.credential_id,
            key="notice-1",
            payment=payment_of(world, order),
        )
        for _ in range(3)
    ]
    assert kept == [True, False, False]
    async with unit_of_work(world.group_id) as work:
        events = await claim(work, at=START, lease=timedelta(seconds=30), limit=10)
    (noticed,) = [e for e in events if e.topic == "payment.noticed"]
    inbox_id = UUID(noticed.payload["inbox_id"])
    for verdict in (Verdict.SETTLE, Verdict.ALREADY):
        settled = await settle_notice(world.ports, group_id=world.group_id, inbox_id=inbox_id)
        assert settled.verdict is verdict
    assert await effects(world) == ONE_SALE
    async with unit_of_work(world.group_id) as work:
        assert await outcome_of(work, channel="WECHAT_PAY", key="notice-1") == "ALREADY"


_WRONG: dict[str, dict[str, Any]] = {
    "one fen less": {"amount_fen": 4999},
    "one fen more": {"amount_fen": 5001},
    "a fen, as the payer would like it": {"amount_fen": 1},
    "another merchant": {"merchant_id": "1900009999"},
    "another app": {"app_id": "wx00000000000000ff"},
    "another currency": {"currency": "USD"},
    "by a service provider": {"provider_id": "1900000099", "provider_app_id": APP_ID},
    "no transaction": {"transaction_id": None},
    "given back already": {"state": PaymentState.REFUNDED},
}


@pytest.mark.parametrize("changes", _WRONG.values(), ids=_WRONG)
async def test_a_payment_that_differs_is_a_case_moves_no_money_and_leaves_the_order(
    till: Till, changes: dict[str, Any]
) -> None:
    order = await till.order()
    for _ in range(2):
        assert (await pay(till.world, order, **changes)).verdict is Verdict.MISMATCH
    assert await effects(till.world) == Effects(0, 0, 0, 0, 0, ZERO, ZERO, ("PAYMENT_MISMATCH",))
    assert await order_now(till.world, order) == order
    assert await effects(till.other) == NOTHING
    assert (await pay(till.world, order)).verdict is Verdict.SETTLE  # the true one still counts


async def test_a_sub_merchants_payment_counts_only_through_its_own_service_provider(
    till: Till,
) -> None:
    provider = {"sp_mchid": "1900000099", "sp_app_id": "wx0000000000000099"}
    await make_credential(till.world, provider=provider)  # the same account, set again
    order, world = await till.order(), till.world
    true = {"provider_id": "1900000099", "provider_app_id": "wx0000000000000099"}
    for wrong in ({}, {"provider_id": ""}, {"provider_id": "1900000098"}, {"provider_app_id": ""}):
        said = true | wrong if wrong else {}
        assert (await pay(world, order, **said)).verdict is Verdict.MISMATCH
    assert await effects(world) == Effects(0, 0, 0, 0, 0, ZERO, ZERO, ("PAYMENT_MISMATCH",))
    kept = payment_of(world, order, **true)
    assert await store_notice(
        world.ports,
        group_id=world.group_id,
        channel=order.channel,
        credential_id=till.credential_id,
        key="by a provider",
        payment=kept,
    )
    async with unit_of_work(world.group_id) as work:
        events = await claim(work, at=START, lease=timedelta(seconds=30), limit=10)
    (noticed,) = [event for event in events if event.topic == "payment.noticed"]
    inbox_id = UUID(noticed.payload["inbox_id"])
    settled = await settle_notice(world.ports, group_id=world.group_id, inbox_id=inbox_id)
    assert settled.verdict is Verdict.SETTLE


async def test_money_for_an_unknown_order_is_a_case_and_talk_of_unpaid_ones_is_not(
    till: Till,
) -> None:
    order = await till.order()
    unknown = {"order_no": "20261122120000ffffffffffffffff"}
    unpaid = await pay(till.world, order, **unknown, state=PaymentState.CLOSED)
    assert (unpaid.verdict, unpaid.order_id) == (Verdict.WAIT, None)
    assert (await effects(till.world)).cases == ()
    paid = await pay(till.world, order, **unknown)
    assert (paid.verdict, paid.order_id) == (Verdict.MISMATCH, None)
    assert await effects(till.world) == Effects(0, 0, 0, 0, 0, ZERO, ZERO, ("PAYMENT_MISMATCH",))


@pytest.mark.parametrize("state", [PaymentState.UNPAID, PaymentState.CLOSED, PaymentState.UNKNOWN])
async def test_a_statement_that_says_not_paid_changes_nothing(
    till: Till, state: PaymentState
) -> None:
    order = await till.order()
    assert (await pay(till.world, order, state=state)).verdict is Verdict.WAIT
    assert await effects(till.world) == NOTHING
    assert await order_now(till.world, order) == order


async def test_another_merchant_accounts_notice_cannot_settle_the_order(till: Till) -> None:
    """Not a second account of the same group, and not the account of another group."""
    order = await till.order()
    second = await make_credential(till.world, merchant_id="1900008888")
    settled = await _settle_by(till.world, order, second, merchant_id="1900008888")
    assert settled.verdict is Verdict.MISMATCH
    assert (await order_now(till.world, order)).state is OrderState.CREATED
    assert await effects(till.world) == Effects(0, 0, 0, 0, 0, ZERO, ZERO, ("PAYMENT_MISMATCH",))
    with pytest.raises(NotFound):
        await _settle_by(till.other, order, till.credential_id, merchant_id=merchant_of(till.world))
    assert await effects(till.other) == NOTHING


async def _settle_by(
    world: World, order: Order, credential_id: UUID, *, merchant_id: str
) -> Settled:
    """A statement that is true but for the account by which it came."""
    return await settle(
        world.ports,
        group_id=world.group_id,
        credential_id=credential_id,
        payment=payment_of(world, order, merchant_id=merchant_id),
        source="notice",
    )


async def test_a_payment_that_lands_after_closing_is_booked(till: Till) -> None:
    order = await till.order()
    async with unit_of_work(till.world.group_id) as work:
        assert await mark_closed(work, order_id=order.id, at=START)
    assert (await pay(till.world, order)).verdict is Verdict.SETTLE
    assert (await order_now(till.world, order)).state is OrderState.PAID
    assert await effects(till.world) == ONE_SALE
    async with unit_of_work(till.world.group_id) as work:
        assert not await mark_closed(work, order_id=order.id, at=START)


async def test_a_second_payment_of_a_paid_order_is_a_case(till: Till) -> None:
    order = await till.order()
    await pay(till.world, order)
    again = await pay(till.world, order, transaction_id="4200000000000000000000000002")
    assert (again.verdict, again.paid) == (Verdict.MISMATCH, False)
    sold = await effects(till.world)
    assert sold == Effects(2, 1, 1, 1, 1, FIFTY, ZERO, ("PAYMENT_MISMATCH",))


async def test_one_payment_is_never_booked_for_two_orders(till: Till) -> None:
    one, two = await till.order(), await till.order()
    transaction = "4200000000000000000000000001"
    await pay(till.world, one, transaction_id=transaction)
    again = await pay(till.world, two, transaction_id=transaction)
    assert again.verdict is Verdict.MISMATCH
    assert one.order_no in again.reason
    assert (await order_now(till.world, two)).state is OrderState.CREATED
    assert (await effects(till.world)).cases == ("PAYMENT_MISMATCH",)
    await expect_kept_is_derived(till.world)


async def test_one_payment_told_for_two_orders_by_two_processes_at_once_is_booked_for_one(
    till: Till,
) -> None:
    """Neither sees what the other is about to book: the database's own unique index decides."""
    world, orders = till.world, [await till.order(), await till.order()]
    transaction = "4200000000000000000000000003"
    payments = [payment_of(world, order, transaction_id=transaction) for order in orders]
    said = [_Statement(world.ports, till.credential_id, payment, "notice") for payment in payments]
    await asyncio.gather(
        *(_settle_all(world.group_id, [one]) for one in said), return_exceptions=True
    )
    again = [await pay(world, order, transaction_id=transaction) for order in orders]
    assert sorted(str(one.verdict) for one in again) == ["ALREADY", "MISMATCH"]
    sold = await effects(world)
    assert (sold.entries, sold.vends, sold.in_transit, sold.cases) == (
        2, 1, FIFTY, ("PAYMENT_MISMATCH",)
    )  # fmt: skip


async def test_orders_paid_at_once_get_consecutive_purchase_numbers(till: Till) -> None:
    orders = [await till.order(fen=100 * n) for n in range(1, 21)]
    await asyncio.gather(*(pay(till.world, order) for order in orders))
    async with unit_of_work(till.world.group_id) as work:
        vends = await vends_of_topups(work, topup_ids=[order.id for order in orders])
    assert sorted(vend.purchase_no for vend in vends.values()) == list(range(1, 21))
    assert {vends[o.id].amount.fen for o in orders} == {o.amount_fen for o in orders}
    assert (await effects(till.world)).in_transit == Money.of_fen(sum(o.amount_fen for o in orders))
    await expect_kept_is_derived(till.world)


async def _end_assignment(world: World) -> None:
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET ended_at = $1 WHERE id = $2", START, world.assignment.id
        )


async def test_money_for_an_account_without_a_meter_stays_in_its_purse_as_a_case(
    till: Till,
) -> None:
    order = await till.order()
    await _end_assignment(till.world)
    for _ in range(2):
        assert (await pay(till.world, order)).paid
    sold = await effects(till.world)
    assert sold == Effects(1, 1, 0, 0, 0, ZERO, FIFTY, ("PAID_WITHOUT_METER",))
    assert (await order_now(till.world, order)).state is OrderState.PAID


async def test_money_follows_the_account_to_its_new_meter_with_that_meters_own_number(
    till: Till,
) -> None:
    order = await till.order()
    await _end_assignment(till.world)
    meter, assignment = await make_meter(
        till.world, serial="M-NEW", bus_address=2, account=till.world.account
    )
    await pay(till.world, order)
    async with unit_of_work(till.world.group_id) as work:
        vend = (await vends_of_topups(work, topup_ids=[order.id]))[order.id]
    assert (vend.meter_id, vend.assignment_id, vend.purchase_no) == (meter.id, assignment.id, 1)
    assert (await effects(till.world)).purse == ZERO


async def test_a_settle_that_fails_half_way_leaves_nothing_behind(till: Till) -> None:
    """Something stands in the way of the vend: what was booked before it does not stay."""
    neighbour = await make_account(till.world, no="100002")
    meter, assignment = await make_meter(
        till.world, serial="M-0002", bus_address=2, account=neighbour
    )
    order = await make_order(
        till.world, credential_id=till.credential_id, assignment=assignment, account=neighbour
    )
    async with unit_of_work(till.world.group_id) as work:
        await work.execute(  # the number 1 of this meter is taken behind the allocator's back
            "INSERT INTO control_vend (group_id, id, project_id, meter_id, assignment_id,"
            " counter_epoch, purchase_no, amount_fen, source, source_id, state, created_at)"
            " VALUES ($1, $2, $3, $4, $5, 1, 1, 100, 'TOPUP', $6, 'QUEUED', $7)",
            till.world.group_id,
            new_id(),
            till.world.project.id,
            meter.id,
            assignment.id,
            new_id(),
            START,
        )
    before = await effects(till.world)
    with pytest.raises(Exception, match="unique constraint"):
        await pay(till.world, order)
    assert await effects(till.world) == before
    assert (await order_now(till.world, order)).state is OrderState.CREATED
