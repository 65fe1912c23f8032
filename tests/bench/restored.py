"""Paid to power on: from the payer's confirmation at the channel to the meter's own read-back of its relay.

The town of `paid`, its money in the cloud; every meter was cut for arrears. The accounts pay, ten a second.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from backend.bootstrap import build_ports
from backend.control.command_rules import CommandKind, Order
from backend.control.supply_rules import Why
from backend.journeys.command import ask
from backend.journeys.supply_look import ENGINE
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database, unit_of_work
from backend.kernel.migrate import migrate
from backend.metering.models import Meter
from backend.sandbox.embedded.services import EmbeddedServices
from tests.flows.town import Town, running_town, until
from workers.models import meter_models

from . import paid

A_SECOND = 10
_WAITS = "SELECT count(*) FROM control_command WHERE state IN ('QUEUED', 'SENT')"
_RESTORED = (
    "SELECT o.order_no, c.finished_at FROM topups_order o"
    " JOIN metering_assignment s ON s.group_id = o.group_id AND s.id = o.assignment_id"
    " JOIN control_command c ON c.group_id = s.group_id AND c.meter_id = s.meter_id AND c.kind <> 'TRIP'"
    " WHERE o.order_no = ANY($1) AND c.state = 'VERIFIED' AND c.relay_after = 1"
)


async def run(services: EmbeddedServices, folder: Path) -> dict[str, Any]:
    """The figures by their keys, in seconds."""
    clock = SystemClock()
    await services.prepare_database()
    await migrate(services.owner_dsn(), at=clock.now())
    await Database.open(services.app_dsn(), pool_max=20)
    try:
        async with running_town(services, folder, secrets.token_hex(3), paid.plan) as town:
            for _ in range(paid.WORKERS):
                town.start_worker()
            ports = build_ports(town.settings, clock=clock, meter_models=meter_models())
            count = paid.GATEWAYS * paid.PER_GATEWAY
            orders = await paid.orders(town, ports, count=count)
            await _cut(services, town)
            paid_at = await _pay(town, [order.order_no for order in orders])
            took = sorted(await _restored(town, paid_at))
    finally:
        await Database.close()
    return {
        "restore.p50_s": round(statistics.median(took), 3),
        "restore.p95_s": round(took[int(len(took) * 0.95)], 3),
        "restore.max_s": round(took[-1], 3),
        "restore.meters": len(took),
    }


async def _cut(services: EmbeddedServices, town: Town) -> None:
    """Every meter's money is in the cloud, used up, and its power off."""
    group_id = await town.group_id()
    database = services.owner_dsn().rsplit("/", 1)[1]
    server = await asyncpg.connect(services.postgres.admin_dsn, database=database)
    try:
        await server.execute(
            "UPDATE metering_meter SET credit_mode = 'CLOUD' WHERE group_id = $1", group_id
        )
    finally:
        await server.close()
    async with unit_of_work(group_id) as work:
        for meter in await Meter.filter(group_id=group_id):
            await ask(
                work,
                meter=meter,
                order=Order(CommandKind.TRIP, "a bench of it"),
                models=meter_models(),
                actor=ENGINE,
                at=SystemClock().now(),
                why=Why.FORCED_OFF,  # one for arrears would be decided anew before it is written
            )

    async def all_off() -> bool | None:
        return True if await town.value(_WAITS) == 0 else None

    await until(all_off, "every cut", within_s=120)
    async with unit_of_work(group_id) as work:
        await work.execute("UPDATE control_supply SET force_why = $1", Why.ARREARS)


async def _pay(town: Town, numbers: list[str]) -> dict[str, datetime]:
    loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    paying, paid_at = [], dict[str, datetime]()
    for index, number in enumerate(numbers):
        turn = loop.create_future()
        loop.call_at(begun + index / A_SECOND, turn.set_result, None)
        await turn
        paid_at[number] = SystemClock().now()
        paying.append(asyncio.create_task(town.pay(number)))
    await asyncio.gather(*paying)
    return paid_at


async def _restored(town: Town, paid_at: dict[str, datetime]) -> list[float]:
    async def all_on() -> list[Any] | None:
        async with unit_of_work(await town.group_id()) as work:
            rows = await work.fetch(_RESTORED, list(paid_at))
        return rows if len({row["order_no"] for row in rows}) == len(paid_at) else None

    rows = await until(all_on, "every power-on", within_s=120)
    first: dict[str, datetime] = {}
    for row in rows:
        first[row["order_no"]] = min(
            first.get(row["order_no"], row["finished_at"]), row["finished_at"]
        )
    return [(at - paid_at[number]).total_seconds() for number, at in first.items()]
