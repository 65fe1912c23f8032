"""The pool keeps serving whatever happened to those who borrowed from it (docs/adr/0003, T1)."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from tortoise.connection import get_connection

from backend.kernel.db import (
    ALIAS,
    DATABASE_AWAY,
    Database,
    connect,
    platform_connection,
    unit_of_work,
)
from backend.sandbox.embedded.child import free_port
from backend.sandbox.embedded.services import EmbeddedServices

from .tap import Tap, pool_of, tapped
from .world import World, make_group

POOL = 2


async def expect_service(world: World) -> None:
    """Twice as many units of work as the pool has connections are all served."""

    async def read() -> int:
        async with unit_of_work(world.group_id) as work:
            count: int = await work.fetchval("SELECT count(*) FROM tenancy_project")
        return count

    async with asyncio.timeout(10):
        assert await asyncio.gather(*(read() for _ in range(2 * POOL))) == [1] * (2 * POOL)


async def test_what_an_array_is_is_asked_once_a_process_and_not_by_every_connection(
    services: EmbeddedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    honest = asyncpg.Connection._introspect_types  # type: ignore[attr-defined] # private, pinned

    async def counted(*args: object) -> object:
        nonlocal asked
        asked += 1
        return await honest(*args)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", counted)
    monkeypatch.setattr("backend.kernel.db._Connection._known", {})
    ids = [uuid4(), uuid4()]
    for _ in range(3):
        async with pool_of(services.app_dsn(), 1), platform_connection() as connection:
            assert await connection.fetchval("SELECT $1::uuid[]", ids) == ids
            assert await connection.fetchval("SELECT $1::jsonb[]", [{"a": 1}]) == [{"a": 1}]
    assert asked == 1


async def recovering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a server says that replays its log after a crash: no TLS, then SQLSTATE 57P03."""
    if (await reader.readexactly(8))[4:] == b"\x04\xd2\x16\x2f":  # an SSLRequest comes first
        writer.write(b"N")
        await reader.read(1)
    told = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    writer.write(b"E" + (len(told) + 4).to_bytes(4, "big") + told)
    writer.close()


async def test_what_goes_by_key_is_planned_once_however_many_keys_are_asked_for(
    worlds: tuple[World, World],
) -> None:
    sql = "SELECT id FROM accounts_account WHERE group_id = $1 AND id = ANY($2) /* by key */"
    for world in worlds:
        async with unit_of_work(world.group_id, by_key=True) as work:
            for many in (1, 2, 3):
                keys = [world.account.id] + [uuid4() for _ in range(many)]
                assert len(await work.fetch(sql, world.group_id, keys)) == 1
            plans = await work.fetchrow(
                "SELECT generic_plans >= 3, custom_plans FROM pg_prepared_statements"
                " WHERE statement = $1",
                sql,
            )
        assert tuple(plans or ()) == (True, 0)
        async with unit_of_work(world.group_id) as work:  # the next borrower plans as it likes
            assert await work.fetchval("SHOW plan_cache_mode") == "auto"


async def test_what_is_kept_as_json_comes_back_as_it_went(
    worlds: tuple[World, World],
) -> None:
    kept: list[dict[str, object]] = [
        {},
        {"text": 'quotes " and \\ and {braces}, 电', "none": None, "yes": True, "list": [1, "2"]},
        {"long": 10**30, "deep": {"deeper": {}}},
    ]
    async with unit_of_work(worlds[0].group_id) as work:
        assert await work.fetchval("SELECT $1::jsonb[]", kept) == kept
        assert [await work.fetchval("SELECT $1::jsonb", each) for each in kept] == kept
        assert await work.fetchval("SELECT $1::jsonb ->> 'text'", kept[1]) == kept[1]["text"]


async def test_while_nothing_is_known_of_commands_they_are_found_by_their_key(
    worlds: tuple[World, World],
) -> None:
    async with unit_of_work(worlds[0].group_id, by_key=True) as work:
        await work.execute(
            "CREATE TEMP TABLE fresh (LIKE control_command INCLUDING ALL) ON COMMIT DROP"
        )
        await work.execute(
            "PREPARE by_key(bigint, uuid[]) AS SELECT state FROM fresh WHERE group_id = $1 AND id = ANY($2)"
        )
        rows = await work.fetch("EXPLAIN EXECUTE by_key(1, '{}')")
        await work.execute("DEALLOCATE by_key")
    assert "using fresh_pkey" in "\n".join(row[0] for row in rows)


async def test_who_starts_while_the_database_is_away_or_recovers_waits_until_it_answers(
    services: EmbeddedServices,
) -> None:
    real, door = urlsplit(services.app_dsn()), free_port()
    credentials = real.netloc.rsplit("@", 1)[0]
    dsn = real._replace(netloc=f"{credentials}@127.0.0.1:{door}").geturl()
    async with pool_of(dsn, POOL):
        with pytest.raises(OSError, match=str(door)):
            await Database.answers(within_s=0)
        async with await asyncio.start_server(recovering, "127.0.0.1", door):
            with pytest.raises(asyncpg.CannotConnectNowError):
                await Database.answers(within_s=0)
            waiting = asyncio.create_task(Database.answers(within_s=20))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(waiting), 0.3)
        assert real.hostname is not None
        async with await asyncio.start_server(
            Tap(real.hostname, real.port or 5432).serve, "127.0.0.1", door
        ):
            await asyncio.wait_for(waiting, 20)
            await Database.answers(within_s=0)


async def test_units_of_work_cancelled_while_they_begin_give_their_connections_back(
    services: EmbeddedServices, unique: str
) -> None:
    async with tapped(services.app_dsn()) as (dsn, tap), pool_of(dsn, POOL):
        world = await make_group(services, f"a{unique}")
        await make_group(services, f"b{unique}")
        await expect_service(world)
        for _ in range(2 * POOL):
            tap.shut()
            begun = asyncio.create_task(_touch(world))
            async with asyncio.timeout(10):
                await tap.waiting.acquire()  # its BEGIN waits in the pipe
            begun.cancel()
            tap.reopen()
            with pytest.raises(asyncio.CancelledError):
                await begun
        await expect_service(world)


async def test_units_of_work_whose_begin_fails_give_their_connections_back(
    services: EmbeddedServices, unique: str
) -> None:
    async with pool_of(services.app_dsn(), POOL):
        world = await make_group(services, f"a{unique}")
        await make_group(services, f"b{unique}")
        await expect_service(world)
        failed = 0
        for _ in range(3 * POOL):
            _terminate_in_the_back_of_the_loop(services)
            try:
                await _touch(world)
            except DATABASE_AWAY:
                failed += 1
        assert failed > POOL  # with as many connections lost, a pool that leaks them hangs for good
        await expect_service(world)


async def test_a_backend_killed_inside_a_unit_of_work_costs_one_unit_of_work(
    services: EmbeddedServices, unique: str, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with pool_of(services.app_dsn(), POOL):
        world = await make_group(services, f"a{unique}")
        await make_group(services, f"b{unique}")
        for _ in range(2 * POOL):
            with pytest.raises(DATABASE_AWAY):
                await _die_inside(world, superuser)
        await expect_service(world)


async def test_units_of_work_cancelled_while_they_wait_for_a_connection_take_none(
    services: EmbeddedServices, unique: str
) -> None:
    async with pool_of(services.app_dsn(), POOL):
        world = await make_group(services, f"a{unique}")
        await make_group(services, f"b{unique}")
        hold, held = asyncio.Event(), asyncio.Semaphore(0)

        async def keep() -> None:
            async with unit_of_work(world.group_id):
                held.release()
                await hold.wait()

        keepers = [asyncio.create_task(keep()) for _ in range(POOL)]
        for _ in range(POOL):
            await held.acquire()
        waiting = [asyncio.create_task(_touch(world)) for _ in range(3 * POOL)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        hold.set()
        await asyncio.gather(*keepers)
        await expect_service(world)


async def test_a_unit_of_work_that_failed_inside_is_never_told_as_kept(
    services: EmbeddedServices, unique: str
) -> None:
    async with pool_of(services.app_dsn(), POOL):
        world = await make_group(services, f"a{unique}")
        await make_group(services, f"b{unique}")

        async def swallow() -> None:
            async with unit_of_work(world.group_id) as work:
                with suppress(asyncpg.DivisionByZeroError):
                    await work.fetchval("SELECT 1 / 0")

        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await swallow()
        await expect_service(world)


async def test_who_borrows_a_connection_next_is_of_no_group_and_hears_no_bell_rung_in_vain(
    services: EmbeddedServices, unique: str
) -> None:
    heard: list[object] = []
    bell = f"bell_{unique}"
    async with pool_of(services.app_dsn(), 1):
        world = await make_group(services, f"a{unique}")
        await make_group(services, f"b{unique}")
        ear = await asyncpg.connect(services.app_dsn())
        await ear.add_listener(bell, lambda *rung: heard.append(rung[-1]))

        async def fail() -> None:
            async with unit_of_work(world.group_id) as work:
                work.notify(bell, "in-vain")
                await work.fetchval("SELECT 1 / 0")

        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
        async with unit_of_work(world.group_id) as work:
            work.notify(bell, "one:1", "two", "two")
            with pytest.raises(ValueError, match="ids and words"):
                work.notify(bell, "'); DROP TABLE ledger_entry; --")
        async with platform_connection() as connection:
            assert not await connection.fetchval("SELECT current_setting('app.group_id', true)")
            assert await connection.fetchval("SELECT count(*) FROM tenancy_project") == 0
        await ear.fetchval("SELECT 1")
        assert heard == ["one:1", "two"]
        await ear.close()


async def _touch(world: World) -> None:
    async with unit_of_work(world.group_id) as work:
        await work.fetchval("SELECT 1")


async def _die_inside(world: World, superuser: asyncpg.Connection[asyncpg.Record]) -> None:
    async with unit_of_work(world.group_id) as work:
        pid: int = await work.fetchval("SELECT pg_backend_pid()")
        await superuser.fetchval("SELECT pg_terminate_backend($1)", pid)
        await work.fetchval("SELECT 1")


def _terminate_in_the_back_of_the_loop(services: EmbeddedServices) -> None:
    """End the pool's idle backends while the event loop stands still, so that it finds out by BEGIN."""

    async def terminate() -> None:
        connection = await asyncpg.connect(services.postgres.admin_dsn)
        with suppress(asyncpg.PostgresError):
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE usename = 'shuidian_app'"
            )
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(terminate()))
    thread.start()
    thread.join()


async def test_the_pool_is_as_large_as_it_was_told(services: EmbeddedServices) -> None:
    async with pool_of(services.app_dsn(), POOL):
        async with platform_connection() as connection:
            assert await connection.fetchval("SELECT current_user") == "shuidian_app"
        assert get_connection(ALIAS)._pool.get_max_size() == POOL


async def test_of_a_database_and_a_worker_each_notices_in_half_a_minute_that_the_other_vanished(
    services: EmbeddedServices,
) -> None:
    async with pool_of(services.app_dsn(), 1), platform_connection() as pooled:
        beside = await connect(services.app_dsn(), name="who listens")
        for connection in (pooled, beside):
            plug = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined] # private
            assert plug.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            ours = [
                plug.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{name}"))
                for name in ("KEEPIDLE", "KEEPINTVL", "KEEPCNT", "USER_TIMEOUT")
            ]
            theirs = [  # as the server reads them back from its socket
                await connection.fetchval(f"SHOW tcp_{name}")
                for name in (
                    "keepalives_idle",
                    "keepalives_interval",
                    "keepalives_count",
                    "user_timeout",
                )
            ]
            assert (ours, theirs) == ([10, 5, 3, 25_000], ["10", "5", "3", "25000"])
        assert await beside.fetchval("SHOW application_name") == "who listens"
        await beside.close()
