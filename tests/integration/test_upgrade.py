"""A database that holds money already is brought to the newest step, and goes on as before (A27, C1)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tortoise import Tortoise
from tortoise.migrations.api import migrate as migrate_to

from backend.charges.queries import months_of
from backend.charges.rules import Supply
from backend.kernel.db import Database, tortoise_config, unit_of_work
from backend.kernel.migrate import migrate
from backend.kernel.money import Money
from backend.sandbox.embedded.services import EmbeddedServices

from .charged import make_home
from .filled import put_money
from .test_ledger import expect_kept_is_derived, purse_of, spend_once
from .test_retention import Apart
from .world import START, World, make_group

BEFORE = "models.0030_load_limits"
SEGMENTS = [["2026-11-01T00:00:00+08:00", "v1", 0, [0, 0, 5, 0, 0, 0], [0, 3, 30], 0]]


@pytest.fixture
async def before(services: EmbeddedServices, unique: str) -> AsyncIterator[Apart]:
    """A database of one test at an earlier step, open as the application role."""
    made = Apart(services, f"before_{unique}")
    await services.prepare_database(made.name)
    config = tortoise_config(made.owner_dsn(), pool_max=2, migrations="backend.migrations")
    await migrate_to(config=config, app_labels=["models"], target=BEFORE)
    await Tortoise.close_connections()
    await Database.open(made.app_dsn(), pool_max=5)
    yield made
    await Database.close()
    admin = await asyncpg.connect(services.postgres.admin_dsn)
    await admin.execute(f"DROP DATABASE {made.name} WITH (FORCE)")
    await admin.close()


async def keep_month(world: World) -> None:
    """A month of the world's account as the step before kept it."""
    account = world.project.id, world.account.id
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "INSERT INTO charges_supply (group_id, project_id, account_id, kind, started_at)"
            " VALUES ($1, $2, $3, 'ELECTRICITY', $4)",
            world.group_id,
            *account,
            START,
        )
        await work.execute(
            "INSERT INTO charges_month (group_id, project_id, account_id, kind, month, rated_until, used,"
            " segments, energy_hao, fixed_hao, loss_hao, public_hao, service_hao)"
            " VALUES ($1, $2, $3, 'ELECTRICITY', '2026-11-01', $4, 5, $5, 30, 0, 0, 0, 0)",
            world.group_id,
            *account,
            START,
            SEGMENTS,
        )


async def test_an_upgrade_keeps_all_money_and_what_is_done_next_finds_it(
    before: Apart, unique: str
) -> None:
    worlds = await make_group(before, f"a{unique}"), await make_group(before, f"b{unique}")
    homes = [await make_home(world) for world in worlds]
    for world, yuan in zip(worlds, ("20", "30"), strict=True):
        await put_money(world, yuan=yuan)
        assert await spend_once(world, key="use:1", yuan="5")
        await keep_month(world)
    await Database.close()
    applied = await migrate(before.owner_dsn(), at=START)
    assert applied
    await Database.open(before.app_dsn(), pool_max=5)
    for world, left in zip(worlds, ("15", "25"), strict=True):
        await expect_kept_is_derived(world)
        assert await purse_of(world) == Money.parse(left)
        assert await spend_once(world, key="use:2", yuan=left)
        assert not await spend_once(world, key="use:3", yuan="0.01")
        supply = Supply(world.account.id, "ELECTRICITY")
        async with unit_of_work(world.group_id) as work:
            months = await months_of(work, supplies=[supply], first=START.date().replace(day=1))
        assert [month.segments for month in months.values()] == [SEGMENTS]
    for home in homes:
        await home.pay("10")
        assert await home.read(home.reading(1, 500)) == 1
        assert await home.owed() == Money.parse("9.70")
        await expect_kept_is_derived(home.world)
