"""What desk, corrections and the ways out of a case refuse, and that a refusal moves nothing (C5, A15)."""

from __future__ import annotations

import pytest

from backend.journeys.cases import CaseAction
from backend.journeys.refund_sending import pursue
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.ledger.rules import AccountKind
from backend.metering.operations import stop_selling
from backend.topups.ports import RefundState as Word
from backend.topups.refund_rules import RefundState

from .desk import opened, take
from .refunding import FIFTY, channel_says, cloud_order, move
from .test_case_ways import held, refunds, settle_case, stray, without_meter
from .test_ledger import expect_kept_is_derived
from .test_refunds import cases
from .world import World, make_account, make_credential, make_order


async def rows_of_money(world: World) -> tuple[int, ...]:
    """How many orders, entries, lots, vends and refunds the group has."""
    tables = ("topups_order", "ledger_entry", "ledger_lot", "control_vend", "topups_refund")
    async with unit_of_work(world.group_id) as work:
        counts = [await work.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
    return tuple(counts)


async def sql(world: World, statement: str) -> None:
    """Change rows of the world's group."""
    async with unit_of_work(world.group_id) as work:
        await work.execute(statement)


async def test_the_desk_sells_to_no_meter_that_is_stopped_or_not_sold_to_nor_to_a_closed_account(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await opened(world)
    before = await rows_of_money(world)
    async with unit_of_work(world.group_id) as work:
        await stop_selling(work, meter_id=world.meter.id, at=world.clock.now())
    with pytest.raises(Conflict, match="stopped"):
        await take(world)
    await sql(world, "UPDATE metering_meter SET selling_stopped_at = NULL, credit_mode = 'NONE'")
    with pytest.raises(Conflict, match="no such meter"):
        await take(world)
    with pytest.raises(Conflict, match="this meter is not sold to"):
        await take(world, meter_id=world.meter.id)
    await sql(world, "UPDATE metering_meter SET credit_mode = 'METER'")
    await sql(world, "UPDATE accounts_account SET closing_at = now()")
    with pytest.raises(Conflict, match="closed"):
        await take(world)
    with pytest.raises(InvalidInput, match="8 to 255"):
        await take(world, key="short")
    assert await rows_of_money(world) == before


async def test_a_key_of_the_desk_is_good_for_one_amount_one_slip_and_one_way_of_paying(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await opened(world)
    first = await take(world, "50", slip="000123", key="ticket-0001")
    assert (await take(world, "50", slip="000123", key="ticket-0001")).id == first.id
    before = await rows_of_money(world)
    for yuan, slip in (("51", "000123"), ("50", "000124"), ("50", None)):
        with pytest.raises(Conflict, match="different top-up"):
            await take(world, yuan, slip=slip, key="ticket-0001")
    assert await rows_of_money(world) == before


async def test_only_what_was_paid_is_moved_and_never_to_a_closed_account(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    other = (await make_account(world, no="100002")).id
    unpaid = await make_order(world, credential_id=await make_credential(world))
    with pytest.raises(Conflict, match="nothing was paid"):
        await move(world, unpaid, other)
    paid = await cloud_order(world)
    await sql(world, "UPDATE accounts_account SET closed_at = now() WHERE no = '100002'")
    with pytest.raises(Conflict, match="closed"):
        await move(world, paid, other)
    assert await held(world, AccountKind.PURSE) == "50.00"


async def test_the_refund_of_a_stray_payment_that_failed_is_asked_for_again_and_leaves_the_book_once(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await stray(world)
    await settle_case(world, "PAYMENT_MISMATCH", CaseAction.REFUND)
    (first,) = await refunds(world)
    ports, _ = channel_says(world, Word.FAILED)
    await pursue(ports, group_id=world.group_id, refund_id=first.id)
    assert await held(world, AccountKind.SUSPENSE) == "50.00", (
        "it is nobody's, and ours to give back"
    )
    assert await cases(world) == ["REFUND_FAILED"]
    await settle_case(world, "REFUND_FAILED", CaseAction.RETRY)
    (again,) = [each for each in await refunds(world) if each.id != first.id]
    assert (again.amount, again.state, again.source.order_id) == (
        FIFTY,
        RefundState.APPROVED,
        None,
    )
    ports, channel = channel_says(world, Word.DONE)
    assert await pursue(ports, group_id=world.group_id, refund_id=again.id) is None
    assert [request.refund_no for request in channel.asked] == [again.refund_no]
    assert await held(world, AccountKind.SUSPENSE) == "0.00"
    assert await cases(world) == []
    await expect_kept_is_derived(world)


async def test_a_case_whose_way_out_leads_nowhere_says_why_and_stays_open(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await without_meter(world)
    await settle_case(world, "PAID_WITHOUT_METER", CaseAction.REFUND)
    # The same case again, as when a second worker had opened it: nothing is left to send or to give back.
    await sql(world, "UPDATE alerts_case SET resolved_at = NULL, resolved_by = NULL, note = NULL")
    before = await rows_of_money(world)
    with pytest.raises(Conflict, match="nothing of this top-up"):
        await settle_case(world, "PAID_WITHOUT_METER", CaseAction.RETRY)
    with pytest.raises((Conflict, InvalidInput)):
        await settle_case(world, "PAID_WITHOUT_METER", CaseAction.REFUND)
    assert await cases(world) == ["PAID_WITHOUT_METER"]
    assert await rows_of_money(world) == before


async def test_a_case_about_no_order_of_ours_is_not_asked_for_at_the_channel(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await stray(world)
    await sql(world, "UPDATE alerts_case SET subject = 'nobodys-order'")
    with pytest.raises(InvalidInput, match="no such order"):
        await settle_case(world, "PAYMENT_MISMATCH", CaseAction.RETRY)
    await sql(world, "UPDATE alerts_case SET detail = detail - 'credential'")
    with pytest.raises(InvalidInput, match="does not tell"):
        await settle_case(world, "PAYMENT_MISMATCH", CaseAction.REFUND)
    assert await cases(world) == ["PAYMENT_MISMATCH"]
    assert await refunds(world) == []
