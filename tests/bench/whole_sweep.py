"""G3: 100,000 meters read, decoded, stored once each, their latest state moved; CPU of the collector.

The product is the worker's own sweep job, on its own tables with row-level security, keys and audit of
gateways; beside it pymodbus with tortoise's bulk_create. Collector on core 0, the responder (C) and
PostgreSQL on core 1.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import statistics
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from backend.kernel.ids import uuid7
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.provision import add_group

from .lanes import build, pinned, responder

PER_GATEWAY = 200


def run(
    folder: Path, services: EmbeddedServices, *, meters: int = 100_000, rounds: int = 3
) -> dict[str, Any]:
    """The figures of G3 by their keys. Raises NoCompiler, subprocess.CalledProcessError."""
    made = build(folder)
    spent: dict[str, list[float]] = {"product": [], "orm": []}
    walls, peaks = [], []
    with responder(made["responder"], hold_us=0, silent_from=0) as port:
        task = asyncio.run(prepare(services, port=port, meters=meters))
        for _ in range(rounds):
            for name, costs in spent.items():
                figures = _collect(name, task)
                costs.append(figures["cpu_s"] / meters * 1e6)
                if name == "product":
                    walls.append(figures["wall_s"])
                    peaks.append(figures["peak_mb"])
    cost = {name: statistics.median(each) for name, each in spent.items()}
    return {
        "g3.us_per_meter": round(cost["product"], 2),
        "g3.vs_pymodbus_orm": round(cost["orm"] / cost["product"], 3),
        "g3.orm_us_per_meter": round(cost["orm"], 2),
        "g3.meters": meters,
        "g3.wall_s": round(statistics.median(walls), 2),
        "g3.peak_mb": max(peaks),
        "g3.rounds_us": {name: [round(one, 1) for one in each] for name, each in spent.items()},
    }


def once(folder: Path, services: EmbeddedServices, *, meters: int = 1_000_000) -> dict[str, Any]:
    """G9: one first sweep of so many meters, from connecting to the last row. Raises as `run`."""
    made = build(folder)
    with responder(made["responder"], hold_us=0, silent_from=0) as port:
        task = asyncio.run(prepare(services, port=port, meters=meters))
        figures = _collect("product", task | {"sweeps": 1})
    return {
        "g9.sweep_meters": meters,
        "g9.sweep_s": round(figures["wall_s"], 1),
        "g9.sweep_us_per_meter": round(figures["cpu_s"] / meters * 1e6, 1),
        "g9.sweep_peak_mb": figures["peak_mb"],
    }


async def prepare(services: EmbeddedServices, *, port: int, meters: int) -> dict[str, Any]:
    """A group with its gateways and meters, and the tables of the ORM."""
    now = datetime.now(UTC)
    group_id = await add_group(
        services.owner_dsn(),
        code=f"bench{secrets.token_hex(3)}",
        name="Bench",
        login="admin",
        password_hash="none",
        at=now,
    )
    database = services.owner_dsn().rsplit("/", 1)[1]
    server = await asyncpg.connect(services.postgres.admin_dsn, database=database)
    try:
        gateways = await _fill(server, group_id, port=port, meters=meters, at=now)
        for table, key in (
            ("bench_reading", "id bigint PRIMARY KEY, meter_id uuid"),
            ("bench_latest", "meter_id uuid PRIMARY KEY"),
        ):
            values = ", ".join(f"value_{index} bigint NOT NULL" for index in range(12))
            await server.execute(f"DROP TABLE IF EXISTS {table}")
            await server.execute(f"CREATE TABLE {table} ({key}, at timestamptz NOT NULL, {values})")
            await server.execute(f"GRANT ALL ON {table} TO shuidian_app")
        await server.execute("CREATE UNIQUE INDEX ON bench_reading (meter_id, at)")
        await server.execute("VACUUM ANALYZE")
    finally:
        await server.close()
    return {
        "dsn": services.app_dsn(),
        "redis_url": services.valkey.url,
        "keys": "1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "group_id": group_id,
        "gateways": gateways,
        "port": port,
        "meters": meters,
        "sweeps": 2,
    }


def environment_of(task: dict[str, Any]) -> dict[str, str]:
    """The settings of a worker of the task's site, as another process reads them."""
    return {
        "SHUIDIAN_ENV": "demo",
        "SHUIDIAN_DATABASE_URL": task["dsn"],
        "SHUIDIAN_REDIS_URL": task["redis_url"],
        "SHUIDIAN_PUBLIC_URL": "http://127.0.0.1",
        "SHUIDIAN_SECRET_KEYS": task["keys"],
    }


async def _fill(
    server: asyncpg.Connection[Any], group_id: int, *, port: int, meters: int, at: datetime
) -> list[str]:
    project = uuid7(at)
    await server.execute(
        "INSERT INTO tenancy_project (group_id, id, code, name, kind, created_at)"
        " VALUES ($1, $2, 'bench', 'Bench', 'SHOPS', $3)",
        group_id,
        project,
        at,
    )
    # As a fleet grows: each gateway and its meters at an instant of their own.
    count = max(meters // PER_GATEWAY, 1)
    born = [at - timedelta(seconds=count - index) for index in range(count)]
    gateways = [uuid7(each) for each in born]
    await server.executemany(
        "INSERT INTO metering_gateway"
        " (group_id, id, project_id, serial, name, link, address, created_at)"
        " VALUES ($1, $2, $3, $4, 'Bench', 'MODBUS_TCP', $5, $6)",
        [
            (group_id, gateway, project, f"GW-{index:05d}", f"127.0.0.1:{port}", each)
            for index, (gateway, each) in enumerate(zip(gateways, born, strict=True))
        ],
    )
    rows = (
        (group_id, uuid7(each), project, gateway, f"M-{index:05d}-{unit:03d}", str(unit), each)
        for index, (gateway, each) in enumerate(zip(gateways, born, strict=True))
        for unit in range(1, PER_GATEWAY + 1)
    )
    await server.executemany(
        "INSERT INTO metering_meter (group_id, id, project_id, gateway_id, serial, profile, kind, bus,"
        " bus_address, credit_mode, created_at)"
        " VALUES ($1, $2, $3, $4, $5, 'DDSY1352-NK', 'ELECTRICITY', 1, $6, 'METER', $7)",
        rows,
    )
    return [str(gateway) for gateway in gateways]


def _collect(name: str, task: dict[str, Any]) -> dict[str, Any]:
    line = [*pinned(0), sys.executable, "-m", "tests.bench.sweep_client", name]
    done = subprocess.run(line, input=json.dumps(task), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures
