"""A batch of trips against the time of its buses: ten thousand meters behind five hundred gateways (A21).

Each gateway is a bus that answers after 100 ms (C, one epoll), so a trip takes it three exchanges: the look
before, the write, the look after. The product's worker is a process of its own; this one watches progress
meter by meter, as a console does. The wall time is from the end of the minute in which the second operator's
word could be called off to the batch's end, as who watches it sees it.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import asyncpg

from backend.control.batch_rules import ItemState
from backend.control.command_rules import CommandKind
from backend.control.state_rules import MeterState
from backend.journeys.batch import Wish, confirm_batch, prepare_batch, rule_batch
from backend.journeys.batch_selection import Selection
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database, unit_of_work
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.sandbox.embedded.child import free_port
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy import operations as tenancy
from backend.tenancy.provision import add_group
from backend.tenancy.queries import scope_of
from schema.batch_watch import Watch
from schema.bell import TopupBell
from schema.context import Info
from workers.models import meter_models

from .control import _pause as pause
from .control import workers
from .lanes import HERE, NoCompiler, pinned

HOLD_MS = 100
EXCHANGES = 3
PER_GATEWAY = 20
WITHIN_S = 600


async def run(
    services: EmbeddedServices, folder: Path, *, meters: int = 10_000, workers: int = 1
) -> dict[str, Any]:
    """The figures of a batch by their keys. Raises NoCompiler, TimeoutError."""
    with _relays(_built(folder), folder) as port:
        site = await _site(services, port=port, meters=meters)
        task = {
            "dsn": services.app_dsn(),
            "redis_url": services.valkey.url,
            "keys": "1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        await Database.open(services.app_dsn(), pool_max=8)
        bell = TopupBell(services.app_dsn())
        await bell.start()
        try:
            with _workers(task, folder, workers):
                await _runs(site.group_id)
                await _swept(site.group_id)
                seen = await _trip(site, bell)
        finally:
            await bell.stop()
            await Database.close()
    ideal = PER_GATEWAY * EXCHANGES * HOLD_MS / 1000
    return {
        "batch.vs_bus_time": round(seen.wall_s / ideal, 3),
        "batch.wall_s": round(seen.wall_s, 2),
        "batch.bus_s": ideal,
        "batch.preview_s": round(seen.preview_s, 2),
        "batch.meters": meters,
        "batch.done": seen.done,
        "batch.told_of": len(seen.told),
        "batch.events": seen.events,
        "batch.workers": workers,
    }


@dataclass
class _Seen:
    """What who watched the batch saw of it."""

    preview_s: float = 0.0
    wall_s: float = 0.0
    done: int = 0
    events: int = 0
    told: set[int] = field(default_factory=set)


@dataclass
class _Site:
    """The group, its project and two operators."""

    group_id: int
    project_id: UUID
    one: Scope
    other: Scope


def _built(folder: Path) -> Path:
    made = folder / "relays"
    line = ["cc", "-O2", "-Wall", "-o", str(made), str(HERE / "c" / "relays.c")]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise NoCompiler("no C compiler: on Debian, apt install gcc") from missing
    if done.returncode:
        raise NoCompiler(f"relays.c does not compile:\n{done.stderr}")
    return made


@contextmanager
def _relays(binary: Path, folder: Path) -> Iterator[int]:
    port = free_port()
    line = [*pinned(1), str(binary), str(port), str(HOLD_MS * 1000)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield port
        finally:
            process.kill()


@contextmanager
def _workers(task: dict[str, Any], folder: Path, count: int) -> Iterator[None]:
    if not count:
        yield
        return
    with workers(task, folder), _workers(task, folder, count - 1):
        yield


async def _site(services: EmbeddedServices, *, port: int, meters: int) -> _Site:
    now = SystemClock().now()
    group_id = await add_group(
        services.owner_dsn(),
        code=f"batch{secrets.token_hex(3)}",
        name="Batch",
        login="admin",
        password_hash="none",
        at=now,
    )
    project = uuid7(now)
    database = services.owner_dsn().rsplit("/", 1)[1]
    server = await asyncpg.connect(services.postgres.admin_dsn, database=database)
    try:
        await _fill(server, group_id, project, port=port, meters=meters, at=now)
    finally:
        await server.close()
    await Database.open(services.app_dsn(), pool_max=2)
    try:
        one, other = await _operators(group_id, now)
    finally:
        await Database.close()
    return _Site(group_id, project, one, other)


async def _fill(
    server: asyncpg.Connection[Any],
    group_id: int,
    project: UUID,
    *,
    port: int,
    meters: int,
    at: datetime,
) -> None:
    await server.execute(
        "INSERT INTO tenancy_project (group_id, id, code, name, kind, created_at)"
        " VALUES ($1, $2, 'batch', 'Batch', 'SHOPS', $3)",
        group_id,
        project,
        at,
    )
    gateways = [uuid7(at) for _ in range(meters // PER_GATEWAY)]
    await server.executemany(
        "INSERT INTO metering_gateway"
        " (group_id, id, project_id, serial, name, link, address, created_at)"
        " VALUES ($1, $2, $3, $4, 'Batch', 'MODBUS_TCP', $5, $6)",
        [
            (group_id, each, project, f"BUS-{n:05d}", f"127.1.{n // 250}.{n % 250 + 1}:{port}", at)
            for n, each in enumerate(gateways)
        ],
    )
    await server.executemany(
        "INSERT INTO metering_meter (group_id, id, project_id, gateway_id, serial, profile, kind, bus,"
        " bus_address, credit_mode, created_at)"
        " VALUES ($1, $2, $3, $4, $5, 'DDSY1352-NK', 'ELECTRICITY', 1, $6, 'METER', $7)",
        [
            (group_id, uuid7(at), project, each, f"B-{n:05d}-{unit:03d}", str(unit), at)
            for n, each in enumerate(gateways)
            for unit in range(1, PER_GATEWAY + 1)
        ],
    )
    await server.execute("VACUUM ANALYZE")


async def _operators(group_id: int, at: datetime) -> tuple[Scope, Scope]:
    async with unit_of_work(group_id) as work:
        first = await work.fetchval("SELECT id FROM tenancy_operator WHERE group_id = $1", group_id)
        one = await scope_of(work, operator_id=first, address="")
        assert one is not None
        second = await tenancy.add_operator(
            work, scope=one, login="second", name="Second", password_hash="none", at=at
        )
        await tenancy.grant(
            work,
            scope=one,
            operator_id=second.id,
            role="administrator",
            project_id=None,
            at=at,
        )
        other = await scope_of(work, operator_id=second.id, address="")
        assert other is not None
    return one, other


async def _runs(group_id: int) -> None:
    """Until a worker serves events: it wakes the supplies of a purse that there is not."""
    async with unit_of_work(group_id) as work:
        await work.execute(
            "INSERT INTO outbox_event (group_id, id, topic, key, payload, created_at, due_at)"
            " VALUES ($1, $2, 'supply.due', 'bench', jsonb_build_object('purse', $2::uuid::text),"
            " $3, $3)",
            group_id,
            uuid7(SystemClock().now()),
            SystemClock().now(),
        )
    async with asyncio.timeout(60):
        while True:
            async with unit_of_work(group_id) as work:
                if await work.fetchval(
                    "SELECT done_at FROM outbox_event WHERE group_id = $1 AND key = 'bench'",
                    group_id,
                ):
                    return
            await pause(0.1)


async def _swept(group_id: int) -> None:
    """Until the site is as one that runs: what a new one is owed at once, its first sweep, is no part of
    the batch."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with unit_of_work(group_id) as work:
                planned, left = await work.fetchrow(
                    "SELECT count(*), count(*) FILTER (WHERE done_at IS NULL AND due_at <= now())"
                    " FROM outbox_event WHERE group_id = $1 AND topic = 'sweep.due'",
                    group_id,
                ) or (0, 0)
            if planned and not left:
                return
            await pause(0.5)


async def _trip(site: _Site, bell: TopupBell) -> _Seen:
    seen, at = _Seen(), SystemClock().now()
    begun = time.perf_counter()
    made = await prepare_batch(
        scope=site.one,
        project_id=site.project_id,
        wish=Wish(CommandKind.TRIP, "a bench of it"),
        selection=Selection(states=(MeterState.UNOPENED,)),
        models=meter_models(),
        at=at,
    )
    seen.preview_s = time.perf_counter() - begun
    await confirm_batch(scope=site.one, batch_id=made.id, at=at)
    ruled = await rule_batch(
        scope=site.other, batch_id=made.id, approved=True, at=SystemClock().now()
    )
    assert ruled.starts_at is not None
    await pause((ruled.starts_at - SystemClock().now()).total_seconds())
    begun = time.perf_counter()

    async def scope_now() -> Scope:
        return site.one

    info = cast("Info", SimpleNamespace(context=SimpleNamespace(scope_now=scope_now, bell=bell)))
    async with asyncio.timeout(WITHIN_S):
        async for look in Watch(info, made.id).looks():
            seen.events += 1
            seen.told |= {row.no for row in look.moved}
            if look.batch.finished_at is not None:
                break
    seen.wall_s, seen.done = time.perf_counter() - begun, look.counts[ItemState.DONE]
    return seen
