"""An account is closed: the meters' last word, the final bill, money back by its lots, the fraction kept,
nobody bound any more, and a statement of the whole life (A13, C2, C4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.accounts.closings import Closing, ClosingState, closing
from backend.accounts.models import Account, Binding
from backend.accounts.queries import account_by_id
from backend.journeys.closing import cancel_closing, resume_closing
from backend.journeys.occupancy import assign_meter
from backend.journeys.refund import approve_refund
from backend.journeys.shared_purse import share_purse
from backend.journeys.topup import Payer, start
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, NotFound
from backend.kernel.money import ZERO, Money
from backend.ledger import operations as ledger
from backend.ledger.queries import owed
from backend.ledger.rules import AccountKind
from backend.ledger.statements import lots_left
from backend.metering.queries import assignment_of_meter
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.ports import ChannelRefused, PayMethod
from backend.topups.ports import RefundState as Word
from backend.topups.rules import Channel, Way
from bots.reading import view_of_customer
from workers.models import meter_models

from .household import Street, expect_meters_agree, expect_sound, streets
from .refunding import allow_alone, channel_says, second
from .world import World, admin_scope, bind_customer, make_account


@pytest.fixture
async def both(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[tuple[Street, Street]]:
    """Our street and theirs; nothing is drawn."""
    async with streets(worlds, database, tmp_path) as made:
        yield made


@pytest.fixture
async def street(both: tuple[Street, Street]) -> AsyncIterator[Street]:
    """Our street; nothing ever happens in theirs."""
    yield both[0]
    assert await both[1].value("SELECT count(*) FROM accounts_closing") == 0
    assert await both[1].value("SELECT count(*) FROM ledger_entry") == 0


async def now(street: Street, closing_id: object) -> Closing:
    """A closing as it is now."""
    async with unit_of_work(street.world.group_id) as work:
        return await closing(
            work,
            scope=street.world.scope,
            closing_id=closing_id,  # type: ignore[arg-type] # a UUID
        )


async def account_now(street: Street, account: Account) -> Account:
    """An account as it is now."""
    async with unit_of_work(street.world.group_id) as work:
        return await account_by_id(work, account_id=account.id)


async def test_a_closed_accounts_money_goes_back_by_the_lots_it_came_by(street: Street) -> None:
    account = await street.household("300001", 2)
    await street.buy(account, 5000, unit=2)
    await street.buy(account, 3000, unit=2)
    await street.work()
    begun = await street.close(account, key="closing-1")
    assert await street.close(account, key="closing-1") == begun
    await street.work()
    await street.pass_time(minutes=30, steps=6)
    ended = await now(street, begun)
    assert (ended.state, ended.fraction, ended.owing) == (ClosingState.CLOSED, ZERO, ZERO)
    assert ended.statement is not None
    told = {key: ended.statement[key] for key in ("opening", "in", "out", "closing")}
    assert told == {"opening": "0.00", "in": "80.00", "out": "80.00", "closing": "0.00"}
    assert (ended.statement["TOPUP_PAID"], ended.statement["REFUND_DUE"]) == ("80.00", "-80.00")
    refunds = await street.value(
        "SELECT string_agg(amount_fen || state, ',' ORDER BY amount_fen) FROM topups_refund"
    )
    assert refunds == "3000DONE,5000DONE"
    closed = await account_now(street, account)
    assert closed.closed_at is not None
    assert not street.box(2).state().closed  # the relay stays open, as the policy says
    book = await street.book()
    assert book[AccountKind.CHANNEL] == book[AccountKind.PURSE] == ZERO
    await expect_sound(street)
    await expect_meters_agree(street, {})
    assert await street.cases() == []


async def test_what_was_used_is_not_given_back(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> None:
    async with streets(worlds, database, tmp_path, watts=3000) as (street, _):
        account = await street.household("300001", 2)
        await street.buy(account, 5000, unit=2)
        await street.work()
        await street.pass_time(minutes=240, steps=2)
        begun = await street.close(account)
        await street.pass_time(minutes=30, steps=6)
        ended = await now(street, begun)
        assert ended.state is ClosingState.CLOSED
        left = street.wallet(2)[0]
        assert 0 < left < 5000
        back = await street.value("SELECT sum(amount_fen) FROM topups_refund WHERE state = 'DONE'")
        assert back == left  # to the fen: nothing was used after the relay opened
        assert ended.statement is not None
        assert ended.statement["USED_AT_METER"] == str(-Money.of_fen(5000 - left))
        await expect_sound(street)


async def test_several_meters_are_all_taken_down_and_one_that_is_dead_holds_the_rest_up(
    street: Street,
) -> None:
    account = await street.household("300001", 2, 3)
    await street.buy(account, 2000, unit=2)
    await street.buy(account, 1000, unit=3)
    await street.work()
    street.box(3).faults.silent = True
    begun = await street.close(account)
    await street.pass_time(minutes=40, steps=8)
    waiting = await now(street, begun)
    assert waiting.state is ClosingState.METERS
    assert "TAKEDOWN_STUCK" in await street.cases()
    assert not await street.value("SELECT count(*) FROM topups_refund")
    street.box(3).faults.silent = False
    await street.pass_time(minutes=60, steps=12)
    assert (await now(street, begun)).state is ClosingState.CLOSED
    assert await street.value("SELECT sum(amount_fen) FROM topups_refund") == 3000
    assert await street.cases() == []


async def test_an_account_that_is_being_closed_buys_nothing_and_gets_no_meter(
    street: Street,
) -> None:
    account = await street.household("300001", 2)
    await street.register(3)
    street.box(2).faults.silent = True
    await street.close(account)
    with pytest.raises(Conflict):
        await start(
            street.context.ports,
            group_id=street.world.group_id,
            account_id=account.id,
            customer_id=None,
            amount_fen=1000,
            payer=Payer(Way(Channel.WECHAT_PAY, PayMethod.NATIVE), None, "::1"),
            idempotency_key="while-closing",
        )
    with pytest.raises(Conflict):
        await assign_meter(
            scope=street.world.scope,
            meter_id=street.meters[3].id,
            account_id=account.id,
            at=street.clock.now(),
        )
    with pytest.raises(Conflict):
        await street.close(account)


async def test_a_cancelled_closing_leaves_account_and_meter_as_they_were(street: Street) -> None:
    account = await street.household("300001", 2)
    await street.buy(account, 2000, unit=2)
    await street.work()
    begun = await street.close(account)
    cancelled = await cancel_closing(
        scope=street.world.scope,
        closing_id=begun,
        note="they stay",
        models=meter_models(),
        at=street.clock.now(),
    )
    assert cancelled.state is ClosingState.CANCELLED
    await street.work()
    await street.pass_time(minutes=10)
    assert street.box(2).state().closed  # given back to the meter's money
    assert (await account_now(street, account)).closing_at is None
    await street.buy(account, 1000, unit=2)
    await street.work()
    assert street.wallet(2) == (3000, 2)
    await expect_sound(street)


async def test_a_closing_that_is_cancelled_late_keeps_the_money_in_the_purse(
    street: Street,
) -> None:
    account = await street.household("300001", 2)
    await street.buy(account, 20000, unit=2)
    await street.work()
    await allow_alone(street.world, fen=100)
    begun = await street.close(account)
    await street.pass_time(minutes=10, steps=3)
    asked = await street.value("SELECT id FROM topups_refund WHERE state = 'REQUESTED'")
    assert asked is not None  # above the limit a second operator agrees
    assert (await now(street, begun)).state is ClosingState.REFUNDS
    with pytest.raises(Forbidden):
        await approve_refund(scope=street.world.scope, refund_id=asked, at=street.clock.now())
    await cancel_closing(
        scope=street.world.scope,
        closing_id=begun,
        note="they stay",
        models=meter_models(),
        at=street.clock.now(),
    )
    assert (await street.book())[AccountKind.PURSE] == Money.parse("200")
    await street.hang(account, 2)
    async with unit_of_work(street.world.group_id) as work:
        again = await assignment_of_meter(work, meter_id=street.meters[2].id)
    assert again is not None
    assert again.counter_epoch == 2
    await expect_sound(street)


async def test_refunds_above_the_limit_wait_for_a_second_operator_and_then_it_closes(
    street: Street,
) -> None:
    account = await street.household("300001", 2)
    await street.buy(account, 20000, unit=2)
    await street.work()
    await allow_alone(street.world, fen=100)
    begun = await street.close(account)
    await street.pass_time(minutes=30, steps=6)
    assert (await now(street, begun)).state is ClosingState.REFUNDS
    asked = await street.value("SELECT id FROM topups_refund")
    await approve_refund(scope=second(street.world), refund_id=asked, at=street.clock.now())
    await street.pass_time(minutes=30, steps=6)
    assert (await now(street, begun)).state is ClosingState.CLOSED
    assert await street.value("SELECT count(*) FROM topups_refund") == 1
    await expect_sound(street)


async def test_a_refund_that_fails_is_a_case_and_is_asked_for_anew_when_resumed(
    street: Street,
) -> None:
    account = await street.household("300001", 2)
    await street.buy(account, 5000, unit=2)
    await street.work()
    refused = ChannelRefused("the card is closed", code_at_channel="USER_ACCOUNT_ABNORMAL")
    ports, _ = channel_says(street.world, refused)
    street.context = replace(street.context, ports=ports)
    begun = await street.close(account)
    await street.pass_time(minutes=60, steps=12)
    assert (await now(street, begun)).state is ClosingState.REFUNDS
    assert await street.cases() == ["CLOSING_STUCK", "REFUND_FAILED"]
    assert await street.value("SELECT count(*) FROM topups_refund") == 1  # not round and round
    assert (await street.book())[AccountKind.PURSE] == Money.parse("50")
    ports, _ = channel_says(street.world, Word.DONE)
    street.context = replace(street.context, ports=ports)
    await resume_closing(scope=street.world.scope, closing_id=begun, at=street.clock.now())
    await street.pass_time(minutes=30, steps=6)
    assert (await now(street, begun)).state is ClosingState.CLOSED
    assert await street.cases() == ["REFUND_FAILED"]
    await expect_sound(street)


async def test_the_fraction_below_a_fen_is_stored_and_grants_end(street: Street) -> None:
    account = await street.household("300001", 2, mode="CLOUD")
    await street.buy(account, 1000, unit=2)
    await street.work()
    async with unit_of_work(street.world.group_id) as work:
        await ledger.give_grant(
            work,
            project_id=street.world.project.id,
            account_id=account.id,
            source="grant:1",
            amount=Money.parse("5"),
            at=street.clock.now(),
        )
        await ledger.spend(
            work,
            project_id=street.world.project.id,
            account_id=account.id,
            business_key="use:1",
            amount=Money.parse("6.2345"),
            at=street.clock.now(),
        )
    begun = await street.close(account)
    await street.pass_time(minutes=30, steps=6)
    ended = await now(street, begun)
    assert (ended.state, ended.fraction) == (ClosingState.CLOSED, Money.parse("0.0055"))
    book = await street.book()
    assert book[AccountKind.ROUNDING] == Money.parse("0.0055")
    assert await street.value("SELECT amount_fen FROM topups_refund") == 876
    assert ended.statement is not None
    assert ended.statement["closing"] == "0.00"
    await expect_sound(street)


async def test_nobody_is_bound_to_a_closed_account_and_who_was_is_told(street: Street) -> None:
    world = street.world
    customer = await bind_customer(world)
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE metering_assignment SET ended_at = started_at")
    begun = await street.close(world.account)
    await street.pass_time(minutes=2)
    assert (await now(street, begun)).state is ClosingState.CLOSED
    async with unit_of_work(world.group_id) as work:
        live = await Binding.filter(group_id=world.group_id, ended_at__isnull=True).count()
    assert live == 0
    async with unit_of_work(world.group_id) as work:
        seen = await view_of_customer(work, customer_id=customer.id, at=street.clock.now())
    assert seen.accounts == ()
    assert [each.account_no for each in seen.closed] == [world.account.no]
    assert await street.value("SELECT event FROM alerts_delivery") == "account_closed"


async def test_an_account_whose_purse_others_pay_from_is_not_closed(street: Street) -> None:
    account = await street.household("300001", 2)
    guest = await make_account(street.world, no="300002")
    async with unit_of_work(street.world.group_id) as work:
        await work.execute(
            "UPDATE accounts_account SET purse_account_id = $1 WHERE id = $2", account.id, guest.id
        )
    with pytest.raises(Conflict):
        await street.close(account)


async def test_what_the_meter_of_one_that_shares_a_purse_held_stays_in_that_purse(
    street: Street,
) -> None:
    account = await street.household("300001", 2)
    owner = await make_account(street.world, no="300002")
    await share_purse(
        scope=street.world.scope,
        account_id=account.id,
        owner_id=owner.id,
        reason="one family",
        at=street.clock.now(),
    )
    await street.buy(account, 5000, unit=2)
    await street.work()
    begun = await street.close(account)
    await street.pass_time(minutes=30, steps=6)
    assert (await now(street, begun)).state is ClosingState.CLOSED
    async with unit_of_work(street.world.group_id) as work:
        held = await owed(work, kind=AccountKind.PURSE, refs=[account.id, owner.id])
        left = sum((lot.left for lot in await lots_left(work, purse=owner.id)), start=ZERO)
    assert held == {account.id: ZERO, owner.id: Money.parse("50")}
    assert left == Money.parse("50")
    await expect_sound(street)


async def test_only_who_may_close_accounts_of_this_group_does(
    both: tuple[Street, Street],
) -> None:
    ours, theirs = both
    account = await ours.household("300001", 2)
    with pytest.raises(NotFound):
        await theirs.close(account)
    weak = admin_scope(ours.world.group_id, permissions=frozenset({"account:read"}))
    ours.world.scope = weak
    with pytest.raises(Forbidden):
        await ours.close(account)
