"""What the book refuses, and what is not there, as an auditor asks for it (C1, C3, C4, C7, C11)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from backend.kernel.clock import Period
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.money import ZERO, Money
from backend.ledger.day_book import (
    Moved,
    Turnover,
    balances_before,
    digest_of,
    moved_in,
    turnover_in,
)
from backend.ledger.entries import account_ids, post, post_all, write_entry
from backend.ledger.lots import lot_state
from backend.ledger.operations import end_grant, give_grant, open_lot, spend, unspend
from backend.ledger.purses import PurseCharge, arrears_of, charge, recover_arrears
from backend.ledger.queries import derived_balance, owed_by_kind, posted_keys
from backend.ledger.rules import AccountKey, AccountKind, LotKind, move, topup_paid, vend_reserved
from backend.ledger.statements import lots_left, moved_by_kind
from backend.ledger.wallet_use import WalletUse, post_wallet_use

from .filled import put_money
from .test_ledger import expect_kept_is_derived, purse_of, spend_once
from .world import START, World, new_id

Two = tuple[World, World]
DAY = timedelta(days=1)


async def charged(world: World, *, key: str, hao: int) -> None:
    """Energy charged to the purse of the world's account."""
    async with unit_of_work(world.group_id) as work:
        purse = PurseCharge.of(world.account.id, {AccountKind.ENERGY: hao})
        await charge(work, project_id=world.project.id, business_key=key, charges=[purse], at=START)


async def recovered(world: World, *, source: str) -> dict[AccountKind, Money]:
    """What a source of money paid of the account's arrears."""
    async with unit_of_work(world.group_id) as work:
        return await recover_arrears(
            work, project_id=world.project.id, purse=world.account.id, source=source, at=START
        )


async def arrears(world: World) -> Money:
    """What the world's account owes."""
    async with unit_of_work(world.group_id) as work:
        return (await arrears_of(work, purses=[world.account.id]))[world.account.id]


async def money_without_a_lot(world: World, *, yuan: str) -> None:
    """Money in the purse of the world's account that nothing says where it came from."""
    paid = topup_paid(
        topup_id=new_id(),
        into=AccountKey(AccountKind.CHANNEL, world.project.id),
        account=world.account.id,
        amount=Money.parse(yuan),
    )
    async with unit_of_work(world.group_id) as work:
        await post(work, project_id=world.project.id, transfer=paid, at=START)


async def test_a_charge_of_nothing_is_no_entry(worlds: Two) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan="5")
    async with unit_of_work(ours.group_id) as work:
        nothing = PurseCharge.of(ours.account.id, {AccountKind.ENERGY: 700, AccountKind.LOSS: -700})
        for charges in ([], [PurseCharge.of(ours.account.id, {AccountKind.ENERGY: 0})]):
            found = await charge(
                work, project_id=ours.project.id, business_key="c:1", charges=charges, at=START
            )
            assert found is None
        moved = await charge(
            work, project_id=ours.project.id, business_key="c:2", charges=[nothing], at=START
        )
        assert moved is not None  # the lines say different things, the purse the same
        keys = await work.fetch("SELECT business_key FROM ledger_entry WHERE kind = 'CHARGE'")
    assert [row["business_key"] for row in keys] == ["c:2"]
    assert await purse_of(ours) == Money.parse("5")
    await expect_kept_is_derived(ours)


async def test_what_a_correction_gives_back_beyond_what_was_charged_is_a_gift_of_its_own(
    worlds: Two,
) -> None:
    ours, theirs = worlds
    await put_money(ours, yuan="3")
    await charged(ours, key="c:1", hao=10_000)
    await charged(ours, key="c:2", hao=-25_000)
    await charged(theirs, key="c:2", hao=-7_000)
    for world, lots in (
        (ours, [("GRANT", 15_000, 0), ("PAID", 30_000, 0)]),
        (theirs, [("GRANT", 7_000, 0)]),
    ):
        async with unit_of_work(world.group_id) as work:
            rows = await work.fetch("SELECT kind, amount_hao, used_hao FROM ledger_lot ORDER BY 1")
        assert [tuple(row) for row in rows] == lots
        assert (await purse_of(world)).hao == sum(lot[1] for lot in lots)
        await expect_kept_is_derived(world)


async def test_one_payment_recovers_arrears_once_whatever_stands_later(worlds: Two) -> None:
    ours, _theirs = worlds
    await charged(ours, key="c:1", hao=20_000)
    await put_money(ours, yuan="3")
    assert await recovered(ours, source="topup:1") == {AccountKind.ENERGY: Money.parse("2")}
    await charged(ours, key="c:2", hao=30_000)
    await put_money(ours, yuan="5")
    assert await recovered(ours, source="topup:1") == {}
    assert (await arrears(ours), await purse_of(ours)) == (Money.parse("2"), Money.parse("5"))
    assert await recovered(ours, source="topup:2") == {AccountKind.ENERGY: Money.parse("2")}
    await expect_kept_is_derived(ours)


async def test_money_that_no_lot_accounts_for_pays_no_arrears(worlds: Two) -> None:
    ours, theirs = worlds
    await charged(ours, key="c:1", hao=30_000)
    await money_without_a_lot(ours, yuan="9")
    assert await recovered(ours, source="topup:1") == {}
    assert (await arrears(ours), await purse_of(ours)) == (Money.parse("3"), Money.parse("9"))
    await put_money(ours, yuan="1")
    assert await recovered(ours, source="topup:2") == {AccountKind.ENERGY: Money.parse("1")}
    assert (await arrears(ours), await purse_of(ours)) == (Money.parse("2"), Money.parse("9"))
    assert await arrears(theirs) == ZERO
    await expect_kept_is_derived(ours)


async def at_the_meter(world: World, *, yuan: str) -> None:
    """Money of the account's purse, held by its meter."""
    moved = move(
        business_key="m:1",
        kind="MOVED",
        debit=AccountKey(AccountKind.PURSE, world.account.id),
        credit=AccountKey(AccountKind.METER_WALLET, world.meter.id),
        amount=Money.parse(yuan),
    )
    async with unit_of_work(world.group_id) as work:
        await post(work, project_id=world.project.id, transfer=moved, at=START)


async def used(world: World, **yuan: str) -> set[str]:
    """What meters of the account used, by business key; the keys of those whose lots hold less."""
    async with unit_of_work(world.group_id) as work:
        uses = [
            WalletUse(key, world.account.id, world.meter.id, Money.parse(amount))
            for key, amount in yuan.items()
        ]
        return await post_wallet_use(work, project_id=world.project.id, uses=uses, at=START)


async def taken_of_lots(world: World) -> list[tuple[str, int]]:
    """What each entry took of lots in all, in hao."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT e.business_key, sum(u.amount_hao)::bigint FROM ledger_lot_use u"
            " JOIN ledger_entry e ON e.id = u.entry_id GROUP BY 1 ORDER BY 1"
        )
    return [tuple(row) for row in rows]


async def test_what_a_meter_used_in_a_day_is_income_once(worlds: Two) -> None:
    ours, theirs = worlds
    await put_money(ours, yuan="10")
    await at_the_meter(ours, yuan="10")
    assert await used(ours, kitchen="2", hall="2") == set()
    with pytest.raises(Conflict, match="posted before"):
        await used(ours, kitchen="2", garden="1")
    assert await taken_of_lots(ours) == [("hall", 20_000), ("kitchen", 20_000)]
    assert await taken_of_lots(theirs) == []
    await expect_kept_is_derived(ours)


async def test_meters_of_one_household_share_its_lots_and_who_finds_too_little_is_told(
    worlds: Two,
) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan="3")
    await put_money(ours, yuan="4")
    await money_without_a_lot(ours, yuan="9")
    await at_the_meter(ours, yuan="16")
    assert await used(ours, kitchen="5", hall="2.0001", garden="2") == {"hall"}
    assert await taken_of_lots(ours) == [("garden", 20_000), ("kitchen", 50_000)]
    assert await used(ours, later="0.0001") == {"later"}
    async with unit_of_work(ours.group_id) as work:
        income = await derived_balance(work, kind=AccountKind.REVENUE, ref=ours.project.id)
        moved = await moved_by_kind(work, kind=AccountKind.METER_WALLET, ref=ours.meter.id)
    assert income == Money.parse("-7")
    assert moved == {"MOVED": Money.parse("16"), "USED_AT_METER": Money.parse("-7")}
    await expect_kept_is_derived(ours)


async def test_money_is_spent_once_by_a_key_which_says_whether_it_was(worlds: Two) -> None:
    ours, theirs = worlds
    await put_money(ours, yuan="5")
    await put_money(theirs, yuan="5")

    async def spent(world: World, yuan: str) -> bool:
        async with unit_of_work(world.group_id) as work:
            return await spend(
                work,
                project_id=world.project.id,
                account_id=world.account.id,
                business_key="use:1",
                amount=Money.parse(yuan),
                at=START,
            )

    assert [await spent(ours, "2"), await spent(ours, "2")] == [True, False]
    with pytest.raises(Conflict, match="other lines"):
        await spent(ours, "2.01")
    assert [await purse_of(world) for world in worlds] == [Money.parse("3"), Money.parse("5")]
    assert await taken_of_lots(ours) == [("use:1", 20_000)]
    assert await spent(theirs, "5")


async def test_what_was_never_posted_is_not_undone_and_what_was_undone_is_undone_once(
    worlds: Two,
) -> None:
    ours, theirs = worlds
    await put_money(ours, yuan="5")
    assert await spend_once(ours, key="use:1", yuan="2")

    async def undo(world: World, key: str = "use:1") -> bool:
        async with unit_of_work(world.group_id) as work:
            return await unspend(
                work, project_id=world.project.id, business_key=key, reason="a test", at=START
            )

    for world, key in ((ours, "use:2"), (theirs, "use:1")):
        with pytest.raises(Conflict, match="nothing was posted"):
            await undo(world, key)
    assert [await undo(ours), await undo(ours)] == [True, False]
    assert await purse_of(ours) == Money.parse("5")
    await expect_kept_is_derived(ours)


async def test_a_gift_is_given_once_and_what_is_left_of_it_ends_once(worlds: Two) -> None:
    ours, _theirs = worlds
    said: dict[str, Any] = {
        "project_id": ours.project.id,
        "account_id": ours.account.id,
        "source": "grant:2026-11",
        "at": START,
    }
    async with unit_of_work(ours.group_id) as work:
        given = [await give_grant(work, amount=Money.parse("3"), **said) for _ in range(2)]
    assert given == [True, False]
    await put_money(ours, yuan="4")
    assert await spend_once(ours, key="use:1", yuan="1")
    async with unit_of_work(ours.group_id) as work:
        purse = ours.account.id
        left = await lots_left(work, purse=purse)
        assert [(lot.kind, lot.left) for lot in left] == [
            (LotKind.GRANT, Money.parse("2")),
            (LotKind.PAID, Money.parse("4")),
        ]
        assert [await end_grant(work, **said) for _ in range(2)] == [Money.parse("2"), ZERO]
        assert [lot.kind for lot in await lots_left(work, purse=purse)] == [LotKind.PAID]
        moved = await moved_by_kind(work, kind=AccountKind.PURSE, ref=purse)
    assert moved == {
        "GRANT_ENDED": Money.parse("-2"),
        "GRANT_GIVEN": Money.parse("3"),
        "TOPUP_PAID": Money.parse("4"),
        "USE": Money.parse("-1"),
    }
    await expect_kept_is_derived(ours)


async def test_a_source_that_opened_nothing_has_no_lot_and_anothers_is_not_there(
    worlds: Two,
) -> None:
    ours, theirs = worlds
    await put_money(ours, yuan="5")
    async with unit_of_work(ours.group_id) as work:
        source = await work.fetchval("SELECT source FROM ledger_lot")
        state = await lot_state(work, source=source)
        assert state is not None
        assert (state.purse_ref, state.left, state.purse_left) == (
            ours.account.id,
            Money.parse("5"),
            Money.parse("5"),
        )
        assert await lot_state(work, source="topup:none") is None
    async with unit_of_work(theirs.group_id) as work:
        assert await lot_state(work, source=source) is None


async def test_which_keys_are_posted_is_told_to_their_own_group_alone(worlds: Two) -> None:
    ours, theirs = worlds
    await charged(ours, key="c:1", hao=100)
    for world, known in ((ours, {"c:1"}), (theirs, set())):
        async with unit_of_work(world.group_id) as work:
            assert await posted_keys(work, business_keys=["c:1", "c:2"]) == known


async def test_what_is_owed_is_told_by_kind_and_by_whom(worlds: Two) -> None:
    ours, theirs = worlds
    await put_money(ours, yuan="7")
    await put_money(theirs, yuan="9")
    reserved = vend_reserved(
        vend_id=new_id(), account=ours.account.id, meter=ours.meter.id, amount=Money.parse("2")
    )
    async with unit_of_work(ours.group_id) as work:
        await post(work, project_id=ours.project.id, transfer=reserved, at=START)
        refs = [ours.account.id, ours.meter.id, theirs.account.id]
        kinds = [AccountKind.PURSE, AccountKind.IN_TRANSIT, AccountKind.METER_WALLET]
        found = await owed_by_kind(work, kinds=kinds, refs=refs)
        assert await owed_by_kind(work, kinds=[AccountKind.PURSE], refs=[ours.meter.id]) == {}
    assert found == {
        (AccountKind.PURSE, ours.account.id): Money.parse("5"),
        (AccountKind.IN_TRANSIT, ours.meter.id): Money.parse("2"),
    }


async def test_two_entries_of_one_key_are_never_posted_together(worlds: Two) -> None:
    ours, _theirs = worlds
    purse = AccountKey(AccountKind.PURSE, ours.account.id)
    fund = AccountKey(AccountKind.GRANT_FUND, ours.project.id)
    pair = [
        move(business_key="g:1", kind="GRANT_GIVEN", debit=fund, credit=purse, amount=Money(hao))
        for hao in (500, 700)
    ]
    with pytest.raises(ValueError, match="keys of their own"):
        async with unit_of_work(ours.group_id) as work:
            await post_all(work, project_id=ours.project.id, transfers=pair, at=START)
    assert await purse_of(ours) == ZERO


async def test_lines_of_an_entry_are_numbered_from_one_in_the_order_they_were_said(
    worlds: Two,
) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan="5")
    await charged(ours, key="c:1", hao=60_000)
    async with unit_of_work(ours.group_id) as work:
        rows = await work.fetch(
            "SELECT e.kind, p.line, a.kind AS account, p.amount_hao FROM ledger_posting p"
            " JOIN ledger_entry e ON e.id = p.entry_id JOIN ledger_account a ON a.id = p.account_id"
            " ORDER BY e.kind, p.line"
        )
    assert [tuple(row) for row in rows] == [
        ("CHARGE", 1, "PURSE", 50_000),
        ("CHARGE", 2, "ENERGY_ARREARS", 10_000),
        ("CHARGE", 3, "ENERGY", -60_000),
        ("TOPUP_PAID", 1, "CHANNEL", 50_000),
        ("TOPUP_PAID", 2, "PURSE", -50_000),
    ]


async def test_nothing_to_post_is_nothing_posted(worlds: Two) -> None:
    ours, _theirs = worlds
    async with unit_of_work(ours.group_id) as work:
        assert await post_all(work, project_id=ours.project.id, transfers=[], at=START) == 0
        assert await work.fetchval("SELECT count(*) FROM ledger_entry") == 0


async def test_a_lot_of_nothing_is_refused_by_the_database(worlds: Two) -> None:
    ours, _theirs = worlds
    with pytest.raises(asyncpg.CheckViolationError):
        async with unit_of_work(ours.group_id) as work:
            await open_lot(
                work,
                project_id=ours.project.id,
                account_id=ours.account.id,
                kind=LotKind.GRANT,
                source="grant:1",
                amount=ZERO,
                at=START,
            )


async def test_a_line_of_nothing_is_refused_and_not_taken_for_an_overdraft(worlds: Two) -> None:
    ours, _theirs = worlds
    key = AccountKey(AccountKind.PURSE, ours.account.id)
    async with unit_of_work(ours.group_id) as work:
        ids = await account_ids(work, project_id=ours.project.id, keys=[key], at=START)
    said: dict[str, Any] = {"project_id": ours.project.id, "at": START}
    nothing: dict[str, Any] = {"accounts": [ids[key]] * 2, "amounts": [0, 0], "kind": "USE"}
    with pytest.raises(asyncpg.CheckViolationError, match="amount_hao"):
        async with unit_of_work(ours.group_id) as work:
            await write_entry(work, business_key="e:1", **nothing, **said)


async def test_channels_of_a_day_come_in_one_order_with_what_stood_and_what_moved(
    worlds: Two,
) -> None:
    ours, theirs = worlds
    channels = sorted(new_id() for _ in range(6))
    for world, at_channels in ((ours, channels[::-1]), (theirs, channels)):
        async with unit_of_work(world.group_id) as work:
            for number, channel in enumerate(at_channels, 1):
                paid = topup_paid(
                    topup_id=new_id(),
                    into=AccountKey(AccountKind.CHANNEL, channel),
                    account=world.account.id,
                    amount=Money(number),
                )
                await post(work, project_id=world.project.id, transfer=paid, at=START)
    day = {"project_id": ours.project.id}
    async with unit_of_work(ours.group_id) as work:
        refund = move(
            business_key="refund:1",
            kind="REFUND",
            debit=AccountKey(AccountKind.PURSE, ours.account.id),
            credit=AccountKey(AccountKind.CHANNEL, channels[0]),
            amount=Money(2),
        )
        now = await work.fetchval("SELECT now()")
        today = Period(now - DAY, now + DAY)
        digests = [await digest_of(work, span=today, **day)]
        await post(work, project_id=ours.project.id, transfer=refund, at=START)
        digests += [await digest_of(work, span=today, **day) for _ in range(2)]
        nothing = await balances_before(work, span=today, **day)
        found = await moved_in(work, span=today, opening=nothing, **day)
        after = Period(now + DAY, now + 2 * DAY)
        opening = await balances_before(work, span=after, **day)
        idle = await moved_in(work, span=after, opening=opening, **day)
        turned = await turnover_in(work, span=today, **day)
        assert await turnover_in(work, span=after, **day) == []
    assert nothing == {}
    assert [len(digest) for digest in digests] == [32, 32, 32]
    assert digests[0] != digests[1] == digests[2]
    told = [
        Moved(AccountKind.CHANNEL, channel, 0, 6 - n, 0 if n else 2)
        for n, channel in enumerate(channels)
    ]
    assert found == [*told, Moved(AccountKind.PURSE, None, 0, 2, 21)]
    stood = [each.came - each.went for each in found]
    assert [(each.opening, each.came, each.went) for each in idle] == [(n, 0, 0) for n in stood]
    assert turned == [Turnover("REFUND", 1, 2), Turnover("TOPUP_PAID", 6, 21)]
