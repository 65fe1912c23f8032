"""G7 and what else makes control quick: from a command's commit to the first byte at its gateway.

A worker sweeps five hundred gateways whose buses take 100 ms an answer; meanwhile commands go to
meters behind fifty others, 50 a second. (Into a bus that is being swept a command waits for the exchange that
is under way, which is the time of the bus and not ours.)
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from backend.control.command_rules import CommandKind
from backend.control.supply_rules import Supply, decide
from backend.journeys.command import command_meter
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database, unit_of_work
from backend.kernel.ids import uuid7
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.kernel.settings import read_settings
from backend.outbox.operations import emit_all
from backend.sandbox.embedded.child import leashed
from backend.sandbox.embedded.services import EmbeddedServices
from tests.integration.world import admin_scope
from tests.unit.control.supply_cases import CASES
from workers.main import worker_context
from workers.models import meter_models
from workers.sweep import plan_sweeps
from workers.virtual.site import VirtualSite, parse_site

from . import whole_sweep
from .lanes import build, responder

HOLD_MS = 100
TARGETS = 50
UNITS = range(1, 5)
A_SECOND = 50


def decisions(*, count: int = 100_000) -> dict[str, Any]:
    """How long one core takes to decide over so many meters, none like the other."""
    cases = [case.supply for case in CASES]
    facts: list[Supply] = [
        replace(cases[index % len(cases)], uncharged=Money(index)) for index in range(count)
    ]
    begun = time.process_time()
    for supply in facts:
        decide(supply)
    took = time.process_time() - begun
    return {"decide.per_100k_s": round(took * 100_000 / count, 3)}


async def run(
    services: EmbeddedServices, folder: Path, *, meters: int = 100_000, commands: int = 200
) -> dict[str, Any]:
    """The figures of G7 by their keys, in milliseconds. Raises NoCompiler."""
    made = build(folder)
    with responder(made["responder"], hold_us=HOLD_MS * 1000, silent_from=0) as port:
        task = await whole_sweep.prepare(services, port=port, meters=meters)
        group_id, swept = task["group_id"], task["gateways"]
        await Database.open(services.app_dsn(), pool_max=8)
        try:
            async with _targets(services, folder, group_id) as targets:
                await _nothing_else_is_due(task)
                with workers(task, folder):
                    await _warm(group_id, targets)
                    await _sweep(group_id, swept)
                    free = await _command(group_id, targets, count=commands)
                    unfinished = await _still_sweeping(group_id)
        finally:
            await Database.close()
    return {
        "g7.p50_ms": _at(free.first, 0.50),
        "g7.p99_ms": _at(free.first, 0.99),
        "g7.max_ms": _at(free.first, 1.0),
        "g7.asked_p50_ms": _at(free.asked, 0.50),
        "g7.commands": len(free.first),
        "g7.gateways_swept_meanwhile": unfinished,
    }


@dataclass
class _Heard:
    """Milliseconds from the commit, and from the asking, to the first byte at the gateway."""

    first: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)


@dataclass
class _Target:
    """A meter to be commanded; `bytes_came` is set by the proxy before its gateway."""

    meter_id: UUID
    gateway_id: UUID
    bytes_came: asyncio.Queue[float]


@asynccontextmanager
async def _targets(
    services: EmbeddedServices, folder: Path, group_id: int
) -> AsyncIterator[list[_Target]]:
    """Virtual gateways of four meters each, with an ear before each that notes when bytes come."""
    clock = SystemClock()
    plan = {
        "gateways": [
            {
                "serial": f"ASKED-{index}",
                "meters": [
                    {"serial": f"ASKED-{index}-{unit}", "unit": unit, "average_w": 0}
                    for unit in UNITS
                ],
            }
            for index in range(TARGETS)
        ]
    }
    async with VirtualSite(parse_site(plan), data_dir=folder / "asked", clock=clock) as site:
        ears = [await _Ear.before(gateway.port) for gateway in site.gateways.values()]
        try:
            yield await _registered(services, group_id, ears, clock.now())
        finally:
            for ear in ears:
                ear.server.close()


@dataclass
class _Ear:
    """A proxy that passes bytes on and notes when those of a request came, by the unit that is asked."""

    server: asyncio.Server
    came: dict[int, asyncio.Queue[float]]

    @classmethod
    async def before(cls, port: int) -> _Ear:
        """An ear before the gateway at `port`."""
        came: dict[int, asyncio.Queue[float]] = {unit: asyncio.Queue() for unit in UNITS}

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            back = asyncio.create_task(_pass_on(inner_reader, writer))
            try:
                while data := await reader.read(4096):
                    came[data[0]].put_nowait(time.perf_counter())
                    inner_writer.write(data)
            finally:
                inner_writer.close()
                back.cancel()

        return cls(await asyncio.start_server(serve, "127.0.0.1", 0), came)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self.server.sockets[0].getsockname()[1]
        return port


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)


async def _registered(
    services: EmbeddedServices, group_id: int, ears: list[_Ear], at: datetime
) -> list[_Target]:
    database = services.owner_dsn().rsplit("/", 1)[1]
    server = await asyncpg.connect(services.postgres.admin_dsn, database=database)
    found = []
    try:
        project = await server.fetchval(
            "SELECT id FROM tenancy_project WHERE group_id = $1", group_id
        )
        for index, ear in enumerate(ears):
            gateway = uuid7(at)
            await server.execute(
                "INSERT INTO metering_gateway"
                " (group_id, id, project_id, serial, name, link, address, created_at)"
                " VALUES ($1, $2, $3, $4, 'Asked', 'TCP', $5, $6)",
                group_id,
                gateway,
                project,
                f"ASKED-{index}",
                f"127.0.0.1:{ear.port}",
                at,
            )
            for unit in UNITS:
                meter = uuid7(at)
                await server.execute(
                    "INSERT INTO metering_meter (group_id, id, project_id, gateway_id, serial, profile,"
                    " kind, bus, bus_address, credit_mode, created_at)"
                    " VALUES ($1, $2, $3, $4, $5, 'DDSY1352-NK', 'ELECTRICITY', 1, $6, 'METER', $7)",
                    group_id,
                    meter,
                    project,
                    gateway,
                    f"ASKED-{index}-{unit}",
                    str(unit),
                    at,
                )
                found.append(_Target(meter, gateway, ear.came[unit]))
        await server.execute("VACUUM ANALYZE")
    finally:
        await server.close()
    return found


@contextmanager
def workers(task: dict[str, Any], folder: Path) -> Iterator[None]:
    """The product's worker as two processes: who waits has an event loop of its own."""
    with (folder / "worker.log").open("ab") as log:
        workers = [
            subprocess.Popen(
                leashed(
                    [sys.executable, "-m", "backend.cli", "worker", "--only", part],
                    death_signal=signal.SIGKILL,
                    user=None,
                ),
                env={**os.environ, **whole_sweep.environment_of(task)},
                stderr=log,
            )
            for part in ("events", "sweeps")
        ]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


async def _nothing_else_is_due(task: dict[str, Any]) -> None:
    """The sweeps of the running period are over: a worker that starts would do them at once, beside those of
    the bench, and also of the gateways that are commanded."""
    settings = read_settings(whole_sweep.environment_of(task))
    await plan_sweeps(worker_context(settings, clock=SystemClock()))
    async with unit_of_work(task["group_id"]) as work:
        await work.execute(
            "UPDATE outbox_event SET done_at = now() WHERE group_id = $1 AND topic = 'sweep.due'",
            work.group_id,
        )


async def _sweep(group_id: int, gateways: list[str]) -> None:
    now = SystemClock().now()
    async with unit_of_work(group_id) as work:
        await emit_all(
            work,
            topic="sweep.due",
            events={
                f"bench-{gateway}": {
                    "gateway_id": gateway,
                    "period": now.isoformat(),
                }
                for gateway in gateways
            },
            at=now,
        )


async def _still_sweeping(group_id: int) -> int:
    async with unit_of_work(group_id) as work:
        left: int = await work.fetchval(
            "SELECT count(*) FROM outbox_event WHERE topic = 'sweep.due' AND done_at IS NULL"
            " AND key LIKE 'bench-%'"
        )
    return left


async def _warm(group_id: int, targets: list[_Target]) -> None:
    """The worker runs, and is connected to each gateway."""
    scope = admin_scope(group_id)
    for target in targets[::4]:
        await _ask(scope, target)
        async with asyncio.timeout(60):
            await target.bytes_came.get()
    await _finished(group_id)


async def _finished(group_id: int) -> None:
    async with asyncio.timeout(60):
        while True:
            async with unit_of_work(group_id) as work:
                if not await work.fetchval(
                    "SELECT count(*) FROM control_command WHERE state IN ('QUEUED', 'SENT')"
                ):
                    return
            await _pause(0.05)


async def _ask(scope: Scope, target: _Target) -> None:
    await command_meter(
        scope=scope,
        meter_id=target.meter_id,
        kind=CommandKind.SYNC_CLOCK,
        reason="a bench of it",
        models=meter_models(),
        at=SystemClock().now(),
    )


async def _command(group_id: int, targets: list[_Target], *, count: int) -> _Heard:
    """Commands at their pace, whatever became of those before."""
    scope, heard = admin_scope(group_id), _Heard()
    begun = time.perf_counter()

    async def one(number: int) -> None:
        # One gateway after the other, so that each has a second for a command.
        target = targets[number % TARGETS * 4 + number // TARGETS % 4]
        await _pause(begun + number / A_SECOND - time.perf_counter())
        while not target.bytes_came.empty():
            target.bytes_came.get_nowait()
        asked = time.perf_counter()
        await _ask(scope, target)
        committed = time.perf_counter()
        async with asyncio.timeout(30):
            came = await target.bytes_came.get()
        heard.first.append((came - committed) * 1000)
        heard.asked.append((came - asked) * 1000)

    await asyncio.gather(*map(one, range(count)))
    await _finished(group_id)
    return heard


async def _pause(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(max(seconds, 0), over.set_result, None)
    await over


def _at(took: list[float], share: float) -> float:
    ordered = sorted(took)
    if share == 0.5:
        return round(statistics.median(ordered), 1)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 1)
