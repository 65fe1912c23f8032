"""No group ever sees, changes or points at what is another's (C29)."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import asyncpg
import pytest

from backend.accounts.models import Account
from backend.kernel.db import UnitOfWork, platform_connection, unit_of_work
from backend.outbox.operations import emit
from backend.outbox.queries import groups_due, oldest_due
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.queries import all_groups, group_of_code

from .catalogue import WITHOUT_GROUP, Connection, rights
from .filled import fill
from .tap import pool_of
from .world import START, World, make_group

_COPY = (
    "SELECT format('INSERT INTO %I (%s) SELECT %s FROM jsonb_populate_record(NULL::%I, %L)', $1::text,"
    "  string_agg(attname, ', '), string_agg(attname, ', '), $1::text, $2::text) FROM pg_attribute"
    " WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
)
_FOREIGN_KEYS = (
    "SELECT k.conname, k.conrelid::regclass::text AS source, k.confrelid::regclass::text AS target,"
    " (SELECT array_agg(a.attname ORDER BY p) FROM unnest(k.conkey) WITH ORDINALITY AS c(n, p)"
    "   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.n) AS columns,"
    " (SELECT array_agg(a.attname ORDER BY p) FROM unnest(k.confkey) WITH ORDINALITY AS c(n, p)"
    "   JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.n) AS targets"
    " FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid"
    " WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace AND NOT t.relispartition"
    " AND k.conparentid = 0 AND cardinality(k.conkey) > 1"
)


@pytest.fixture
async def filled(worlds: tuple[World, World]) -> tuple[World, World]:
    """Two groups, each with rows in every tenant table."""
    for world in worlds:
        await fill(world)
    return worlds


async def tenant_tables(owner: Connection) -> list[str]:
    """The tables of tenants, without the partitions behind them."""
    partitions = await owner.fetch("SELECT inhrelid::regclass::text AS name FROM pg_inherits")
    hidden = WITHOUT_GROUP | {row["name"] for row in partitions}
    tables = sorted((await rights(owner)).keys() - hidden)
    assert len(tables) > 25
    return tables


async def counted(work: UnitOfWork | Connection, table: str, group_id: int | None = None) -> int:
    """Rows of a table that are seen, of one group or of all."""
    sql = f"SELECT count(*) FROM {table} WHERE $1::bigint IS NULL OR group_id = $1"
    count: int = await work.fetchval(sql, group_id)
    return count


async def test_nothing_is_seen_outside_a_unit_of_work(
    filled: tuple[World, World], owner: Connection
) -> None:
    async with platform_connection() as bare:
        for table in await tenant_tables(owner):
            assert await counted(owner, table, filled[0].group_id) > 0, f"{table} is empty"
            assert await counted(bare, table) == 0, table
    assert await Account.all().count() == 0


async def test_another_groups_rows_are_seen_in_no_table(
    filled: tuple[World, World], owner: Connection
) -> None:
    ours, theirs = filled
    tables = await tenant_tables(owner)
    async with unit_of_work(ours.group_id) as work:
        for table in tables:
            assert await counted(work, table, theirs.group_id) == 0, table
            seen = await counted(work, table)
            assert seen == await counted(owner, table, ours.group_id) > 0, table
        assert await Account.filter(id=theirs.account.id).count() == 0
        assert await Account.filter(group_id=theirs.group_id).count() == 0


async def test_a_row_of_another_group_is_refused_by_every_table(
    filled: tuple[World, World], owner: Connection
) -> None:
    ours, theirs = filled
    for table in await tenant_tables(owner):
        row = await owner.fetchval(
            f"SELECT to_jsonb(t)::text FROM {table} t WHERE group_id = $1 LIMIT 1", theirs.group_id
        )
        statement = await owner.fetchval(_COPY, table, row)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with unit_of_work(ours.group_id) as work:
                await work.execute(statement)


async def test_rows_can_neither_be_taken_from_nor_given_to_another_group(
    filled: tuple[World, World], owner: Connection
) -> None:
    ours, theirs = filled
    for table, granted in (await rights(owner)).items():
        if "UPDATE" not in granted:
            continue
        async with unit_of_work(ours.group_id) as work:
            taken = await work.execute(
                f"UPDATE {table} SET group_id = $1 WHERE group_id = $2",
                ours.group_id,
                theirs.group_id,
            )
        assert taken == 0, table
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with unit_of_work(ours.group_id) as work:
                await work.execute(f"UPDATE {table} SET group_id = $1", theirs.group_id)


async def test_no_foreign_key_can_point_into_another_group(
    filled: tuple[World, World], owner: Connection, superuser: Connection
) -> None:
    ours, theirs = filled
    keys = await owner.fetch(_FOREIGN_KEYS)
    assert len(keys) > 30
    for key in keys:
        assert key["columns"][0] == key["targets"][0] == "group_id"
        foreign = await owner.fetchrow(
            f"SELECT {', '.join(key['targets'])} FROM {key['target']} WHERE group_id = $1 LIMIT 1",
            theirs.group_id,
        )
        assert foreign is not None
        moves = ", ".join(
            f"{name} = ${place}" for place, name in enumerate(key["columns"][1:], start=2)
        )
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await _as_superuser(
                superuser,
                key["source"],
                f"UPDATE {key['source']} SET {moves} WHERE (tableoid, ctid) = (SELECT tableoid, ctid"
                f" FROM {key['source']} WHERE group_id = $1 LIMIT 1)",
                ours.group_id,
                *list(foreign.values())[1:],
            )
        assert "foreign key" in str(refused.value), key["conname"]


async def _as_superuser(superuser: Connection, table: str, sql: str, *args: object) -> None:
    """Past rights and row-level security; what the table itself refuses (edits of the book, a row that
    says two things at once) is put aside too."""
    transaction = superuser.transaction()
    await transaction.start()
    try:
        await superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        checks = await superuser.fetch(
            "SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'c'",
            table,
        )
        for check in checks:
            await superuser.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{check["conname"]}"')
        await superuser.execute(sql, *args)
        await superuser.execute("SET CONSTRAINTS ALL IMMEDIATE")
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("ending", ["commit", "rollback", "cancel"])
async def test_the_next_borrower_of_a_connection_sees_nothing_of_the_last(
    services: EmbeddedServices, unique: str, ending: str
) -> None:
    async with pool_of(services.app_dsn(), 1):
        world = await make_group(services, f"a{unique}")
        await make_group(services, f"b{unique}")
        inside, never = asyncio.Event(), asyncio.Event()

        async def borrow() -> int:
            async with unit_of_work(world.group_id) as work:
                assert await counted(work, "accounts_account") == 1
                pid: int = await work.fetchval("SELECT pg_backend_pid()")
                if ending == "rollback":
                    raise LookupError(pid)
                if ending == "cancel":
                    inside.set()
                    await never.wait()
            return pid

        task = asyncio.create_task(borrow())
        if ending == "cancel":
            await inside.wait()
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with platform_connection() as next_borrower:
            assert not await next_borrower.fetchval("SELECT current_setting('app.group_id', true)")
            assert await counted(next_borrower, "accounts_account") == 0
        if ending == "commit":
            async with platform_connection() as same:
                assert await same.fetchval("SELECT pg_backend_pid()") == task.result()


async def test_800_units_of_work_of_four_groups_on_four_connections_see_no_foreign_row(
    services: EmbeddedServices, unique: str
) -> None:
    """Every fifth is cancelled at a random point of its way (trust T13)."""
    chance = random.Random(unique)
    async with pool_of(services.app_dsn(), 4):
        groups = [await make_group(services, f"{letter}{unique}") for letter in "abcd"]
        for world in groups:
            async with unit_of_work(world.group_id) as work:
                for number in range(200):
                    await emit(work, topic="test.row", key=str(number), payload={}, at=START)
        seen: list[tuple[int, int]] = []

        async def look(world: World) -> None:
            async with unit_of_work(world.group_id) as work:
                rows = await work.fetch("SELECT group_id FROM outbox_event")
                seen.extend((world.group_id, row["group_id"]) for row in rows)
                found = await Account.all()
                seen.extend((world.group_id, account.group_id) for account in found)

        async def cancelled(task: asyncio.Task[None], steps: int) -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()

        looks = [asyncio.create_task(look(groups[number % 4])) for number in range(800)]
        cuts = [
            asyncio.create_task(cancelled(task, chance.randrange(400)))
            for task in chance.sample(looks, 160)
        ]
        outcomes = await asyncio.gather(*looks, return_exceptions=True)
        await asyncio.gather(*cuts)
        failed = [o for o in outcomes if isinstance(o, Exception)]
        assert failed == []
        assert sum(isinstance(o, asyncio.CancelledError) for o in outcomes) > 40
        assert len(seen) >= 100_000
        assert [pair for pair in seen if pair[0] != pair[1]] == []


@pytest.mark.parametrize(
    "group_id", ["1'; drop table tenancy_group; --", "1", 0, -1, True, 1.0, None, 2**63]
)
async def test_a_group_id_that_is_not_a_positive_int_never_reaches_sql(
    database: object, group_id: object
) -> None:
    with pytest.raises(ValueError, match="positive bigint"):
        async with unit_of_work(group_id):  # type: ignore[arg-type] # that is the point
            pass


async def test_the_group_ends_with_the_transaction_itself_not_only_with_the_pools_cleaning(
    worlds: tuple[World, World],
) -> None:
    async with unit_of_work(worlds[0].group_id) as work:
        assert await counted(work, "accounts_account") == 1
        await work.execute("COMMIT")
        assert await work.fetchval("SELECT current_setting('app.group_id', true)") == ""
        assert await counted(work, "accounts_account") == 0


async def test_a_unit_of_work_inside_another_is_refused(worlds: tuple[World, World]) -> None:
    """It would be a savepoint, and the outer one would go on as the inner one's group."""
    ours, theirs = worlds
    async with unit_of_work(ours.group_id) as work:
        for group_id in (theirs.group_id, ours.group_id):
            with pytest.raises(RuntimeError, match="open here already"):
                async with unit_of_work(group_id):
                    pass
        assert await work.fetchval("SELECT current_setting('app.group_id')") == str(ours.group_id)
        assert await counted(work, "accounts_account", ours.group_id) == 1


async def test_a_task_started_inside_a_unit_of_work_gets_none_of_its_own(
    worlds: tuple[World, World],
) -> None:
    async def stray() -> None:
        async with unit_of_work(worlds[1].group_id):
            pass

    async with unit_of_work(worlds[0].group_id):
        task = asyncio.create_task(stray())
    with pytest.raises(RuntimeError, match="open here already"):
        await task


async def test_the_questions_across_groups_tell_ids_and_instants_only(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    long_ago = START - timedelta(days=3650)
    async with unit_of_work(ours.group_id) as work:
        await emit(work, topic="test.secret", key="k", payload={"phone": "1"}, at=long_ago)
    assert ours.group_id in await groups_due(long_ago)
    assert theirs.group_id not in await groups_due(long_ago)
    assert await oldest_due(START) == long_ago
    async with unit_of_work(ours.group_id) as work:
        await work.execute("DELETE FROM outbox_event WHERE topic = 'test.secret'")
    assert {ours.group_id, theirs.group_id} <= set(await all_groups())
    assert await group_of_code(theirs.code) == theirs.group_id
    assert await group_of_code("nobody") is None
