"""One collector of the whole-sweep benchmark, in a process of its own.

    python -m tests.bench.sweep_client product|orm

Reads how it is told from standard input, one JSON object: dsn, redis_url, keys, group_id, gateways (ids),
port, meters, sweeps. Prints {"cpu_s":.., "wall_s":.., "peak_mb":..} of the last sweep (the first one warms).
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import uvloop
from pymodbus.client import AsyncModbusTcpClient
from tortoise import Tortoise, fields
from tortoise.models import Model

from backend.bootstrap import build_ports
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database
from backend.kernel.settings import read_settings
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.main import settle_memory
from workers.models import meter_models
from workers.sweep import sweep_due

from .whole_sweep import environment_of

_REGISTERS = 48
_BATCH = 10_000


async def product(task: dict[str, Any]) -> None:
    """The worker's own sweep job, once a gateway, all at the same time."""
    clock = SystemClock()
    settings = read_settings(environment_of(task))
    settle_memory()
    await Database.open(settings.database_url, pool_max=8)
    buses = Buses(BusLease(settings.database_url), access=Access(clock=clock))
    context = WorkerContext(build_ports(settings, clock=clock, meter_models=meter_models()), buses)
    jobs = [{"gateway_id": gateway} for gateway in task["gateways"]]
    places = asyncio.Semaphore(500)  # as many jobs at a time as the worker takes

    async def sweep(job: dict[str, str]) -> None:
        async with places:
            await sweep_due(context, task["group_id"], job)

    for _ in range(task["sweeps"]):
        begun = _now()
        await asyncio.gather(*map(sweep, jobs))
        figures = _since(begun)
    await buses.close()
    await Database.close()
    sys.stdout.write(json.dumps(figures) + "\n")


_Row = tuple[UUID, datetime, tuple[int, ...]]
_VALUES = tuple(f"value_{index}" for index in range(12))


def _orm_model(name: str, table: str, *, by_meter: bool) -> type[Model]:
    """A reading as an ORM's user would keep it: twelve numbers at an instant of a meter."""
    body: dict[str, Any] = {value: fields.BigIntField() for value in _VALUES}
    body["meter_id"] = fields.UUIDField(primary_key=by_meter)
    body["at"] = fields.DatetimeField()
    meta: dict[str, Any] = {"table": table}
    if not by_meter:
        body["id"] = fields.BigIntField(primary_key=True)
        meta["unique_together"] = (("meter_id", "at"),)
    body["Meta"] = type("Meta", (), meta)
    body["__module__"] = __name__
    return type(name, (Model,), body)


BenchReading = _orm_model("BenchReading", "bench_reading", by_meter=False)
BenchLatest = _orm_model("BenchLatest", "bench_latest", by_meter=True)


async def orm(task: dict[str, Any]) -> None:
    """The same bytes by pymodbus, kept by tortoise: bulk_create of the raw rows, then of the latest
    state with an update on conflict."""
    dsn = task["dsn"].replace("postgresql://", "asyncpg://")
    await Tortoise.init(db_url=dsn, modules={"models": [__name__]}, _enable_global_fallback=True)
    clients = [
        AsyncModbusTcpClient("127.0.0.1", port=task["port"], timeout=1, retries=0)
        for _ in task["gateways"]
    ]
    for client in clients:
        await client.connect()
    for model in (BenchReading, BenchLatest):
        await model.all().delete()  # of a round before
    for sweep in range(task["sweeps"]):
        begun = _now()
        await _orm_sweep(clients, meters=task["meters"], first_id=sweep * task["meters"])
        figures = _since(begun)
    for client in clients:
        client.close()
    await Tortoise.close_connections()
    sys.stdout.write(json.dumps(figures) + "\n")


async def _orm_sweep(clients: list[AsyncModbusTcpClient], *, meters: int, first_id: int) -> None:
    at = datetime.now(UTC)
    rows: list[_Row] = []

    async def read(gateway: int, client: AsyncModbusTcpClient) -> None:
        for unit in range(1, meters // len(clients) + 1):
            answer = await client.read_holding_registers(0x0200, count=_REGISTERS, device_id=unit)
            if answer.isError():
                raise RuntimeError(str(answer))
            rows.append((UUID(int=gateway << 16 | unit), at, _decoded(client, answer.registers)))

    await asyncio.gather(*[read(index, client) for index, client in enumerate(clients)])
    for first in range(0, len(rows), _BATCH):
        part = rows[first : first + _BATCH]
        ids = range(first_id + first, first_id + first + len(part))
        await BenchReading.bulk_create(
            [_filled(BenchReading, row, id=id_) for id_, row in zip(ids, part, strict=True)],
            batch_size=1000,
        )
        await BenchLatest.bulk_create(
            [_filled(BenchLatest, row) for row in part],
            batch_size=1000,
            on_conflict=["meter_id"],
            update_fields=["at", *_VALUES],
        )


def _filled(model: type[Model], row: _Row, **more: int) -> Model:
    meter, at, values = row
    return model(meter_id=meter, at=at, **dict(zip(_VALUES, values, strict=True)), **more)


def _decoded(client: AsyncModbusTcpClient, registers: Sequence[int]) -> tuple[int, ...]:
    """The twelve numbers of the poll, by pymodbus's own conversion where they fill two registers."""
    wide = [
        cast(
            int, client.convert_from_registers(list(registers[at : at + 2]), client.DATATYPE.UINT32)
        )
        for at in (0x15, 0x17, 0x19, 0x1B, 0x1D, 0x1F)
    ]
    return (*wide, *(registers[at] for at in (0x01, 0x04, 0x0A, 0x21, 0x24, 0x12)))


_Moment = tuple[float, float]


def _now() -> _Moment:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


def _since(begun: _Moment) -> dict[str, float]:
    cpu, wall = _now()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": cpu - begun[0], "wall_s": wall - begun[1], "peak_mb": round(peak)}


def main() -> None:
    """Run the collector that the argument names."""
    task = json.loads(sys.stdin.read())
    uvloop.run(product(task) if sys.argv[1] == "product" else orm(task))


if __name__ == "__main__":
    main()
