"""An account draws from another's purse, and stops to: no money, lot or arrears is left behind (C3, C4)."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from backend.accounts import closings
from backend.audit.queries import entries
from backend.charges import credit
from backend.journeys.charge_grants import give_monthly_grants
from backend.journeys.refund import refundable, request_refund
from backend.journeys.shared_purse import Joined, part_purse, share_purse, tend_shared_purses
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.ledger.rules import AccountKind
from backend.reconcile.proof_rules import ProofVerdict
from backend.topups.queries import Order
from workers.models import meter_models

from .charged import Home, make_home
from .test_ledger import expect_kept_is_derived
from .test_meter_proofs import EVENING, ONE_DAY, book, night, paid_fifty, read
from .test_vend_steps import sold
from .world import World, admin_scope, make_credential, make_order, make_project, pay


async def share(
    home: Home, owner: Home, *, scope: Scope | None = None, reason: str = "one family"
) -> Joined:
    """Let the home draw from the owner's purse."""
    return await share_purse(
        scope=scope or home.world.scope,
        account_id=home.account.id,
        owner_id=owner.account.id,
        reason=reason,
        at=home.world.clock.now(),
    )


async def part(home: Home) -> Joined:
    """Let the home draw from its own purse again."""
    return await part_purse(
        scope=home.world.scope,
        account_id=home.account.id,
        reason="moved out",
        at=home.world.clock.now(),
    )


async def top_up(home: Home, *, yuan: int) -> Order:
    """A top-up of the home, paid."""
    order = await make_order(
        home.world,
        credential_id=await make_credential(home.world),
        amount_fen=yuan * 100,
        account=home.account,
        assignment=home.assignment,
    )
    assert (await pay(home.world, order)).paid
    return order


async def lots(world: World, account_id: UUID) -> Money:
    """What is left of the lots of a purse."""
    async with unit_of_work(world.group_id) as work:
        found = await work.fetchval(
            "SELECT coalesce(sum(l.amount_hao - l.used_hao), 0)::bigint FROM ledger_lot l"
            " JOIN ledger_account a ON a.id = l.purse_id WHERE a.ref = $1",
            account_id,
        )
    return Money(found)


async def whole(home: Home) -> Money:
    """What the home's own purse holds, as purse and as lots: both agree."""
    held = await home.owed()
    assert await lots(home.world, home.account.id) == held
    return held


async def test_its_money_goes_to_the_shared_purse_and_its_own_top_ups_come_back_when_they_part(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    owner, home = await make_home(ours), await make_home(ours, no="300002")
    other = await make_home(theirs)
    await other.pay("7")
    await owner.pay("10")
    order = await top_up(home, yuan=5)
    await home.read(home.reading(1, 1_000), charge=False)
    ours.clock.advance(timedelta(seconds=1))
    joined = await share(home, owner)
    assert joined.moved == Money.parse("4.4"), "what was used before is charged to its own purse"
    assert (await whole(home), await whole(owner)) == (ZERO, Money.parse("14.4"))
    await home.read(home.reading(2, 3_000))
    assert (await whole(home), await whole(owner)) == (ZERO, Money.parse("13.2"))
    async with unit_of_work(ours.group_id) as work:
        left = await refundable(work, scope=ours.scope, order_id=order.id)
    assert left.lot_left == Money.parse("4.4")
    parted = await part(home)
    assert parted.moved == Money.parse("4.4"), "the oldest money was used first, the owner's"
    assert (await whole(home), await whole(owner)) == (Money.parse("4.4"), Money.parse("8.8"))
    refund = await request_refund(
        scope=ours.scope,
        order_id=order.id,
        amount=Money.parse("4.4"),
        reason="moved out",
        idempotency_key="refund-after-parting",
        models=meter_models(),
        at=ours.clock.now(),
    )
    assert refund.source.account_id == home.account.id
    assert await whole(home) == ZERO
    assert await whole(other) == Money.parse("7")
    await expect_kept_is_derived(ours)
    async with unit_of_work(ours.group_id) as work:
        found = [
            (each.action, (each.after or {}).get("moved"))
            for each in await entries(work, before_seq=None, limit=20)
            if each.action.startswith("purse:")
        ]
    assert found == [("purse:self:part", "4.40"), ("purse:self:share", "4.40")]


async def test_arrears_of_the_one_are_paid_by_the_purse_of_both(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner, home = await make_home(ours), await make_home(ours, no="300002")
    await owner.pay("3")
    await home.read(home.reading(1, 2_000))
    assert await home.owed(AccountKind.ENERGY_ARREARS) == Money.parse("1.2")
    await share(home, owner)
    assert await home.owed(AccountKind.ENERGY_ARREARS) == ZERO
    assert await owner.owed(AccountKind.ENERGY_ARREARS) == ZERO
    assert await whole(owner) == Money.parse("1.8")
    await home.read(home.reading(2, 6_000))
    assert await owner.owed(AccountKind.ENERGY_ARREARS) == Money.parse("0.6")
    await part(home)
    assert await owner.owed(AccountKind.ENERGY_ARREARS) == Money.parse("0.6"), "it stays"
    await expect_kept_is_derived(ours)


async def test_what_the_other_owes_before_is_paid_by_the_money_that_comes(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner, home = await make_home(ours), await make_home(ours, no="300002")
    await owner.read(owner.reading(1, 2_000))
    await home.pay("3")
    await share(home, owner)
    assert await owner.owed(AccountKind.ENERGY_ARREARS) == ZERO
    assert await whole(owner) == Money.parse("1.8")
    await expect_kept_is_derived(ours)


async def test_there_are_no_chains_and_no_closed_accounts_and_projects_stay_apart(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    owner, home, third = [await make_home(ours, no=f"30000{n}") for n in range(3)]
    with pytest.raises(Conflict, match="anyway"):
        await share(home, home)
    with pytest.raises(Conflict, match="own purse"):
        await part(home)
    await share(home, owner)
    with pytest.raises(Conflict, match="already"):
        await share(home, third)
    with pytest.raises(Conflict, match="itself draws"):
        await share(third, home)
    with pytest.raises(Conflict, match="part them first"):
        await share(owner, third)
    elsewhere = await make_project(ours)
    with pytest.raises(NotFound):
        await share_purse(
            scope=ours.scope,
            account_id=third.account.id,
            owner_id=elsewhere.account.id,
            reason="one family",
            at=ours.clock.now(),
        )
    with pytest.raises(NotFound):
        await share(third, owner, scope=theirs.scope)
    reader = admin_scope(ours.group_id, permissions=frozenset({"account:read", "credit:write"}))
    with pytest.raises(Forbidden):
        await share(third, owner, scope=reader)
    with pytest.raises(InvalidInput):
        await share(third, owner, reason=" ")
    async with unit_of_work(ours.group_id) as work:
        with pytest.raises(Conflict, match="part them first"):
            await closings.begin_closing(
                work,
                project_id=ours.project.id,
                account_id=owner.account.id,
                cut=False,
                reason="closed",
                idempotency_key="closing-0001",
                actor=ours.scope.actor,
                at=ours.clock.now(),
            )
        await work.execute(
            "UPDATE accounts_account SET closing_at = now() WHERE id = $1", third.account.id
        )
    with pytest.raises(Conflict, match="closed"):
        await share(third, owner)


async def test_what_comes_to_the_old_purse_late_follows(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    owner, home = await make_home(ours), await make_home(ours, no="300002")
    await share(home, owner)
    await home.pay("3")  # booked by somebody who saw the purses before they were joined
    assert await tend_shared_purses(group_id=theirs.group_id, at=ours.clock.now()) == 0
    assert await tend_shared_purses(group_id=ours.group_id, at=ours.clock.now()) == 1
    assert (await whole(home), await whole(owner)) == (ZERO, Money.parse("3"))
    assert await tend_shared_purses(group_id=ours.group_id, at=ours.clock.now()) == 0
    await expect_kept_is_derived(ours)


async def test_a_monthly_grant_ends_with_the_purse_that_it_was_given_to(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner, home = await make_home(ours), await make_home(ours, no="300002")
    at = ours.clock.now()
    await home.enter_class("dormitory", emergency="5", monthly_grant="2")
    async with unit_of_work(ours.group_id) as work:
        await credit.draw_emergency(work, account_id=home.account.id, at=at)
    await give_monthly_grants(group_id=ours.group_id, at=at)
    await home.pay("1")
    assert (await share(home, owner)).moved == Money.parse("1")
    assert (await whole(home), await whole(owner)) == (ZERO, Money.parse("1"))
    async with unit_of_work(ours.group_id) as work:
        assert await work.fetchval("SELECT emergency_hao FROM charges_terms") == 0
    december = at + timedelta(days=9)
    await give_monthly_grants(group_id=ours.group_id, at=december)
    assert await whole(owner) == Money.parse("3")
    ours.clock.instant = december
    assert (await part(home)).moved == ZERO
    assert (await whole(home), await whole(owner)) == (ZERO, Money.parse("1"))
    await expect_kept_is_derived(ours)


async def test_a_meter_that_holds_money_agrees_with_the_book_before_while_and_after_it_shares(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner = await make_home(ours)
    await owner.pay("1")  # the oldest lot, which pays first
    await paid_fifty(ours)
    prepaid = Home(ours, ours.account, ours.meter, ours.assignment)
    ours.clock.advance(timedelta(seconds=1))
    assert (await share(prepaid, owner)).moved == ZERO, "all its money is at its meter"
    assert await book(ours) == (Money.parse("50"), ZERO, ZERO)
    assert await lots(ours, prepaid.account.id) == ZERO
    assert await lots(ours, owner.account.id) == Money.parse("51")
    await read(ours, wh=12_000, yuan="40.40")
    assert (await night(ours)).verdict is ProofVerdict.AGREES
    assert await lots(ours, owner.account.id) == Money.parse("41.40")
    # A yuan of the owner's was used at the meter, so one more of its own is left than the meter holds.
    assert (await part(prepaid)).moved == await prepaid.owed() == Money.parse("1")
    assert await lots(ours, prepaid.account.id) == Money.parse("41.40")
    assert await whole(owner) == ZERO
    await read(ours, wh=24_000, yuan="30.80", at=EVENING + ONE_DAY)
    assert (await night(ours, nights=1)).verdict is ProofVerdict.AGREES
    assert await book(ours) == (Money.parse("30.80"), Money.parse("19.20"), ZERO)
    assert await lots(ours, prepaid.account.id) == Money.parse("31.80")


async def test_what_a_meter_held_when_it_was_hung_stands_in_the_purse_that_pays_its_use(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner = await make_home(ours)
    prepaid = Home(ours, ours.account, ours.meter, ours.assignment)
    await share(prepaid, owner)
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET opening_remaining_hao = 200000 WHERE id = $1",
            ours.assignment.id,
        )
    await read(ours, wh=12_000, yuan="10.40", count=0)
    proof = await night(ours)
    assert (proof.verdict, proof.posted) == (ProofVerdict.AGREES, Money.parse("9.60"))
    assert await lots(ours, owner.account.id) == Money.parse("10.40")
    assert await book(ours) == (Money.parse("10.40"), Money.parse("9.60"), ZERO)


async def test_a_purse_is_not_joined_or_parted_while_money_is_on_its_way_to_the_meter(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner = await make_home(ours)
    await sold(ours)
    with pytest.raises(Conflict, match="on its way"):
        await share(Home(ours, ours.account, ours.meter, ours.assignment), owner)
