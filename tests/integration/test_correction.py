"""A top-up of the wrong room is moved as far as it is in a purse, and its refunds follow it (C4, A15)."""

from __future__ import annotations

from uuid import UUID

import pytest

from backend.control.queries import vend_of_source
from backend.control.rules import VendSource
from backend.journeys.closing import close_account
from backend.journeys.closing_steps import advance
from backend.journeys.refund import refuse_refund
from backend.journeys.takedown import Ask
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.ledger.operations import spend
from backend.ledger.queries import owed
from backend.ledger.rules import AccountKind
from workers.models import meter_models

from .desk import cloud, opened, take
from .refunding import allow_alone, ask, move
from .test_ledger import expect_kept_is_derived
from .world import World, make_account, make_meter, make_project


async def purses(world: World, *accounts: UUID) -> list[str]:
    """What the purses of these accounts hold."""
    async with unit_of_work(world.group_id) as work:
        found = await owed(work, kind=AccountKind.PURSE, refs=accounts)
    return [str(found[account]) for account in accounts]


async def test_a_top_up_of_the_wrong_room_is_moved_whole_and_later_refunds_follow_it(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    await allow_alone(world, fen=10**6)
    wrong, right = world.account.id, (await make_account(world, no="100002")).id
    elsewhere = await make_project(world)
    await opened(world)
    order = await take(world)
    for to, error in (
        (wrong, Conflict),
        (elsewhere.account.id, NotFound),
        (worlds[1].account.id, NotFound),
    ):
        with pytest.raises(error):
            await move(world, order, to)
    with pytest.raises(NotFound):
        await move(world, order, right, scope=worlds[1].scope)
    with pytest.raises(InvalidInput):
        await move(world, order, right, reason="no")
    await ask(world, order, "10")
    assert (await move(world, order, right)).amount == Money.parse("40")
    assert await purses(world, wrong, right) == ["0.00", "40.00"]
    with pytest.raises(Conflict, match="in the purse of that account"):
        await move(world, order, right)
    refund = await ask(world, order, "15")
    assert refund.source.account_id == right
    assert await purses(world, wrong, right) == ["0.00", "25.00"]
    await move(world, order, wrong)
    assert await purses(world, wrong, right) == ["25.00", "0.00"]
    with pytest.raises(Conflict, match=r"at most 25\.00"):
        await ask(world, order, "25.01")
    await expect_kept_is_derived(world)


async def test_money_that_is_at_the_meter_or_asked_back_is_not_moved_by_pen(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    right = await make_account(world, no="100002")
    await opened(world)
    at_meter = await take(world)
    with pytest.raises(Conflict, match="at the meter"):
        await move(world, at_meter, right.id)
    theirs = await cloud(worlds[1])
    to = await make_account(theirs, no="100002")
    await opened(theirs)
    order = await take(theirs, "150")
    await ask(theirs, order, "120")
    with pytest.raises(Conflict, match="waits to be decided"):
        await move(theirs, order, to.id)


async def test_a_room_whose_meter_holds_its_money_gets_it_by_a_numbered_vend(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    right = await make_account(world, no="100002")
    meter, _ = await make_meter(world, serial="M-right", bus_address=2, account=right)
    await opened(world)
    order = await take(world)
    await move(world, order, right.id)
    async with unit_of_work(world.group_id) as work:
        correction = await work.fetchval("SELECT id FROM topups_correction")
        vend = await vend_of_source(work, source=VendSource.TRANSFER, source_id=correction)
        transit = await owed(work, kind=AccountKind.IN_TRANSIT, refs=[meter.id])
    assert vend is not None
    assert (vend.meter_id, vend.purchase_no, vend.amount) == (meter.id, 1, Money.parse("50"))
    assert transit[meter.id] == Money.parse("50")
    assert await purses(world, world.account.id, right.id) == [str(ZERO), str(ZERO)]
    await expect_kept_is_derived(world)


async def test_who_moves_out_gets_what_is_left_of_a_moved_top_up_and_not_what_moved_on(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    await allow_alone(world, fen=10**6)
    first, second = [(await make_account(world, no=no)).id for no in ("100002", "100003")]
    await opened(world)
    order = await take(world)
    await move(world, order, first)
    waits = await ask(world, order, "10")
    assert (await move(world, order, second)).amount == Money.parse("40")
    now = world.clock.now()
    await refuse_refund(scope=world.scope, refund_id=waits.id, note="not his money", at=now)
    assert await purses(world, first, second) == ["10.00", "40.00"]
    await allow_alone(world, fen=0)
    assert (await ask(world, order, "30")).source.account_id == second, (
        "it waits for one who agrees"
    )
    await allow_alone(world, fen=10**6)
    why = Ask(world.scope.actor, "they move out", "closing-first", meter_models(), now)
    closing = await close_account(scope=world.scope, account_id=first, cut=False, ask=why)
    await advance(group_id=world.group_id, closing_id=closing.id, models=meter_models(), at=now)
    assert await purses(world, first, second) == ["0.00", "40.00"]
    await expect_kept_is_derived(world)


async def test_less_than_a_fen_is_not_moved_for_it_could_neither_be_sold_nor_given_back(
    worlds: tuple[World, World],
) -> None:
    world = await cloud(worlds[0])
    right = (await make_account(world, no="100002")).id
    await opened(world)
    order = await take(world)
    async with unit_of_work(world.group_id) as work:
        await spend(
            work,
            project_id=world.project.id,
            account_id=world.account.id,
            business_key="charge:all-but-60-hao",
            amount=Money.parse("49.9940"),
            at=world.clock.now(),
        )
    with pytest.raises(Conflict, match="nothing is left"):
        await move(world, order, right)
    assert await purses(world, world.account.id, right) == ["0.0060", "0.00"]
