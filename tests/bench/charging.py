"""Charges a second: half-hour use of CLOUD meters rated and posted, whole, against a bare INSERT .. SELECT.

`journeys.charge.charge_meters` of the product over readings that are stored already: positions and months to
date, rating by bands, steps and fees, an entry a batch with a posting a purse, lots, balances. Beside it, in
the same run, the very rows that this inserted (charges, postings, lot uses) are inserted again by bare
INSERT .. SELECT into tables with the same columns and keys and nothing else. synchronous_commit on.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import uvloop

from backend.journeys.charge import AT_ONCE, charge_meters
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database, unit_of_work
from backend.kernel.migrate import migrate
from backend.metering.readings import store_readings
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tariffs.rules import Fee, Season, Step, TariffKind, Terms
from tests.integration.priced import priced
from tests.integration.world import START, World, make_group, reading_of
from workers.main import settle_memory

from .cpu import Cpu, median_cpu

DATABASE = "bench_charges"
TERMS = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, {"flat": 6_000, "peak": 10_000, "valley": 3_000}),),
    steps=(Step(240_000, 500), Step(400_000, 3_000)),
    loss=Fee(share=300),
    service=Fee(per_unit=200),
    monthly=100_000,
)
_HALF_HOUR = timedelta(minutes=30)
_AT_A_TIME = 4
# One account becomes many, each with a CLOUD meter, the tariff and 1,000 yuan in one lot.
MANY = """
INSERT INTO accounts_account (group_id, id, project_id, area_id, no, name, phone, opened_at)
    SELECT group_id, gen_random_uuid(), project_id, area_id, (300000 + n)::text, 'Home ' || n, phone,
        opened_at
    FROM accounts_account, generate_series(1, {count}) AS n;
INSERT INTO metering_meter (group_id, id, project_id, gateway_id, serial, profile, kind, bus,
        bus_address, credit_mode, created_at)
    SELECT group_id, gen_random_uuid(), project_id, gateway_id, 'MANY-' || (300000 + n), profile, kind, bus,
        (1000 + n)::text, 'CLOUD', created_at
    FROM metering_meter, generate_series(1, {count}) AS n;
INSERT INTO metering_assignment (group_id, id, project_id, meter_id, account_id, counter_epoch, started_at,
        opening_total, opening_purchase_no, last_purchase_no)
    SELECT a.group_id, gen_random_uuid(), a.project_id, m.id, a.id, 1, a.opened_at, 0, 0, 0
    FROM accounts_account a JOIN metering_meter m ON m.serial = 'MANY-' || a.no;
INSERT INTO tariffs_assignment (group_id, id, project_id, account_id, kind, tariff_id, started_at,
        assigned_by, assigned_at)
    SELECT t.group_id, gen_random_uuid(), t.project_id, a.id, t.kind, t.tariff_id, t.started_at,
        t.assigned_by, t.assigned_at
    FROM accounts_account a, tariffs_assignment t WHERE a.no > '300000';
INSERT INTO ledger_account (group_id, id, project_id, kind, ref)
    SELECT group_id, gen_random_uuid(), project_id, 'PURSE', id FROM accounts_account WHERE no > '300000'
    UNION ALL
    SELECT group_id, gen_random_uuid(), id, 'CHANNEL', id FROM tenancy_project;
INSERT INTO ledger_entry (group_id, id, project_id, business_key, kind, lines, occurred_at)
    SELECT group_id, id, project_id, 'bench:' || id, 'TOPUP_PAID', 2, now()
    FROM ledger_account WHERE kind = 'PURSE';
INSERT INTO ledger_posting (group_id, entry_id, line, project_id, account_id, amount_hao)
    SELECT p.group_id, p.id, s.line, p.project_id, CASE s.line WHEN 1 THEN c.id ELSE p.id END, s.amount
    FROM ledger_account p JOIN ledger_account c ON c.kind = 'CHANNEL',
        (VALUES (1, 10000000), (2, -10000000)) AS s(line, amount) WHERE p.kind = 'PURSE';
INSERT INTO ledger_lot (group_id, id, purse_id, kind, source, amount_hao, created_at)
    SELECT group_id, gen_random_uuid(), id, 'PAID', 'bench:' || id, 10000000, now()
    FROM ledger_account WHERE kind = 'PURSE';
"""
_TABLES = ("charges_charge", "ledger_posting", "ledger_lot_use")
_BARE = {
    "charges_charge": "SELECT * FROM charges_charge WHERE charged_at = $1",
    "ledger_posting": (
        "SELECT p.* FROM ledger_posting p JOIN ledger_entry e ON e.group_id = p.group_id"
        " AND e.id = p.entry_id WHERE e.kind = 'CHARGE' AND e.occurred_at = $1"
    ),
    "ledger_lot_use": (
        "SELECT u.* FROM ledger_lot_use u JOIN ledger_entry e ON e.group_id = u.group_id"
        " AND e.id = u.entry_id WHERE e.kind = 'CHARGE' AND e.occurred_at = $1"
    ),
}


async def run(
    services: EmbeddedServices, *, meters: int = 100_000, rounds: int = 3
) -> dict[str, Any]:
    """The figures of charging by their keys."""
    await services.prepare_database(DATABASE)
    await migrate(services.owner_dsn(DATABASE), at=SystemClock().now())
    await Database.open(services.app_dsn(DATABASE), pool_max=4)
    base = services.postgres.admin_dsn.rsplit("/", 1)[0]
    server = await asyncpg.connect(f"{base}/{DATABASE}")
    try:
        assert await server.fetchval("SHOW synchronous_commit") == "on"
        world = await _made(services, server, meters)
        ids = [
            row["id"]
            for row in await server.fetch(
                "SELECT id FROM metering_meter WHERE credit_mode = 'CLOUD' ORDER BY id"
            )
        ]
        spent: dict[str, list[float]] = {"charge": [], "bare": []}
        used: list[tuple[float, float]] = []
        for turn in range(rounds + 1):  # the first opens positions and months, and is not counted
            at = START + (turn + 1) * _HALF_HOUR
            await _read(world, ids, at, turn + 1)
            # After the first round the server knows how many rows there are, as autovacuum makes it know.
            await server.execute("VACUUM ANALYZE" if turn == 1 else "CHECKPOINT")
            cpu = Cpu(services.postgres.pid)
            spent["charge"].append(await _charge(world, ids, at))
            used.append(cpu.each(meters))
            spent["bare"].append(await _insert_bare(server, at, meters))
        await _expect_whole(server, world, meters, rounds + 1)
    finally:
        await server.close()
        await Database.close()
    charge = statistics.median(spent["charge"][1:])
    bare = statistics.median(spent["bare"][1:])
    ratios = [c / b for c, b in zip(spent["charge"][1:], spent["bare"][1:], strict=True)]
    return {
        "charges.per_second": round(meters / charge),
        "charges.vs_insert_select": round(statistics.median(ratios), 2),
        "charges.cpu_us": median_cpu(used[1:]),
        "charges.meters": meters,
        "charges.charge_s": round(charge, 2),
        "charges.insert_select_s": round(bare, 2),
        "charges.rounds_s": {name: [round(s, 2) for s in all_] for name, all_ in spent.items()},
    }


async def _made(services: EmbeddedServices, server: asyncpg.Connection[Any], meters: int) -> World:
    world = await make_group(Owner(services, DATABASE), "bench")
    await priced(world, terms=TERMS)
    await server.execute(f"SELECT set_config('app.group_id', '{world.group_id:d}', false)")
    await server.execute(MANY.format(count=meters))
    for table in _TABLES:
        await server.execute(f"CREATE TABLE bare_{table} (LIKE {table} INCLUDING INDEXES)")
    await server.execute("VACUUM ANALYZE")
    return world


class Owner:
    """The owner's address of a benchmark's database."""

    def __init__(self, services: EmbeddedServices, database: str) -> None:
        self._services = services
        self._database = database

    def owner_dsn(self) -> str:
        """Where the owner role connects."""
        return self._services.owner_dsn(self._database)


async def _read(world: World, ids: list[UUID], at: datetime, turn: int) -> None:
    """A sweep: each meter shows some hundred Wh more than before, in one of three bands."""
    for place in range(0, len(ids), 10_000):
        readings = [
            reading_of(meter_id, at=at, total=turn * 300)._replace(
                bands={"peak": turn * 100, "flat": turn * 150, "valley": turn * 50}
            )
            for meter_id in ids[place : place + 10_000]
        ]
        async with unit_of_work(world.group_id) as work:
            await store_readings(work, readings=readings)
            await work.execute("DELETE FROM outbox_event")


async def _charge(world: World, ids: list[UUID], at: datetime) -> float:
    """Seconds to charge all of it, in batches and with the memory settings of the worker, four at a time: a
    worker would begin a hundred."""
    gc.collect()
    settle_memory()
    batches = [ids[place : place + AT_ONCE] for place in range(0, len(ids), AT_ONCE)]
    waiting = iter(batches)

    async def work() -> None:
        for batch in waiting:
            since = dict.fromkeys(batch, at)
            await charge_meters(group_id=world.group_id, since=since, at=at)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_AT_A_TIME)))
    return time.perf_counter() - started


async def _insert_bare(server: asyncpg.Connection[Any], at: datetime, meters: int) -> float:
    started = time.perf_counter()
    for table in _TABLES:
        done = await server.execute(f"INSERT INTO bare_{table} {_BARE[table]}", at)
        assert int(done.rsplit(" ", 1)[-1]) >= meters, (table, done)
    return time.perf_counter() - started


async def _expect_whole(
    server: asyncpg.Connection[Any], world: World, meters: int, turns: int
) -> None:
    """Every meter was charged each time, and the purses paid just what was charged."""
    charged = await server.fetchrow(
        "SELECT count(*) AS n, sum(energy_hao + fixed_hao + loss_hao + public_hao + service_hao) AS hao"
        " FROM charges_charge"
    )
    held = await server.fetchval(
        "SELECT -sum(b.balance_hao) FROM ledger_balance b JOIN ledger_account a"
        " ON a.group_id = b.group_id AND a.id = b.account_id WHERE a.kind = 'PURSE'"
    )
    assert charged is not None
    assert charged["n"] == meters * turns, charged
    assert held + charged["hao"] == meters * 10_000_000


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="shuidian-bench-"))
    folder.chmod(0o755)
    with EmbeddedServices(folder) as running:
        size = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
        sys.stdout.write(json.dumps(uvloop.run(run(running, meters=size)), indent=1) + "\n")
