"""The book balances whatever is tried on it: by code, by raw SQL, by a hundred at once (C1, C2, C4)."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.money import ZERO, Money
from backend.ledger.operations import open_lot, post, spend
from backend.ledger.queries import derived_balance, lines_of_refs, lots_of_purse, owed
from backend.ledger.rules import (
    ARREARS,
    KEPT,
    AccountKey,
    AccountKind,
    LotKind,
    Overdrawn,
    Posting,
    Transfer,
    topup_paid,
    vend_reserved,
)

from .filled import put_money
from .world import START, World, make_project, new_id

SECOND = timedelta(seconds=1)  # ids made in one millisecond come in no order
_KEPT_AND_DERIVED = (
    "SELECT a.kind, coalesce(b.balance_hao, 0) AS kept, coalesce(sum(p.amount_hao), 0)::bigint AS sum"
    " FROM ledger_account a"
    " LEFT JOIN ledger_balance b ON b.group_id = a.group_id AND b.account_id = a.id"
    " LEFT JOIN ledger_posting p ON p.group_id = a.group_id AND p.account_id = a.id"
    " WHERE a.group_id = $1 AND a.kind = ANY($2) GROUP BY a.id, a.kind, b.balance_hao"
)
_LOTS_AND_DERIVED = (
    "SELECT l.used_hao, coalesce((SELECT sum(u.amount_hao) FROM ledger_lot_use u"
    "   WHERE u.group_id = l.group_id AND u.lot_id = l.id), 0)"
    " - coalesce((SELECT sum(r.amount_hao) FROM ledger_lot_return r"
    "   WHERE r.group_id = l.group_id AND r.lot_id = l.id), 0) AS sum"
    " FROM ledger_lot l WHERE l.group_id = $1"
)


async def expect_kept_is_derived(world: World) -> None:
    """Every kept balance is the sum of its postings, none has turned over, what lots keep is the sum
    of their uses less their returns, and the book sums to zero."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(_KEPT_AND_DERIVED, world.group_id, [str(kind) for kind in KEPT])
        lots = await work.fetch(_LOTS_AND_DERIVED, world.group_id)
        total = await work.fetchval("SELECT coalesce(sum(amount_hao), 0) FROM ledger_posting")
    assert [row for row in rows if row["kept"] != row["sum"]] == []
    turned_over = [row["kept"] < 0 if row["kind"] in ARREARS else row["kept"] > 0 for row in rows]
    assert not any(turned_over)
    assert [row for row in lots if row["used_hao"] != row["sum"]] == []
    assert total == 0


async def purse_of(world: World) -> Money:
    """What the world's account has in its purse."""
    async with unit_of_work(world.group_id) as work:
        held = await owed(work, kind=AccountKind.PURSE, refs=[world.account.id])
    return held[world.account.id]


async def spend_once(world: World, *, key: str, yuan: str) -> bool:
    """Spend from the purse of the world's account; False when it holds too little."""
    try:
        async with unit_of_work(world.group_id) as work:
            await spend(
                work,
                project_id=world.project.id,
                account_id=world.account.id,
                business_key=key,
                amount=Money.parse(yuan),
                at=START,
            )
    except Overdrawn:
        return False
    return True


async def lots_left(world: World) -> list[Money]:
    """What is left of each lot of the world's account, oldest first."""
    async with unit_of_work(world.group_id) as work:
        purse = await work.fetchval(
            "SELECT id FROM ledger_account WHERE kind = 'PURSE' AND ref = $1", world.account.id
        )
        lots = await lots_of_purse(work, purse_id=purse)
    return [lot.remaining for lot in sorted(lots, key=lambda lot: lot.order)]


async def test_the_same_key_posts_once_and_with_other_lines_is_a_conflict(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    other = await make_project(ours)
    paid = topup_paid(
        topup_id=new_id(),
        into=AccountKey(AccountKind.CHANNEL, ours.project.id),
        account=ours.account.id,
        amount=Money.parse("50"),
    )
    more = Transfer(
        paid.business_key,
        paid.kind,
        tuple(Posting(p.account, p.amount + p.amount) for p in paid.postings),
    )
    async with unit_of_work(ours.group_id) as work:
        assert await post(work, project_id=ours.project.id, transfer=paid, at=START)
    for _ in range(3):
        async with unit_of_work(ours.group_id) as work:
            assert not await post(work, project_id=ours.project.id, transfer=paid, at=START)
    with pytest.raises(Conflict):
        async with unit_of_work(ours.group_id) as work:
            await post(work, project_id=ours.project.id, transfer=more, at=START)
    with pytest.raises(Conflict):
        async with unit_of_work(ours.group_id) as work:
            await post(work, project_id=other.project.id, transfer=paid, at=START)
    assert await purse_of(ours) == Money.parse("50")
    assert await purse_of(theirs) == ZERO
    async with unit_of_work(theirs.group_id) as work:  # a key is one group's own
        assert await post(work, project_id=theirs.project.id, transfer=paid, at=START)
    await expect_kept_is_derived(ours)


async def test_fifty_tasks_with_one_key_post_once(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    paid = topup_paid(
        topup_id=new_id(),
        into=AccountKey(AccountKind.CHANNEL, ours.project.id),
        account=ours.account.id,
        amount=Money(7),
    )

    async def once() -> bool:
        async with unit_of_work(ours.group_id) as work:
            return await post(work, project_id=ours.project.id, transfer=paid, at=START)

    posted = await asyncio.gather(*(once() for _ in range(50)))
    assert sorted(posted) == [False] * 49 + [True]
    assert (await purse_of(ours), await purse_of(theirs)) == (Money(7), ZERO)


async def test_a_reversal_restores_every_balance_and_keeps_the_history(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan="80")
    reserved = vend_reserved(
        vend_id=new_id(), account=ours.account.id, meter=ours.meter.id, amount=Money.parse("30")
    )
    async with unit_of_work(ours.group_id) as work:
        await post(work, project_id=ours.project.id, transfer=reserved, at=START + SECOND)
    assert await purse_of(ours) == Money.parse("50")
    for _ in range(2):  # undoing twice undoes once
        async with unit_of_work(ours.group_id) as work:
            undone = reserved.reversed(reason="void")
            await post(work, project_id=ours.project.id, transfer=undone, at=START + 2 * SECOND)
    assert await purse_of(ours) == Money.parse("80")
    async with unit_of_work(ours.group_id) as work:
        held = await derived_balance(work, kind=AccountKind.IN_TRANSIT, ref=ours.meter.id)
        lines = await lines_of_refs(work, refs=[ours.account.id], limit=10)
    assert held == ZERO
    assert [line.kind for line in lines] == [
        "VEND_RESERVED_REVERSED",
        "VEND_RESERVED",
        "TOPUP_PAID",
    ]
    await expect_kept_is_derived(ours)


async def test_after_any_sequence_of_entries_kept_balances_are_the_sums_of_postings(
    worlds: tuple[World, World], unique: str
) -> None:
    chance = random.Random(unique)
    model = {world.group_id: ZERO for world in worlds}
    for number in range(120):
        world = chance.choice(worlds)
        yuan = str(chance.randrange(1, 60))
        if chance.random() < 0.4:
            model[world.group_id] += await put_money(world, yuan=yuan)
        elif await spend_once(world, key=f"use:{number}", yuan=yuan):
            model[world.group_id] -= Money.parse(yuan)
        else:
            assert model[world.group_id] < Money.parse(yuan)
    for world in worlds:
        await expect_kept_is_derived(world)
        assert await purse_of(world) == model[world.group_id]
        left = await lots_left(world) if model[world.group_id] else []
        assert sum(lot.hao for lot in left) == model[world.group_id].hao


async def test_a_hundred_spends_of_one_purse_at_once_never_take_more_than_it_holds(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        for yuan in ("40", "7", "23"):
            await put_money(world, yuan=yuan)
    spends = [spend_once(ours, key=f"use:{number}", yuan="3") for number in range(100)]
    done = await asyncio.gather(*spends)
    assert sum(done) == 23  # of 70 yuan, three at a time
    assert await purse_of(ours) == Money.parse("1")
    assert await lots_left(ours) == [ZERO, ZERO, Money.parse("1")]
    assert await purse_of(theirs) == Money.parse("70")
    await expect_kept_is_derived(ours)


async def test_money_in_a_purse_that_no_lot_accounts_for_is_not_spent(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    paid = topup_paid(
        topup_id=new_id(),
        into=AccountKey(AccountKind.CHANNEL, ours.project.id),
        account=ours.account.id,
        amount=Money.parse("9"),
    )
    async with unit_of_work(ours.group_id) as work:
        await post(work, project_id=ours.project.id, transfer=paid, at=START)
    assert not await spend_once(ours, key="use:1", yuan="9")
    assert await purse_of(ours) == Money.parse("9")


async def test_a_grant_is_used_before_paid_money_and_a_source_opens_one_lot(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan="10")
    grant = Money.parse("5")
    for _ in range(2):
        async with unit_of_work(ours.group_id) as work:
            await open_lot(
                work,
                project_id=ours.project.id,
                account_id=ours.account.id,
                kind=LotKind.GRANT,
                source="grant:1",
                amount=grant,
                at=START + SECOND,
            )
    assert await lots_left(ours) == [Money.parse("10"), grant]
    assert await spend_once(ours, key="use:1", yuan="6")
    assert await lots_left(ours) == [Money.parse("9"), ZERO]
    assert await spend_once(ours, key="use:1", yuan="6")  # the same use again
    assert await lots_left(ours) == [Money.parse("9"), ZERO]


async def test_a_liability_is_never_taken_below_zero(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan="20")
    reserved = vend_reserved(
        vend_id=new_id(), account=ours.account.id, meter=ours.meter.id, amount=Money(200_001)
    )
    with pytest.raises(Overdrawn):
        async with unit_of_work(ours.group_id) as work:
            await post(work, project_id=ours.project.id, transfer=reserved, at=START)
    with pytest.raises(ValueError, match="positive"):
        async with unit_of_work(ours.group_id) as work:
            await spend(
                work,
                project_id=ours.project.id,
                account_id=ours.account.id,
                business_key="use:1",
                amount=ZERO,
                at=START,
            )
    assert await purse_of(ours) == Money.parse("20")


async def test_channel_and_revenue_keep_no_hot_row(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan="20")
    assert await spend_once(ours, key="use:1", yuan="4")
    async with unit_of_work(ours.group_id) as work:
        kinds = await work.fetch(
            "SELECT a.kind FROM ledger_balance b JOIN ledger_account a ON a.id = b.account_id"
        )
        revenue = await derived_balance(work, kind=AccountKind.REVENUE, ref=ours.project.id)
        key = AccountKey(AccountKind.CHANNEL, ours.project.id)
        channel = await derived_balance(work, kind=key.kind, ref=key.ref)
    assert [row["kind"] for row in kinds] == ["PURSE"]
    assert (revenue, channel) == (Money.parse("-4"), Money.parse("20"))
