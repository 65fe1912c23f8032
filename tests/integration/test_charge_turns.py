"""Charging takes turns on supplies, and keeps only what nobody else has moved meanwhile (C13)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import pytest

from backend.charges import operations
from backend.charges.operations import Misplaced, hold_supplies
from backend.charges.rules import Supply
from backend.journeys.charge import charge_in
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.metering.cloud import cloud_assignments

from .charged import make_home
from .world import START, World, make_account

Two = tuple[World, World]


def wanted(world: World, *supplies: Supply) -> Mapping[Supply, tuple[UUID, datetime]]:
    """Supplies of a world, opened at START."""
    return dict.fromkeys(supplies, (world.project.id, START))


async def test_supplies_of_all_kinds_are_opened_once_and_told_again(worlds: Two) -> None:
    ours, theirs = worlds
    power, water = (Supply(ours.account.id, kind) for kind in ("ELECTRICITY", "WATER"))
    for asked in ((water,), (power, water), (power,), ()):
        async with unit_of_work(ours.group_id) as work:
            told = await hold_supplies(work, supplies=wanted(ours, *asked))
        assert told == dict.fromkeys(asked, START)
    async with unit_of_work(ours.group_id) as work:
        later = {water: (ours.project.id, START.replace(year=START.year + 1))}
        assert await hold_supplies(work, supplies=later) == {water: START}
    async with unit_of_work(theirs.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM charges_supply") == 0


async def test_who_waits_for_a_new_supply_holds_none_of_those_that_are_there(worlds: Two) -> None:
    ours, _ = worlds
    old = Supply(ours.account.id, "ELECTRICITY")
    new = Supply((await make_account(ours, no="100002")).id, "ELECTRICITY")
    async with unit_of_work(ours.group_id) as work:
        await hold_supplies(work, supplies=wanted(ours, old))
    may_end = asyncio.Event()
    opened = asyncio.Event()

    async def opens() -> None:
        async with unit_of_work(ours.group_id) as work:
            await hold_supplies(work, supplies=wanted(ours, new))
            opened.set()
            await may_end.wait()

    async def wants(*supplies: Supply) -> Mapping[Supply, datetime]:
        async with unit_of_work(ours.group_id) as work:
            await work.execute("SET LOCAL lock_timeout = '5s'")
            return await hold_supplies(work, supplies=wanted(ours, *supplies))

    first = asyncio.create_task(opens())
    await opened.wait()
    second = asyncio.create_task(wants(old, new))
    async with unit_of_work(ours.group_id) as work:
        while not await work.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE '%charges_supply%'"
        ):
            await work.execute("SELECT pg_stat_clear_snapshot()")
    assert await wants(old) == {old: START}
    assert not second.done()
    may_end.set()
    await first
    assert await second == {old: START, new: START}


@pytest.mark.parametrize("table", ["charges_position", "charges_month"])
async def test_a_charge_whose_position_or_month_was_moved_meanwhile_is_not_kept(
    worlds: Two, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = worlds
    home, other = await make_home(ours), await make_home(theirs)
    for each in (home, other):
        await each.read(each.reading(1, 500))
        await each.read(each.reading(2, 900), charge=False)
    honest = operations.move_positions

    async def late(work: UnitOfWork, **kept: object) -> None:
        """Somebody else moves a row that this transaction has read."""
        await work.execute(f"UPDATE {table} SET project_id = project_id")
        await honest(work, **kept)  # type: ignore[arg-type]  # handed on as it came

    with monkeypatch.context() as patch:
        patch.setattr(operations, "move_positions", late)
        with pytest.raises(Misplaced):
            await charged(ours)
    assert [len(await each.charges()) for each in (home, other)] == [1, 1]
    assert [await charged(ours), await charged(theirs), await charged(ours)] == [1, 1, 0]
    assert [len(await each.charges()) for each in (home, other)] == [2, 2]


async def charged(world: World) -> int:
    """Charge all that was read in a world."""
    async with unit_of_work(world.group_id) as work:
        accounts = [row["id"] for row in await work.fetch("SELECT id FROM accounts_account")]
        found = await cloud_assignments(work, account_ids=accounts)
        return await charge_in(work, assignments=found, since={}, at=START.replace(hour=23))
