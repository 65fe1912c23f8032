"""Each project's day as a signed statement: it adds up, is chained, and is the same whenever it is made."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from backend.journeys.daily_statement import (
    daily_statement,
    make_statements,
    plan_statements,
    recomputed,
)
from backend.kernel.clock import CHINA
from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.money import Money
from backend.ledger import operations as ledger
from backend.ledger.rules import AccountKey, AccountKind, move
from backend.reconcile.statement_rules import StatementKeys, read_file, verify, verify_chain
from backend.reconcile.statements import Statement, add_statement, statement_of_day

from .billed import today_of
from .test_vend_steps import announce, sold, vend_for
from .test_vend_steps import verify as verify_vend
from .world import BOX, START, World, admin_scope, make_project

KEYS = StatementKeys(BOX)


async def make(world: World, until: date) -> int:
    """Make the statements of the world's project up to a day."""
    return await make_statements(
        box=BOX, group_id=world.group_id, project_id=world.project.id, until=until, at=START
    )


async def statement(world: World, day: date) -> Statement:
    """The statement of a day."""
    async with unit_of_work(world.group_id) as work:
        found = await statement_of_day(work, project_id=world.project.id, day=day)
    assert found is not None
    return found


def body_of(made: Statement) -> dict[str, Any]:
    """A statement's body, verified from its file."""
    return dict(verify(read_file(made.signed.file), keys=KEYS.public))


async def fifty_at_the_meter(world: World) -> None:
    """50 yuan paid and verified at the meter."""
    vend = await vend_for(world, await sold(world))
    await announce(world, vend)
    await verify_vend(world, vend)


async def test_a_day_adds_up_and_names_its_channels_vends_and_use(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    today = await today_of(world)
    await today_of(other)
    await fifty_at_the_meter(world)
    await sold(other, fen=999)
    async with unit_of_work(world.group_id) as work:
        used = move(
            business_key="used:1",
            kind="USED_AT_METER",
            debit=AccountKey(AccountKind.METER_WALLET, world.meter.id),
            credit=AccountKey(AccountKind.REVENUE, world.project.id),
            amount=Money.parse("0.1234"),
        )
        await ledger.post(work, project_id=world.project.id, transfer=used, at=START)
    assert await make(world, today) == 3
    body = body_of(await statement(world, today))
    accounts = {one["kind"]: one for one in body["accounts"]}
    assert accounts["METER_WALLET"] == {
        "kind": "METER_WALLET",
        "opening": "0.00",
        "in": "0.1234",
        "out": "50.00",
        "closing": "-49.8766",
    }
    assert accounts["PURSE"]["closing"] == accounts["IN_TRANSIT"]["closing"] == "0.00"
    assert [(one["channel"], one["in"]) for one in body["channels"]] == [("WECHAT_PAY", "50.00")]
    assert body["sums"] == {
        "channelsIn": "50.00",
        "channelsOut": "0.00",
        "cashIn": "0.00",
        "cashOut": "0.00",
        "refunds": "0.00",
        "vends": "50.00",
        "use": "0.1234",
    }
    assert {one["kind"]: one["entries"] for one in body["entries"]} == {
        "TOPUP_PAID": 1,
        "VEND_RESERVED": 1,
        "VEND_SETTLED": 1,
        "USED_AT_METER": 1,
    }


async def test_days_are_chained_and_one_opens_as_the_other_closed(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    today = await today_of(world)
    await fifty_at_the_meter(world)
    assert await make(world, today) == 3
    assert await make(world, today) == 0, "a day has one statement"
    days = [await statement(world, today + timedelta(days=n)) for n in (-2, -1, 0)]
    assert days[0].previous is None
    for before, after in itertools.pairwise(days):
        assert after.previous == before.signed.hash
        verify_chain(after.signed, previous=before.signed)
    assert await make(world, today + timedelta(days=1)) == 1
    after = await statement(world, today + timedelta(days=1))
    verify_chain(after.signed, previous=days[2].signed)
    quiet = {one["kind"]: (one["in"], one["closing"]) for one in body_of(after)["accounts"]}
    assert quiet["METER_WALLET"] == ("0.00", "-50.00")


async def test_a_past_day_made_anew_from_the_book_alone_is_the_same_to_the_byte(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    today = await today_of(world)
    await fifty_at_the_meter(world)
    await make(world, today + timedelta(days=1))
    for n in (-2, -1, 0, 1):
        made = await statement(world, today + timedelta(days=n))
        async with unit_of_work(world.group_id) as work:
            assert await recomputed(work, statement=made) == made.signed.body


async def test_what_is_recorded_later_changes_no_earlier_day_whatever_instant_it_is_of(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    today = await today_of(world)
    yesterday = today - timedelta(days=1)
    await make(world, yesterday)
    made = await statement(world, yesterday)
    # It happened long ago, as a late reading does, and is recorded now.
    world.clock.instant = START - timedelta(days=30)
    await fifty_at_the_meter(world)
    async with unit_of_work(world.group_id) as work:
        assert await recomputed(work, statement=made) == made.signed.body


async def test_an_entry_slipped_into_a_stated_day_is_seen(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    today = await today_of(world)
    await fifty_at_the_meter(world)
    await make(world, today)
    made = await statement(world, today)
    await sold(world, fen=100)
    async with unit_of_work(world.group_id) as work:
        anew = json.loads(await recomputed(work, statement=made))
    told = json.loads(made.signed.body)
    assert anew["book"] != told["book"]
    assert anew["sums"]["channelsIn"] == "51.00"


async def test_each_project_has_its_own_and_nobody_can_change_one(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    second = await make_project(world)
    today = await today_of(world)
    await fifty_at_the_meter(world)
    await make(world, today)
    await make(second, today)
    assert body_of(await statement(second, today))["accounts"] == []
    made = await statement(world, today)
    for sql in ("UPDATE reconcile_statement SET body = 'x'", "DELETE FROM reconcile_statement"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with unit_of_work(world.group_id) as work:
                await work.execute(sql)
    async with unit_of_work(world.group_id) as work:
        assert not await add_statement(work, statement=made)
    async with unit_of_work(other.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM reconcile_statement") == 0


async def test_who_may_not_sees_no_statement(worlds: tuple[World, World]) -> None:
    world, other = worlds
    today = await today_of(world)
    await make(world, today)
    reader = admin_scope(world.group_id, permissions=frozenset({"reconcile:read"}))
    stranger = admin_scope(world.group_id, permissions=frozenset({"audit:read"}))
    asked: dict[str, Any] = {"project_id": world.project.id, "day": today}
    async with unit_of_work(world.group_id) as work:
        assert (await daily_statement(work, scope=reader, **asked)).day == today
        for scope, day in ((stranger, today), (reader, today + timedelta(days=1))):
            with pytest.raises(NotFound):
                await daily_statement(work, scope=scope, project_id=world.project.id, day=day)
    async with unit_of_work(other.group_id) as work:
        with pytest.raises(NotFound):
            await daily_statement(work, scope=other.scope, **asked)


async def test_a_day_is_stated_two_hours_after_its_midnight_once(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    two = datetime(2026, 11, 23, 2, 0, tzinfo=CHINA).astimezone(UTC)
    assert await plan_statements(group_id=world.group_id, at=two - timedelta(seconds=1)) == 0
    assert await plan_statements(group_id=world.group_id, at=two) == 1
    assert await plan_statements(group_id=world.group_id, at=two + timedelta(hours=9)) == 0
    async with unit_of_work(world.group_id) as work:
        payload = await work.fetchval(
            "SELECT payload FROM outbox_event WHERE topic = 'statement.due'"
        )
    assert payload == {"project_id": str(world.project.id), "day": "2026-11-22"}
