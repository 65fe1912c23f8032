"""Paid to meter verified: from the payer's confirmation at the channel to the meter's own read-back.

A town as the flows have it (API, two workers of their own, stand-in WeChat Pay, virtual meters on ten
gateways, all on sockets), twenty top-ups a second.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
import statistics
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.bootstrap import build_ports
from backend.demo.plan import DemoGroup
from backend.journeys.ports import Ports
from backend.journeys.topup import Payer, start
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database, unit_of_work
from backend.kernel.migrate import migrate
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.queries import Order
from backend.topups.rules import Channel, PayMethod, Way
from tests.flows.town import Town, plan_of, running_town, until
from workers.models import meter_models

GATEWAYS = 10
PER_GATEWAY = 8
WORKERS = 2
_WAY = Way(Channel.WECHAT_PAY, PayMethod.H5)


async def run(
    services: EmbeddedServices, folder: Path, *, per_second: int = 20, seconds: int = 20
) -> dict[str, Any]:
    """The figures by their keys, in seconds."""
    clock = SystemClock()
    await services.prepare_database()
    await migrate(services.owner_dsn(), at=clock.now())
    await Database.open(services.app_dsn(), pool_max=20)
    try:
        async with running_town(services, folder, secrets.token_hex(3), plan) as town:
            for _ in range(WORKERS):
                town.start_worker()
            ports = build_ports(town.settings, clock=clock, meter_models=meter_models())
            made = await orders(town, ports, count=per_second * seconds)
            await _pay_and_wait(town, made[:per_second])  # warm
            paid = await _pay_and_wait(town, made[per_second:], every_s=1 / per_second)
    finally:
        await Database.close()
    took = sorted(paid)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    return {
        "paid_to_verified.p50_s": round(statistics.median(took), 3),
        "paid_to_verified.p95_s": round(took[int(len(took) * 0.95)], 3),
        "paid_to_verified.max_s": round(took[-1], 3),
        "paid_to_verified.topups": len(took),
        "paid_to_verified.per_second": per_second,
        "paid_to_verified.worker_peak_mb": most,
    }


def plan(unique: str) -> tuple[DemoGroup, DemoGroup]:
    """The flows' two groups, ours with many gateways."""
    ours, theirs = plan_of(unique)
    site, home = ours.sites[0], ours.sites[0].homes[0]
    sites = tuple(
        replace(
            site,
            code=f"street{at}",
            gateway=f"{site.gateway}-{at}",
            mchid=f"{site.mchid[:-2]}{at:02d}",
            homes=tuple(
                replace(
                    home,
                    no=f"1{at:02d}0{index:02d}",
                    place=("一层", f"{at}-{index} 号"),
                    meter=f"{home.meter[:-4]}{at:02d}{index:02d}",
                    openid=f"{home.openid}x{at}x{index}",
                )
                for index in range(PER_GATEWAY)
            ),
        )
        for at in range(GATEWAYS)
    )
    return replace(ours, sites=sites), theirs


async def orders(town: Town, ports: Ports, *, count: int) -> list[Order]:
    """Orders registered at the channel, over all accounts in turn; each amount once an account."""
    group_id = await town.group_id()
    async with unit_of_work(group_id) as work:
        rows = await work.fetch("SELECT id FROM accounts_account ORDER BY no")
    return [
        await start(
            ports,
            group_id=group_id,
            account_id=rows[index % len(rows)]["id"],
            customer_id=None,
            amount_fen=1000 + index,
            payer=Payer(_WAY, None, "203.0.113.7"),
            idempotency_key=f"bench-{index:06d}",
        )
        for index in range(count)
    ]


async def _pay_and_wait(town: Town, orders: list[Order], *, every_s: float = 0.0) -> list[float]:
    """Pay orders one every `every_s`; how long each took until its meter was verified, in seconds."""
    loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    paying, paid_at = [], dict[str, datetime]()
    for index, order in enumerate(orders):
        turn = loop.create_future()
        loop.call_at(begun + index * every_s, turn.set_result, None)
        await turn
        paid_at[order.order_no] = SystemClock().now()
        paying.append(asyncio.create_task(town.pay(order.order_no)))
    await asyncio.gather(*paying)
    numbers = list(paid_at)

    async def all_verified() -> list[Any] | None:
        async with unit_of_work(await town.group_id()) as work:
            rows = await work.fetch(
                "SELECT o.order_no, v.verified_at FROM topups_order o"
                " JOIN control_vend v ON v.group_id = o.group_id AND v.source_id = o.id"
                " WHERE o.order_no = ANY($1) AND v.state = 'VERIFIED'",
                numbers,
            )
        return rows if len(rows) == len(numbers) else None

    rows = await until(all_verified, "every meter's read-back", within_s=120)
    return [(row["verified_at"] - paid_at[row["order_no"]]).total_seconds() for row in rows]
