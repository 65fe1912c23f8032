"""Every case about money has a way out that leaves the book whole: again, back, or a note (C5)."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from backend.control.queries import vends_of_topups
from backend.journeys.cases import CaseAction, resolve
from backend.journeys.refund_sending import pursue
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput
from backend.kernel.money import Money
from backend.ledger.queries import derived_balance, owed
from backend.ledger.rules import AccountKind
from backend.metering.operations import stop_selling
from backend.topups.ports import ChannelUnavailable
from backend.topups.ports import RefundState as Word
from backend.topups.queries import Order
from backend.topups.refund_rules import RefundState
from backend.topups.refunds import Refund, refunds_page
from backend.topups.rules import Verdict
from workers.models import meter_models

from .refunding import FIFTY, allow_alone, ask, channel_says, cloud_order, move, second
from .test_ledger import expect_kept_is_derived
from .test_refunds import cases
from .world import (
    World,
    admin_scope,
    make_account,
    make_credential,
    make_meter,
    make_order,
    new_id,
    pay,
)


async def settle_case(
    world: World, kind: str, action: CaseAction, *, note: str = "asked the payer"
) -> None:
    """Take a way out of the open case of a kind."""
    async with unit_of_work(world.group_id) as work:
        case_id = await work.fetchval(
            "SELECT id FROM alerts_case WHERE kind = $1 AND resolved_at IS NULL", kind
        )
    await resolve(
        scope=world.scope,
        case_id=case_id,
        action=action,
        note=note,
        at=world.clock.now(),
        models=meter_models(),
    )


async def refunds(world: World) -> list[Refund]:
    """The refunds of the project, newest first."""
    async with unit_of_work(world.group_id) as work:
        return await refunds_page(
            work,
            scope=world.scope,
            project_id=world.project.id,
            only_open=False,
            before=None,
            limit=10,
        )


async def held(world: World, kind: AccountKind) -> str:
    """What an account of the book holds (owed or derived), of the world's account, meter or project."""
    refs = {
        AccountKind.PURSE: world.account.id,
        AccountKind.IN_TRANSIT: world.meter.id,
        AccountKind.SUSPENSE: world.project.id,
    }
    async with unit_of_work(world.group_id) as work:
        if kind is AccountKind.SUSPENSE:
            return str(-await derived_balance(work, kind=kind, ref=refs[kind]))
        return str((await owed(work, kind=kind, refs=[refs[kind]]))[refs[kind]])


async def without_meter(world: World) -> Order:
    """A top-up whose meter was taken down while it was being paid."""
    order = await make_order(world, credential_id=await make_credential(world))
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE metering_assignment SET ended_at = now()")
    assert (await pay(world, order)).paid
    assert await cases(world) == ["PAID_WITHOUT_METER"]
    assert await held(world, AccountKind.PURSE) == "50.00"
    return order


async def test_money_without_a_meter_goes_to_the_meter_that_came_later(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await without_meter(world)
    with pytest.raises(Conflict, match="no meter"):
        await settle_case(world, "PAID_WITHOUT_METER", CaseAction.RETRY)
    assert await cases(world) == ["PAID_WITHOUT_METER"], "a way that fails closes nothing"
    meter, _ = await make_meter(world, serial="M-later", bus_address=9, account=world.account)
    async with unit_of_work(world.group_id) as work:
        await stop_selling(work, meter_id=meter.id, at=world.clock.now())
    with pytest.raises(Conflict, match="stopped"):
        await settle_case(world, "PAID_WITHOUT_METER", CaseAction.RETRY)
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE metering_meter SET selling_stopped_at = NULL")
    await settle_case(world, "PAID_WITHOUT_METER", CaseAction.RETRY)
    assert await cases(world) == []
    async with unit_of_work(world.group_id) as work:
        vend = (await vends_of_topups(work, topup_ids=[order.id]))[order.id]
    assert (vend.meter_id, vend.purchase_no, vend.amount) == (meter.id, 1, FIFTY)
    assert await held(world, AccountKind.PURSE) == "0.00"
    await expect_kept_is_derived(world)


async def test_money_without_a_meter_goes_back_to_who_paid_it(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await without_meter(world)
    await settle_case(world, "PAID_WITHOUT_METER", CaseAction.REFUND)
    (refund,) = await refunds(world)
    assert (refund.source.order_id, refund.amount, refund.state) == (
        order.id,
        FIFTY,
        RefundState.APPROVED,
    )
    assert await held(world, AccountKind.PURSE) == "0.00"


async def stray(world: World, *, yuan: str = "50") -> Order:
    """A payment of one yuan more than the order asks for: nothing is booked."""
    order = await make_order(world, credential_id=await make_credential(world), amount_fen=4900)
    settled = await pay(world, order, amount_fen=Money.parse(yuan).fen)
    assert settled.verdict is Verdict.MISMATCH
    assert await held(world, AccountKind.SUSPENSE) == "0.00"
    return order


async def test_a_payment_that_fits_no_order_is_booked_and_goes_back_by_its_channel(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await stray(world)
    await settle_case(world, "PAYMENT_MISMATCH", CaseAction.REFUND)
    assert await held(world, AccountKind.SUSPENSE) == "50.00"
    (refund,) = await refunds(world)
    ports, channel = channel_says(world, Word.DONE)
    assert await pursue(ports, group_id=world.group_id, refund_id=refund.id) is None
    assert [(r.order_no, r.amount_fen, r.total_fen) for r in channel.asked] == [
        (order.order_no, 5000, 5000)
    ]
    assert await held(world, AccountKind.SUSPENSE) == "0.00"
    await expect_kept_is_derived(world)
    # The same statement again opens a case again, but its money does not leave twice.
    await pay(world, order, amount_fen=5000)
    with pytest.raises(Conflict, match="given back before"):
        await settle_case(world, "PAYMENT_MISMATCH", CaseAction.REFUND)
    assert len(await refunds(world)) == 1


async def test_a_payment_that_fits_no_order_needs_two_above_the_limit_too(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await allow_alone(world, fen=1000)
    await stray(world)
    await settle_case(world, "PAYMENT_MISMATCH", CaseAction.REFUND)
    assert [refund.state for refund in await refunds(world)] == [RefundState.REQUESTED]


async def test_a_payment_that_was_booked_meanwhile_is_not_given_back_beside_the_book(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await stray(world)
    assert (await pay(world, order, source="query")).paid  # the true word came after the wrong one
    with pytest.raises(Conflict, match="booked meanwhile"):
        await settle_case(world, "PAYMENT_MISMATCH", CaseAction.REFUND)
    assert await refunds(world) == []
    assert await held(world, AccountKind.SUSPENSE) == "0.00"


async def test_a_second_payment_for_one_order_goes_back_and_the_first_one_stays(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world)
    again = await pay(world, order, transaction_id=f"4200{new_id().hex[:24]}")
    assert again.verdict is Verdict.MISMATCH
    await settle_case(world, "PAYMENT_MISMATCH", CaseAction.REFUND)
    (refund,) = await refunds(world)
    assert (refund.source.order_id, refund.amount) == (None, FIFTY)
    assert await held(world, AccountKind.PURSE) == "50.00"
    assert await held(world, AccountKind.SUSPENSE) == "50.00"
    await expect_kept_is_derived(world)


async def test_a_wrong_notice_is_cleared_up_by_asking_the_channel_itself(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await stray(world)
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "INSERT INTO outbox_event (group_id, id, topic, key, payload, created_at, due_at, done_at)"
            " VALUES ($1, $2, 'topup.query', $3, '{}', now(), now(), now())",
            world.group_id,
            new_id(),
            str(order.id),
        )
    await settle_case(world, "PAYMENT_MISMATCH", CaseAction.RETRY)
    async with unit_of_work(world.group_id) as work:
        waiting = await work.fetchval(
            "SELECT count(*) FROM outbox_event WHERE topic = 'topup.query' AND done_at IS NULL"
        )
    assert (waiting, await cases(world)) == (1, [])


async def test_a_failed_refund_is_asked_for_again_under_a_number_of_its_own(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    asked = await ask(world, await cloud_order(world), "50")
    ports, _ = channel_says(world, Word.FAILED)
    await pursue(ports, group_id=world.group_id, refund_id=asked.id)
    world.clock.advance(timedelta(seconds=1))  # ids made in one millisecond come in no order
    await settle_case(world, "REFUND_FAILED", CaseAction.RETRY)
    again, first = await refunds(world)
    assert (first.state, again.state, again.amount) == (
        RefundState.FAILED,
        RefundState.APPROVED,
        FIFTY,
    )
    assert await held(world, AccountKind.PURSE) == "0.00"
    await expect_kept_is_derived(world)


async def test_a_refund_that_failed_is_asked_for_again_from_where_its_money_is_and_not_from_another_room(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    other = (await make_account(world, no="100002")).id
    order = await cloud_order(world)
    asked = await ask(world, order, "10")
    moved = await move(world, order, other)
    assert moved.amount == Money.parse("40")
    ports, _ = channel_says(world, Word.FAILED)
    await pursue(ports, group_id=world.group_id, refund_id=asked.id)
    assert await held(world, AccountKind.PURSE) == "10.00"
    await settle_case(world, "REFUND_FAILED", CaseAction.RETRY)
    assert await held(world, AccountKind.PURSE) == "0.00"
    async with unit_of_work(world.group_id) as work:
        theirs = await owed(work, kind=AccountKind.PURSE, refs=[other])
    assert theirs[other] == Money.parse("40")
    await expect_kept_is_derived(world)


async def test_a_stuck_refund_is_asked_for_at_once(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    asked = await ask(world, await cloud_order(world), "50")
    ports, _ = channel_says(world, ChannelUnavailable("no answer"))
    with pytest.raises(ChannelUnavailable):
        await pursue(ports, group_id=world.group_id, refund_id=asked.id)
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE topups_refund SET sent_at = sent_at - interval '1 hour'")
    with pytest.raises(ChannelUnavailable):
        await pursue(ports, group_id=world.group_id, refund_id=asked.id)
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE outbox_event SET due_at = due_at + interval '1 day'")
    await settle_case(world, "REFUND_STUCK", CaseAction.RETRY)
    async with unit_of_work(world.group_id) as work:
        due = await work.fetchval("SELECT due_at FROM outbox_event WHERE topic = 'refund.due'")
    assert due == world.clock.now()


async def test_money_leaves_a_case_only_by_who_may_ask_for_refunds(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await without_meter(world)
    clerk = admin_scope(
        world.group_id, permissions=frozenset({"case:read", "case:resolve", "topup:read"})
    )
    async with unit_of_work(world.group_id) as work:
        case_id = await work.fetchval("SELECT id FROM alerts_case")
    args = {"case_id": case_id, "note": "give it back", "at": world.clock.now()}
    with pytest.raises(Forbidden):
        await resolve(scope=clerk, action=CaseAction.REFUND, **args)
    assert await refunds(world) == []
    assert await cases(world) == ["PAID_WITHOUT_METER"]
    await resolve(scope=second(world), action=CaseAction.NOTE, **args)
    assert await cases(world) == []
    assert await held(world, AccountKind.PURSE) == "50.00", "a note moves nothing"


async def test_the_database_closes_no_case_without_a_note(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    await without_meter(world)
    for note in (None, "", "ok"):
        with pytest.raises(asyncpg.CheckViolationError, match="alerts_case_note"):
            async with unit_of_work(world.group_id) as work:
                await work.execute(
                    "UPDATE alerts_case SET resolved_at = now(), resolved_by = 'li', note = $1",
                    note,
                )
    assert await cases(world) == ["PAID_WITHOUT_METER"]


async def test_a_case_without_that_way_out_says_which_have_one(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    asked = await ask(world, await cloud_order(world), "50")
    ports, _ = channel_says(world, Word.FAILED)
    await pursue(ports, group_id=world.group_id, refund_id=asked.id)
    with pytest.raises(InvalidInput, match="PAID_WITHOUT_METER, PAYMENT_MISMATCH"):
        await settle_case(world, "REFUND_FAILED", CaseAction.REFUND)
    assert await cases(world) == ["REFUND_FAILED"]
