"""What one process does to a gateway's keys comes out in every other, whatever is lost on the way (A9)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from backend.enrolment.desk import KeyDesk
from backend.enrolment.operations import BELL
from backend.enrolment.queries import RingRow
from backend.enrolment.watch import NAME, RingWatch
from backend.journeys.gateway_keys import rotate_keys
from backend.kernel.db import unit_of_work
from backend.sandbox.embedded.services import EmbeddedServices

from .catalogue import Connection
from .sealed import Keyed, desk_at, enrolled, make_sealed, revoke
from .tap import tapped
from .world import START, World

Changes = AsyncGenerator[RingRow, None]
NEVER_S = 3600.0  # a tick that does not come
CUT_S = 5.0  # what a revocation may take (reference/trust.md section 7)

# Another process: revokes as the console does and prints when that was committed.
REVOKE = """
import asyncio, sys, time
from datetime import datetime
from uuid import UUID
from backend.journeys.gateway_keys import revoke_keys
from backend.kernel.db import Database
from backend.kernel.scope import Actor, Scope

async def main(dsn, group, gateway, at):
    await Database.open(dsn, pool_max=1)
    scope = Scope(int(group), Actor("operator", "op-2", "wu"), frozenset({"meter:read", "gateway:keys"}))
    await revoke_keys(
        scope=scope, gateway_id=UUID(gateway), reason="stolen", at=datetime.fromisoformat(at)
    )
    print(time.time())
    await Database.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def desk(database: EmbeddedServices) -> KeyDesk:
    """The desk of a process."""
    return desk_at(database.app_dsn())


@pytest.fixture
async def keyed(worlds: tuple[World, World], desk: KeyDesk) -> tuple[Keyed, Keyed]:
    """An enrolled gateway of each group."""
    ours, theirs = worlds
    return (
        await enrolled(ours, desk, await make_sealed(ours)),
        await enrolled(theirs, desk, await make_sealed(theirs)),
    )


@pytest.fixture
async def changes(database: EmbeddedServices, keyed: object) -> AsyncIterator[Changes]:
    """What a process hears, by the bell alone."""
    async with aclosing(RingWatch(database.app_dsn(), tick_s=NEVER_S).changes()) as heard:
        yield heard


async def next_of(changes: Changes, keyed: Keyed, *, within_s: float = CUT_S) -> RingRow:
    """The next change of one gateway; those of others are passed over."""
    async with asyncio.timeout(within_s):
        async for row in changes:
            if row.ring.gateway == keyed.key.gateway:
                return row
    raise AssertionError("changes() never ends by itself")


async def test_it_begins_with_every_ring_of_every_group(
    worlds: tuple[World, World], keyed: tuple[Keyed, Keyed], desk: KeyDesk
) -> None:
    async with aclosing(desk.changes()) as heard:
        rows = [await next_of(heard, keyed[0])]
    async with aclosing(desk.changes()) as heard:
        rows.append(await next_of(heard, keyed[1]))
    assert [row.group_id for row in rows] == [world.group_id for world in worlds]
    assert rows[0] == await desk.ring_of(keyed[0].key.gateway)


async def test_a_revocation_in_another_process_is_heard_well_under_five_seconds(
    worlds: tuple[World, World],
    keyed: tuple[Keyed, Keyed],
    changes: Changes,
    database: EmbeddedServices,
) -> None:
    assert (await next_of(changes, keyed[0])).ring.current == 1
    listening = asyncio.create_task(next_of(changes, keyed[0], within_s=30))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        REVOKE,
        database.app_dsn(),
        str(worlds[0].group_id),
        str(keyed[0].gateway.id),
        START.isoformat(),
        stdout=asyncio.subprocess.PIPE,
    )
    row = await listening
    heard = time.time()
    said, _ = await process.communicate()
    took = heard - float(said)
    assert took < 1
    assert (row.ring.current, row.ring.revoked_through) == (None, 1)


async def test_each_of_many_changes_is_heard_at_once_and_only_its_own_gateway_comes(
    worlds: tuple[World, World], keyed: tuple[Keyed, Keyed], changes: Changes
) -> None:
    await next_of(changes, keyed[0])
    took = []
    for _ in range(20):
        listening = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        await rotate_keys(scope=worlds[0].scope, gateway_id=keyed[0].gateway.id, at=START)
        committed = time.perf_counter()
        async with asyncio.timeout(CUT_S):
            row = await listening
            while row.ring.gateway != keyed[0].key.gateway:  # the rest of the first reading
                row = await anext(changes)
        took.append(time.perf_counter() - committed)
        assert row.rotation_wanted
    assert max(took) < 1


async def test_a_change_of_a_quiet_gateway_is_heard_beside_a_busy_one_of_its_group(
    worlds: tuple[World, World], keyed: tuple[Keyed, Keyed], changes: Changes, desk: KeyDesk
) -> None:
    world = worlds[0]
    quiet = await enrolled(world, desk, await make_sealed(world, serial="QUIET-1"))
    for _ in range(3):
        await rotate_keys(scope=world.scope, gateway_id=keyed[0].gateway.id, at=START)
    assert (await next_of(changes, quiet)).revision == 1
    await revoke(world, quiet.gateway)
    assert (await next_of(changes, quiet)).ring.current is None


async def test_what_rang_no_bell_is_found_by_the_next_tick(
    worlds: tuple[World, World], keyed: tuple[Keyed, Keyed], desk: KeyDesk
) -> None:
    async with aclosing(desk.changes()) as heard:
        await next_of(heard, keyed[0])
        async with unit_of_work(worlds[0].group_id) as work:  # past the room's own operations
            await work.execute(
                "UPDATE enrolment_ring SET current_version = NULL, revoked_through = 1,"
                " revoked_at = $2, revision = revision + 1 WHERE group_id = $1",
                work.group_id,
                START,
            )
        row = await next_of(heard, keyed[0], within_s=3)
    assert row.ring.revoked_through == 1


async def test_what_happens_while_the_connection_is_lost_is_heard_after_it(
    worlds: tuple[World, World],
    keyed: tuple[Keyed, Keyed],
    changes: Changes,
    superuser: Connection,
) -> None:
    await next_of(changes, keyed[0])
    killed = await superuser.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1",
        NAME,
    )
    assert len(killed) == 1
    await revoke(worlds[0], keyed[0].gateway)
    assert (await next_of(changes, keyed[0])).ring.current is None
    await revoke(worlds[1], keyed[1].gateway)
    row = await next_of(changes, keyed[1])
    assert (row.group_id, row.ring.current) == (worlds[1].group_id, None)


async def test_a_line_that_died_in_silence_is_noticed_and_nothing_is_missed(
    worlds: tuple[World, World], keyed: tuple[Keyed, Keyed], database: EmbeddedServices
) -> None:
    async with (
        tapped(database.app_dsn()) as (dsn, tap),
        aclosing(desk_at(dsn).changes()) as heard,
    ):
        await next_of(heard, keyed[0])
        tap.shut()
        died = time.perf_counter()
        await revoke(worlds[0], keyed[0].gateway)
        listening = asyncio.create_task(next_of(heard, keyed[0], within_s=30))
        async with asyncio.timeout(20):
            for _ in range(3):  # a question, its cancellation, and a new knock: all in vain
                await tap.waiting.acquire()
        assert time.perf_counter() - died < CUT_S
        assert not listening.done()
        reopened = time.perf_counter()
        tap.reopen()
        row = await listening
        assert time.perf_counter() - reopened < CUT_S
    assert row.ring.current is None


async def test_the_bell_says_nothing_of_whose_ring_changed(
    worlds: tuple[World, World], keyed: tuple[Keyed, Keyed], app: Connection
) -> None:
    told: asyncio.Queue[object] = asyncio.Queue()
    await app.add_listener(BELL, lambda *said: told.put_nowait(said[-1]))
    await revoke(worlds[0], keyed[0].gateway)
    async with asyncio.timeout(CUT_S):
        assert await told.get() == ""
