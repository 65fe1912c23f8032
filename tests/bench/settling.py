"""G5: settled top-ups a second, whole (order, journal, postings, balances, lot, number, vend, outbox).

`journeys.settle.settle` of the product, each waiting for its commit, at 1, 8 and 32 at a time over many
accounts (spread), and at 32 with every top-up on one account and meter (hot); beside it pgbench's
TPC-B-like with prepared statements and 8 clients, on the same server in the same run, synchronous_commit on.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import statistics
import subprocess
import time
from typing import Any

import asyncpg

from backend.journeys.settle import settle
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database
from backend.kernel.migrate import migrate
from backend.sandbox.embedded.places import postgres_bin
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.queries import Order, order_of
from tests.integration.world import World, make_credential, make_group, payment_of

from .cpu import Cpu, median_cpu

DATABASE = "bench_settle"
ACCOUNTS = 2_000
CLIENTS = 8
_AT_A_TIME = (1, 8, 32)
# One account becomes many, each with a meter of its own; ids rise with the number.
_MANY = """
INSERT INTO accounts_account (group_id, id, project_id, area_id, no, name, phone, opened_at)
    SELECT group_id, gen_random_uuid(), project_id, area_id, (300000 + n)::text, 'Shop ' || n, phone,
        opened_at
    FROM accounts_account, generate_series(1, {count}) AS n;
INSERT INTO metering_meter (group_id, id, project_id, gateway_id, serial, profile, kind, bus,
        bus_address, credit_mode, created_at)
    SELECT group_id, gen_random_uuid(), project_id, gateway_id, 'MANY-' || (300000 + n), profile, kind, bus,
        (1000 + n)::text, credit_mode, created_at
    FROM metering_meter, generate_series(1, {count}) AS n;
INSERT INTO metering_assignment (group_id, id, project_id, meter_id, account_id, counter_epoch, started_at,
        opening_total, opening_purchase_no, last_purchase_no)
    SELECT a.group_id, gen_random_uuid(), a.project_id, m.id, a.id, 1, a.opened_at, 0, 0, 0
    FROM accounts_account a JOIN metering_meter m ON m.serial = 'MANY-' || a.no;
"""
_ORDERS = """
INSERT INTO topups_order (group_id, id, order_no, project_id, account_id, assignment_id, credential_id,
        channel, method, amount_fen, idempotency_key, state, created_at, expires_at)
    SELECT s.group_id, gen_random_uuid(), $1 || lpad(n::text, 8, '0'), s.project_id, s.account_id, s.id, $2,
        'WECHAT_PAY', 'NATIVE', 5000, $1 || '-' || n, 'CREATED', $4, $4::timestamptz + interval '15 minutes'
    FROM generate_series(1, $3) AS n
    JOIN (SELECT *, row_number() OVER (ORDER BY id) AS place FROM metering_assignment) AS s
        ON s.place = CASE WHEN $5 THEN 1 ELSE n % {count} + 1 END
    RETURNING *
"""


async def run(
    services: EmbeddedServices, *, orders: int = 3_000, rounds: int = 3, seconds: int = 4
) -> dict[str, Any]:
    """The figures of G5 by their keys. Raises FileNotFoundError where there is no pgbench."""
    await services.prepare_database(DATABASE)
    await migrate(services.owner_dsn(DATABASE), at=SystemClock().now())
    limit = _Pgbench(services, seconds=seconds)
    await Database.open(services.app_dsn(DATABASE), pool_max=40)
    base = services.postgres.admin_dsn.rsplit("/", 1)[0]
    server = await asyncpg.connect(f"{base}/{DATABASE}")
    try:
        till = await _Till.made(services, server)
        # Every account has bought once, and the server knows how many rows there are, as pgbench's
        # tables are made known to it before its run.
        await till.rate(32, ACCOUNTS)
        await server.execute("VACUUM ANALYZE")
        rates: dict[str, list[float]] = {}
        cpu: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            rates.setdefault("tpcb_c8", []).append(await asyncio.to_thread(limit.rate))
            for each in _AT_A_TIME:
                rates.setdefault(f"c{each}", []).append(await till.rate(each, orders))
                cpu.setdefault(f"c{each}", []).append(till.used)
            rates.setdefault("hot_c32", []).append(await till.rate(32, orders, hot=True))
            cpu.setdefault("hot_c32", []).append(till.used)
    finally:
        await server.close()
        await Database.close()
    median = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "g5.per_second": {name: round(each) for name, each in median.items()},
        **{
            f"g5.c{each}_vs_tpcb_c8": round(median[f"c{each}"] / median["tpcb_c8"], 3)
            for each in _AT_A_TIME
        },
        "g5.hot_vs_spread": round(median["hot_c32"] / median["c32"], 3),
        "g5.cpu_us": {name: median_cpu(each) for name, each in cpu.items()},
        "g5.rounds": {name: [round(one) for one in each] for name, each in rates.items()},
    }


class _Till:
    """A group whose accounts pay."""

    def __init__(
        self,
        world: World,
        server: asyncpg.Connection[Any],
        credential_id: Any,
        postmaster: int,
    ) -> None:
        self._world, self._server, self._credential_id = world, server, credential_id
        self._postmaster = postmaster
        self.used = (0.0, 0.0)  # microseconds of client and server for each top-up of the last rate

    @classmethod
    async def made(cls, services: EmbeddedServices, server: asyncpg.Connection[Any]) -> _Till:
        class Owner:
            def owner_dsn(self) -> str:
                return services.owner_dsn(DATABASE)

        world = await make_group(Owner(), "bench")
        credential_id = await make_credential(world)
        await server.execute("SET session_replication_role = replica")
        await server.execute(_MANY.format(count=ACCOUNTS))
        await server.execute("SET session_replication_role = origin")
        await server.execute("ANALYZE accounts_account, metering_meter, metering_assignment")
        return cls(world, server, credential_id, services.postgres.pid)

    async def rate(self, at_a_time: int, orders: int, *, hot: bool = False) -> float:
        """Top-ups settled a second, `at_a_time` of them waiting for their commit."""
        rows = await self._server.fetch(
            _ORDERS.format(count=ACCOUNTS),
            secrets.token_hex(6),
            self._credential_id,
            orders if at_a_time > 1 else orders // 3,
            self._world.clock.now(),
            hot,
        )
        waiting = iter([order_of(row) for row in rows])
        cpu, begun = Cpu(self._postmaster), time.perf_counter()
        await asyncio.gather(*[self._pay_all(waiting) for _ in range(at_a_time)])
        took = time.perf_counter() - begun
        self.used = cpu.each(len(rows))
        return len(rows) / took

    async def _pay_all(self, waiting: Any) -> None:
        order: Order
        for order in waiting:
            settled = await settle(
                self._world.ports,
                group_id=self._world.group_id,
                credential_id=self._credential_id,
                payment=payment_of(self._world, order),
                source="notice",
            )
            if not settled.paid:
                raise RuntimeError(f"{order.order_no}: {settled.reason}")


class _Pgbench:
    """TPC-B-like of pgbench, scale 50, on the same server."""

    def __init__(self, services: EmbeddedServices, *, seconds: int) -> None:
        self._program = str(postgres_bin(None) / "pgbench")
        self._seconds = seconds
        admin = services.postgres.admin_dsn
        subprocess.run(
            [self._program, "-i", "-q", "-s", "50", admin], capture_output=True, check=True
        )
        self._admin = admin

    def rate(self) -> float:
        """Transactions a second."""
        line = [self._program, "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2"]
        done = subprocess.run(
            [*line, "-T", str(self._seconds), self._admin],
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.search(r"tps = ([0-9.]+)", done.stdout)
        if found is None:
            raise RuntimeError(done.stdout)
        return float(found.group(1))
