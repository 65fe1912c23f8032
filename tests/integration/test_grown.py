"""What jobs and pages read does not grow with what is over: years of it lie beside what is open (A8, A27).

Everything that is over is copied some thousand times; the rows that PostgreSQL reads for the same work are
counted before and after. On what few rows there are besides, it has no reason to use an index at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from backend.alerts.queries import cases_page
from backend.control.commands import last_relay_commands
from backend.control.queries import lock_undecided, next_vend
from backend.journeys.supply_owing import paying_accounts
from backend.kernel.db import Database, unit_of_work
from backend.kernel.migrate import migrate
from backend.metering.supplied import supplied_meters
from backend.reconcile.proofs import proofs_page
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.account_refunds import newest_refunds, open_refunds
from workers import housekeeping, janitor
from workers.context import WorkerContext

from .filled import fill
from .world import START, World, make_credential, make_group, make_order, pay

_COPIES = 5_000
_FEW = 200  # rows more: what a page of a table or a handful of rows make

# It is of ten meters, or accounts, alike.
_OF_TEN = "CASE n % 10 WHEN 0 THEN s.{0} ELSE md5((n % 10)::text)::uuid END"
# What is over of each table, and what else a copy says: it must be over, and no rule may forbid it.
_OVER: Mapping[str, Mapping[str, str]] = {
    "control_command": {
        "meter_id": _OF_TEN.format("meter_id"),
        "kind": "'TRIP'",
        "family": "'RELAY'",
        "settings": "'{}'",
        "state": "'EXPIRED'",
        "issued_at": "issued_at - interval '30 days'",
        "finished_at": "issued_at",
        "writes": "0",
        "sent_at": "NULL",
        "accepted_at": "NULL",
    },
    "control_vend": {
        "meter_id": _OF_TEN.format("meter_id"),
        "state": "'VERIFIED'",
        "sent_at": "created_at",
        "verified_at": "created_at",
        "purchase_no": "100000 + n",
        "counter_epoch": "0",
        "source_id": "gen_random_uuid()",
    },
    "topups_order": {
        "account_id": _OF_TEN.format("account_id"),
        "state": "'CLOSED'",
        "paid_at": "NULL",
        "transaction_id": "NULL",
        "closed_at": "created_at",
        "order_no": "'itisover' || n",
        "idempotency_key": "'it-is-over-' || n",
    },
    "topups_refund": {
        "state": "'FAILED'",
        "finished_at": "requested_at",
        "approved_at": "requested_at",
        "approved_by": "'nobody else'",
        "account_id": _OF_TEN.format("account_id"),
        "refund_no": "'itisover' || n",
        "idempotency_key": "'it-is-over-' || n",
    },
    "metering_takedown": {
        "meter_id": _OF_TEN.format("meter_id"),
        "state": "'CANCELLED'",
        "finished_at": "started_at",
        "to_meter_id": "NULL",
        "idempotency_key": "'it-is-over-' || n",
    },
    "metering_episode": {
        "meter_id": "md5((n % 10)::text)::uuid",
        "kind": "'LOST'",
        "drift_s": "NULL",
        "ended_at": "started_at",
    },
    "alerts_case": {"resolved_at": "opened_at", "resolved_by": "'x'", "note": "'it is over'"},
    "alerts_alarm": {"ended_at": "began_at", "ended_why": "'over'"},
    "accounts_closing": {
        "state": "'CANCELLED'",
        "finished_at": "started_at",
        "idempotency_key": "'it-is-over-' || n",
    },
    "reconcile_proof": {
        "meter_id": _OF_TEN.format("meter_id"),
        "verdict": "'AGREES'",
        "day": "day - n",
        "resolved_at": "NULL",
        "resolved_by": "NULL",
        "note": "NULL",
    },
}


@pytest.fixture
def place(unique: str) -> str:
    """A database of one's own."""
    return f"grown_{unique}"


@pytest.fixture
async def world(services: EmbeddedServices, place: str) -> AsyncIterator[World]:
    """A group with something in every table, and another like it; one connection for all."""
    await services.prepare_database(place)
    owner = services.owner_dsn(place)
    await migrate(owner, at=START)
    await Database.open(services.app_dsn(place), pool_max=1)
    try:
        directory = SimpleNamespace(owner_dsn=lambda: owner)
        made, other = await make_group(directory, "ours"), await make_group(directory, "theirs")
        other.clock = made.clock
        await fill(made)
        await fill(other)
        yield made
    finally:
        await Database.close()


@pytest.fixture
async def server(
    services: EmbeddedServices, world: World, place: str
) -> AsyncIterator[asyncpg.Connection[Any]]:
    """PostgreSQL's own administrator in the world's database."""
    connection = await asyncpg.connect(services.postgres.admin_dsn, database=place)
    try:
        yield connection
    finally:
        await connection.close()


async def _grow(server: asyncpg.Connection[Any]) -> None:
    """Years go by."""
    await server.execute("SET session_replication_role = replica")  # nor is what they name copied
    for table, told in _OVER.items():
        columns = await server.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0"
            " AND NOT attisdropped AND attgenerated = ''",
            table,
        )
        names = [row["attname"] for row in columns]
        values = [{"id": "gen_random_uuid()", **told}.get(name, f's."{name}"') for name in names]
        made = await server.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)}"
            f" FROM (SELECT DISTINCT ON (group_id) * FROM {table}) s, generate_series(1, $1) n",
            _COPIES,
        )
        assert made == f"INSERT 0 {2 * _COPIES}", f"{table}: both groups have years behind them"
    await server.execute("SET session_replication_role = origin")
    await server.execute("VACUUM ANALYZE")


async def _rows_read(
    server: asyncpg.Connection[Any], act: Callable[[], Awaitable[None]]
) -> dict[str, int]:
    """How many rows of each table are read while `act` runs in this process's one connection."""
    before = await _counted(server)
    await act()
    after = await _counted(server)
    return {table: after[table] - before[table] for table in _OVER}


async def _counted(server: asyncpg.Connection[Any]) -> dict[str, int]:
    async with unit_of_work(1) as work:
        await work.execute("SELECT pg_stat_force_next_flush()")
    rows = await server.fetch(
        "SELECT relname, seq_tup_read + idx_tup_fetch AS rows FROM pg_stat_user_tables"
    )
    return {row["relname"]: row["rows"] for row in rows}


async def _jobs(world: World) -> None:
    """Once around of all that the clock starts, but for what it does once an hour and goes through all."""
    world.clock.advance(timedelta(minutes=1))
    context = cast("WorkerContext", SimpleNamespace(ports=world.ports))
    await janitor.tidy(context)
    for job in (
        housekeeping.watch_all_lines,
        housekeeping.watch_all_meters,
        housekeeping.tend_all_alarms,
        housekeeping.roll_up_histories,
        housekeeping.download_all_prices,
        housekeeping.estimate_all_silent,
        housekeeping.tend_all_forecasts,
        housekeeping.plan_all_books,
    ):
        await job(context)


async def _one_tenant(world: World) -> None:
    """What is asked when one tenant pays, one meter is decided on, and one page is shown."""
    account, meter, project = world.account.id, world.meter.id, world.project.id
    order = await make_order(world, credential_id=await make_credential(world))
    assert (await pay(world, order)).paid
    async with unit_of_work(world.group_id) as work:
        await next_vend(work, meter_id=meter)
        await lock_undecided(work, meter_id=meter)
        await paying_accounts(work, account_ids=[account])
        await supplied_meters(work, meter_ids=[meter])
        await last_relay_commands(work, meter_ids=[meter])
        await open_refunds(work, account_id=account)
        await newest_refunds(work, account_ids=[account], limit=5)
        await cases_page(
            work, scope=world.scope, project_id=project, only_open=True, before=None, limit=50
        )
        await proofs_page(work, project_id=project, only_drift=True, before=None, limit=50)


async def test_what_is_read_does_not_grow_with_what_is_over(
    world: World, server: asyncpg.Connection[Any]
) -> None:
    async def all_of_it() -> None:
        await _jobs(world)
        await _one_tenant(world)

    await all_of_it()  # what is owed at once
    before = await _rows_read(server, all_of_it)
    await _grow(server)
    await all_of_it()
    after = await _rows_read(server, all_of_it)
    grown = {table: (before[table], after[table]) for table in _OVER}
    assert not {t: each for t, each in grown.items() if each[1] > each[0] + _FEW}
    assert any(before.values()), "something was read and counted"


async def test_reading_all_that_is_over_would_be_seen(
    world: World, server: asyncpg.Connection[Any]
) -> None:
    async def greedy() -> None:
        async with unit_of_work(world.group_id) as work:
            await work.fetch("SELECT * FROM control_command WHERE state IN ('QUEUED', 'SENT')")

    before = await _rows_read(server, greedy)
    await _grow(server)
    after = await _rows_read(server, greedy)
    assert after["control_command"] > before["control_command"] + _FEW


async def test_the_first_batch_of_a_fresh_database_is_not_read_once_for_each_of_its_meters(
    world: World, server: asyncpg.Connection[Any]
) -> None:
    """Before PostgreSQL has counted anything it takes two hundred meters for all."""
    await server.execute("ALTER TABLE control_command SET (autovacuum_enabled = false)")
    await server.execute("SET session_replication_role = replica")
    await server.execute(
        "INSERT INTO control_command (group_id, id, project_id, meter_id, kind, family, state, reason,"
        " requested_by, issued_at, expires_at) SELECT $1, uuidv7(), $2, md5(n::text)::uuid, 'TRIP', 'RELAY',"
        " 'QUEUED', 'a batch', 'somebody', $3::timestamptz, $3::timestamptz + interval '1 day'"
        " FROM generate_series(1, $4) n",
        world.group_id,
        world.project.id,
        START,
        _COPIES,
    )
    some = await server.fetch("SELECT md5(n::text)::uuid AS id FROM generate_series(1, 100) n")

    async def entries() -> int:
        async with unit_of_work(1) as work:
            await work.execute("SELECT pg_stat_force_next_flush()")
        found: int = await server.fetchval(
            "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'control_command'"
        )
        return found

    before = await entries()
    async with unit_of_work(world.group_id) as work:
        told = await last_relay_commands(work, meter_ids=[row["id"] for row in some])
    assert len(told) == 100
    assert await entries() - before < 100 + _FEW
