"""G9: what storing readings costs a meter, with ten thousand, a hundred thousand and a million meters in
one group's tables: it must not grow with the fleet.

Rounds are interleaved. In each, as many meters of each fleet as the smallest has are stored, gateway by
gateway in the disorder of a jittered sweep, after a checkpoint, so that every fleet writes whole pages
once as it does in life, where a sweep is longer ago than a checkpoint.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.kernel.db import unit_of_work
from backend.metering.readings import store_readings
from backend.sandbox.embedded.services import EmbeddedServices

from .fleet import PER_GATEWAY, Fleet, fleet, opened, reading

_SWEEPS_BEFORE = 2
# What sweeps before this one left: as the product would have stored it.
_STORED = """
INSERT INTO metering_reading (group_id, meter_id, at, received_at, meter_clock, total, spike_wh,
        peak_wh, flat_wh, valley_wh, remaining_hao, purchase_no, relay, voltage_mv, current_ma, power_w)
    SELECT group_id, id, $1, $1, $1, 1000000, 0, 300000, 500000, 200000, 2000000, 3, 1, 220000, 500, 110
    FROM metering_meter ORDER BY gateway_id, id
"""
_LATEST = """
INSERT INTO metering_latest SELECT * FROM metering_reading WHERE at = $1 ORDER BY meter_id
"""


async def run(
    services: EmbeddedServices,
    *,
    sizes: Sequence[int] = (10_000, 100_000, 1_000_000),
    rounds: int = 9,
) -> dict[str, Any]:
    """The figures of G9 by their keys; the ratios are of the last size to the first."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    walls: dict[int, list[float]] = {size: [] for size in sizes}
    cpus: dict[int, list[float]] = {size: [] for size in sizes}
    async with AsyncExitStack() as stack:
        fleets = {}
        for size in sizes:
            made = fleet(services, database=f"bench_growth_{size}", meters=size, at=midnight)
            fleets[size] = await stack.enter_async_context(made)
            await _fill(fleets[size], midnight)
        for turn in range(rounds + 1):
            at = midnight + timedelta(minutes=10 + turn)
            for size, each in fleets.items():
                wall, cpu = await _round(each, at, turn, meters=sizes[0])
                if turn:  # the first warms up
                    walls[size].append(wall / sizes[0] * 1e6)
                    cpus[size].append(cpu / sizes[0] * 1e6)
    cpu_us = {size: statistics.median(each) for size, each in cpus.items()}
    wall_us = {size: statistics.median(each) for size, each in walls.items()}
    first, last = sizes[0], sizes[-1]
    return {
        "g9.cpu_ratio": round(cpu_us[last] / cpu_us[first], 3),
        "g9.wall_ratio": round(wall_us[last] / wall_us[first], 3),
        "g9.cpu_us_per_meter": {str(n): round(each, 2) for n, each in cpu_us.items()},
        "g9.wall_us_per_meter": {str(n): round(each, 2) for n, each in wall_us.items()},
        "g9.rounds_cpu_us": {str(n): [round(c, 1) for c in each] for n, each in cpus.items()},
    }


async def _fill(made: Fleet, midnight: datetime) -> None:
    for number in range(_SWEEPS_BEFORE):
        await made.server.execute(_STORED, midnight + timedelta(minutes=number))
    await made.server.execute(_LATEST, midnight + timedelta(minutes=_SWEEPS_BEFORE - 1))
    await made.server.execute("VACUUM ANALYZE")


async def _round(made: Fleet, at: datetime, turn: int, *, meters: int) -> tuple[float, float]:
    """(wall, CPU of this process and of the server) in seconds of storing `meters` readings."""
    gateways = list(range(0, len(made.meters), PER_GATEWAY))
    random.Random(turn).shuffle(gateways)
    await made.server.execute("CHECKPOINT")
    async with opened(made):
        gc.collect()
        server, client = await made.server_cpu_s(), time.process_time()
        started = time.perf_counter()
        for place in gateways[: meters // PER_GATEWAY]:
            batch = [
                reading(meter_id, at=at, turn=turn, place=place + number)
                for number, meter_id in enumerate(made.meters[place : place + PER_GATEWAY])
            ]
            async with unit_of_work(made.group_id) as work:
                assert await store_readings(work, readings=batch) == len(batch)
        wall, client = time.perf_counter() - started, time.process_time() - client
        return wall, client + await made.server_cpu_s() - server
