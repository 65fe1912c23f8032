"""Arrears to the last 毫: what pays them, what takes them back, where they go (C3, C4, C7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.kernel.db import unit_of_work
from backend.kernel.money import ZERO, Money
from backend.ledger.purses import (
    PurseCharge,
    arrears_of,
    charge,
    move_arrears,
    recover_arrears,
    recovered_by,
)
from backend.ledger.queries import owed
from backend.ledger.rules import LINES, AccountKind
from backend.ledger.statements import lots_left, moved_by_kind

from .filled import put_money
from .test_book_refusals import arrears, charged, recovered
from .test_ledger import expect_kept_is_derived, purse_of
from .world import START, World, make_account

Two = tuple[World, World]


async def lots(world: World) -> list[tuple[str, int, int]]:
    """Kind, amount and what was used of each lot of the group, in hao, oldest first."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch("SELECT kind, amount_hao, used_hao FROM ledger_lot ORDER BY id")
    return [tuple(row) for row in rows]


async def test_a_charge_that_is_posted_again_is_answered_by_its_entry(worlds: Two) -> None:
    ours, theirs = worlds
    await put_money(ours, yuan="5")
    found = []
    for _ in range(2):
        async with unit_of_work(ours.group_id) as work:
            purse = PurseCharge.of(ours.account.id, {AccountKind.ENERGY: 700})
            found.append(
                await charge(
                    work, project_id=ours.project.id, business_key="c:1", charges=[purse], at=START
                )
            )
    assert found[0] is not None
    assert found[1] == found[0]
    assert await purse_of(ours) == Money(49_300)
    assert (await arrears(theirs), await purse_of(theirs)) == (ZERO, ZERO)


@pytest.mark.parametrize("hao", [1, 10_000])
async def test_a_purse_pays_what_it_has_and_the_next_hao_is_owed(worlds: Two, hao: int) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan=str(Money(hao)) if hao > 99 else "0.01")
    held = (await purse_of(ours)).hao
    await charged(ours, key="c:1", hao=1)
    assert (await purse_of(ours), await arrears(ours)) == (Money(held - 1), ZERO)
    await charged(ours, key="c:2", hao=held)
    assert (await purse_of(ours), await arrears(ours)) == (ZERO, Money(1))
    await expect_kept_is_derived(ours)


async def test_one_hao_is_recovered_and_nothing_is_when_nothing_stands(worlds: Two) -> None:
    ours, _theirs = worlds
    await charged(ours, key="c:1", hao=1)
    assert await recovered(ours, source="topup:0") == {}
    await put_money(ours, yuan="1")
    assert await recovered(ours, source="topup:1") == {AccountKind.ENERGY: Money(1)}
    assert await recovered(ours, source="topup:2") == {}
    assert (await purse_of(ours), await arrears(ours)) == (Money(9_999), ZERO)


async def test_what_arrears_took_of_a_top_up_is_given_back_to_that_very_lot(worlds: Two) -> None:
    ours, _theirs = worlds
    await charged(ours, key="c:1", hao=20_000)
    await put_money(ours, yuan="3")
    await recovered(ours, source="topup:1")
    assert await lots(ours) == [("PAID", 30_000, 20_000)]
    await charged(ours, key="c:2", hao=-15_000)
    assert await lots(ours) == [("PAID", 30_000, 5_000)]
    async with unit_of_work(ours.group_id) as work:
        moved = await moved_by_kind(work, kind=AccountKind.PURSE, ref=ours.account.id)
    assert moved == {
        "TOPUP_PAID": Money.parse("3"),
        "ARREARS_RECOVERED": Money.parse("-2"),
        "CHARGE": Money.parse("1.5"),
    }
    await expect_kept_is_derived(ours)


async def test_arrears_move_with_the_account_line_by_line_and_once(worlds: Two) -> None:
    ours, theirs = worlds
    other = await make_account(ours, no="100002")
    lines = {line: 10_000 + n for n, line in enumerate(LINES)}
    total = Money(sum(lines.values()))

    async def move(source: str) -> Money:
        async with unit_of_work(ours.group_id) as work:
            return await move_arrears(
                work,
                project_id=ours.project.id,
                purse=ours.account.id,
                to=other.id,
                source=source,
                at=START,
            )

    assert await move("join:0") == ZERO
    async with unit_of_work(ours.group_id) as work:
        purse = PurseCharge.of(ours.account.id, lines)
        await charge(
            work, project_id=ours.project.id, business_key="c:1", charges=[purse], at=START
        )
    assert await move("join:1") == total
    assert await move("join:1") == ZERO
    async with unit_of_work(ours.group_id) as work:
        found = await arrears_of(work, purses=[ours.account.id, other.id, theirs.account.id])
        assert found == {ours.account.id: ZERO, other.id: total, theirs.account.id: ZERO}
        kinds = await work.fetch("SELECT kind FROM ledger_entry ORDER BY kind")
        assert [row["kind"] for row in kinds] == ["ARREARS_MOVED", "CHARGE"]
        for line, hao in lines.items():
            kind = AccountKind(f"{line}_ARREARS")
            held = await owed(work, kind=kind, refs=[ours.account.id, other.id])
            assert held == {ours.account.id: ZERO, other.id: Money(-hao)}
    await expect_kept_is_derived(ours)


async def test_a_receipt_tells_what_its_own_money_paid_of_which_line(worlds: Two) -> None:
    ours, theirs = worlds
    async with unit_of_work(ours.group_id) as work:
        lines = {AccountKind.SERVICE: 30_000, AccountKind.ENERGY: 20_000, AccountKind.LOSS: 5_000}
        purse = PurseCharge.of(ours.account.id, lines)
        await charge(
            work, project_id=ours.project.id, business_key="c:1", charges=[purse], at=START
        )
    for source, yuan in (("topup:1", "4"), ("topup:2", "1")):
        await put_money(ours, yuan=yuan)
        await recovered(ours, source=source)
    sources = ["topup:1", "topup:2", "topup:3"]
    expected = [
        [("ENERGY", 20_000), ("LOSS", 5_000), ("SERVICE", 15_000)],
        [("SERVICE", 10_000)],
        [],
    ]
    async with unit_of_work(ours.group_id) as work:
        told = await recovered_by(work, sources=sources)
    assert [[(k, v.hao) for k, v in told[source].items()] for source in sources] == expected
    async with unit_of_work(theirs.group_id) as work:
        assert await recovered_by(work, sources=sources) == {source: {} for source in sources}
        assert (
            await recover_arrears(
                work,
                project_id=theirs.project.id,
                purse=theirs.account.id,
                source="topup:1",
                at=START,
            )
            == {}
        )


async def test_of_many_purses_charged_by_one_entry_each_pays_for_itself(worlds: Two) -> None:
    ours, theirs = worlds
    rich, poor = ours.account, await make_account(ours, no="100002")
    new, back = await make_account(ours, no="100003"), await make_account(ours, no="100004")
    for account, yuan in ((rich, "9"), (poor, "2"), (back, "4")):
        await put_money(replace(ours, account=account), yuan=yuan)
    await charged(replace(ours, account=back), key="c:0", hao=30_000)
    amounts = {new.id: 10_000, rich.id: 40_000, back.id: -10_000, poor.id: 50_000}
    async with unit_of_work(ours.group_id) as work:
        charges = [PurseCharge.of(ref, {AccountKind.ENERGY: hao}) for ref, hao in amounts.items()]
        await charge(
            work, project_id=ours.project.id, business_key="c:1", charges=charges, at=START
        )
        held = await owed(work, kind=AccountKind.PURSE, refs=[*amounts, theirs.account.id])
        owing = await arrears_of(work, purses=[*amounts, theirs.account.id])
        left = {ref: await lots_left(work, purse=ref) for ref in amounts}
    expected = {new.id: 0, rich.id: 50_000, back.id: 20_000, poor.id: 0, theirs.account.id: 0}
    assert {ref: money.hao for ref, money in held.items()} == expected
    assert {ref: money.hao for ref, money in owing.items()} == dict.fromkeys(expected, 0) | {
        new.id: 10_000,
        poor.id: 30_000,
    }
    of_lots = {ref: sum(lot.left.hao for lot in lots) for ref, lots in left.items()}
    assert of_lots == {ref: expected[ref] for ref in amounts}
    await expect_kept_is_derived(ours)
