"""A database of its own with one group of many meters, filled past all code of the product."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from backend.kernel.db import Database, unit_of_work
from backend.kernel.migrate import migrate
from backend.metering.readings import Reading
from backend.sandbox.embedded.services import EmbeddedServices

PER_GATEWAY = 200
_TICKS_PER_S = 100
# As a fleet grows: ids in the order in which gateways and their meters were installed.
_FILL = """
INSERT INTO tenancy_directory (code) VALUES ('bench');
INSERT INTO tenancy_group SELECT group_id, code, 'Bench', now() FROM tenancy_directory;
INSERT INTO tenancy_project (group_id, id, code, name, kind, created_at)
    SELECT group_id, '01900000-0000-7000-8000-000000000001', 'bench', 'Bench', 'SHOPS', now()
    FROM tenancy_group;
INSERT INTO metering_gateway
    (group_id, id, project_id, serial, name, link, address, answered_at, created_at)
    SELECT p.group_id, ('01900000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, p.id,
        'GW-' || n, 'Bench', 'TCP', '127.0.0.1:502', now(), now()
    FROM tenancy_project p, generate_series(0, ({meters} - 1) / {each}) AS n;
INSERT INTO metering_meter (group_id, id, project_id, gateway_id, serial, profile, kind, bus,
        bus_address, credit_mode, created_at)
    SELECT p.group_id, ('01900000-0000-7000-a000-' || lpad(to_hex(n), 12, '0'))::uuid, p.id,
        ('01900000-0000-7000-9000-' || lpad(to_hex(n / {each}), 12, '0'))::uuid,
        'M-' || lpad(n::text, 8, '0'), 'DDSY1352-NK', 'ELECTRICITY', 1, (n % {each} + 1)::text,
        'METER', now()
    FROM tenancy_project p, generate_series(0, {meters} - 1) AS n;
"""


@dataclass
class Fleet:
    """`server` is the superuser's connection; `meters` are in the order of their gateways."""

    server: asyncpg.Connection[Any]
    dsn: str
    group_id: int
    meters: Sequence[UUID]

    async def server_cpu_s(self) -> float:
        """CPU of the server's processes that live now, in seconds."""
        rows = await self.server.fetch("SELECT pid FROM pg_stat_activity")
        return sum(_cpu_s(row["pid"]) for row in rows)


@asynccontextmanager
async def fleet(
    services: EmbeddedServices, *, database: str, meters: int, at: datetime
) -> AsyncIterator[Fleet]:
    """A migrated database of that name with `meters`; dropped at the end. `opened` makes it that of this
    process's pool."""
    await services.prepare_database(database)
    await migrate(services.owner_dsn(database), at=at)
    base = services.postgres.admin_dsn.rsplit("/", 1)[0]
    server = await asyncpg.connect(f"{base}/{database}")
    try:
        await server.execute("SET session_replication_role = replica")  # no row by row checks
        await server.execute(_FILL.format(meters=meters, each=PER_GATEWAY))
        await server.execute("SET session_replication_role = origin")
        await server.execute("VACUUM ANALYZE")
        group_id = await server.fetchval("SELECT group_id FROM tenancy_group")
        rows = await server.fetch("SELECT id FROM metering_meter ORDER BY id")
        dsn = services.app_dsn(database)
        yield Fleet(server, dsn, group_id, [row["id"] for row in rows])
    finally:
        await server.close()
        admin = await asyncpg.connect(services.postgres.admin_dsn)
        await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await admin.close()


@asynccontextmanager
async def opened(made: Fleet) -> AsyncIterator[None]:
    """The fleet's database as that of this process's pool, its connection there and warm."""
    await Database.open(made.dsn, pool_max=4)
    try:
        async with unit_of_work(made.group_id) as work:
            await work.fetchval("SELECT 1")
        yield
    finally:
        await Database.close()


def reading(meter_id: UUID, *, at: datetime, turn: int, place: int) -> Reading:
    """A reading as a meter with four bands gives it, in its `turn`-th sweep; `place` varies it."""
    used = (place * 7919 + turn * 104_729) % 611
    peak, flat = 300_000 + turn * 150 + used // 2, 500_000 + turn * 200 + used // 3
    volts, amperes = 219_000 + used * 10, (used * 37) % 4000
    return Reading(
        meter_id=meter_id,
        at=at,
        received_at=at,
        meter_clock=at.replace(microsecond=0),
        total=1_000_000 + turn * 350 + used,
        remaining_hao=2_000_000 - turn * 2100 - used * 6,
        purchase_no=3,
        relay_closed=True,
        voltage_mv=volts,
        current_ma=amperes,
        power_w=volts * amperes // 1_000_000,
        bands={"spike": 0, "peak": peak, "flat": flat, "valley": 200_000},
    )


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
