"""G9: what storing one sweep costs a meter, with ten thousand, a hundred thousand and a million meters in
one group's tables: it must not grow with the fleet."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.kernel.db import unit_of_work
from backend.metering.readings import store_readings
from backend.sandbox.embedded.services import EmbeddedServices

from .fleet import PER_GATEWAY, Fleet, fleet, reading

_WARM_UP = 2  # sweeps before the first that counts: the day has readings, the latest state is there
_LEAST_ROWS = 200_000  # that are measured of each size, by as many sweeps as that takes


async def run(
    services: EmbeddedServices, *, sizes: Sequence[int] = (10_000, 100_000, 1_000_000)
) -> dict[str, Any]:
    """The figures of G9 by their keys; the ratios are of the last size to the first."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    wall: dict[int, float] = {}
    cpu: dict[int, float] = {}
    for meters in sizes:
        async with fleet(services, database="bench_growth", meters=meters, at=midnight) as made:
            wall[meters], cpu[meters] = await _a_meter(made, midnight)
    first, last = sizes[0], sizes[-1]
    return {
        "g9.cpu_ratio": round(cpu[last] / cpu[first], 3),
        "g9.wall_ratio": round(wall[last] / wall[first], 3),
        "g9.cpu_us_per_meter": {str(n): round(each * 1e6, 2) for n, each in cpu.items()},
        "g9.wall_us_per_meter": {str(n): round(each * 1e6, 2) for n, each in wall.items()},
    }


async def _a_meter(made: Fleet, midnight: datetime) -> tuple[float, float]:
    """(wall, CPU of this process and of the server) a meter, in seconds; medians over the sweeps."""
    sweeps = max(1, _LEAST_ROWS // len(made.meters))
    costs: list[tuple[float, float]] = []
    for turn in range(_WARM_UP + sweeps):
        if turn == _WARM_UP:
            await made.server.execute(
                "VACUUM ANALYZE"
            )  # as the server does by itself, now and then
            await made.server.execute("CHECKPOINT")
        gc.collect()
        server, client = await made.server_cpu_s(), time.process_time()
        started = time.perf_counter()
        await _sweep(made, midnight + turn * timedelta(minutes=1), turn)
        wall, client = time.perf_counter() - started, time.process_time() - client
        costs.append((wall, client + await made.server_cpu_s() - server))
    counted = costs[_WARM_UP:]
    return (
        statistics.median(each[0] for each in counted) / len(made.meters),
        statistics.median(each[1] for each in counted) / len(made.meters),
    )


async def _sweep(made: Fleet, at: datetime, turn: int) -> None:
    """One transaction a gateway, as sweeps store."""
    for place in range(0, len(made.meters), PER_GATEWAY):
        batch = [
            reading(meter_id, at=at, turn=turn, place=place + number)
            for number, meter_id in enumerate(made.meters[place : place + PER_GATEWAY])
        ]
        async with unit_of_work(made.group_id) as work:
            assert await store_readings(work, readings=batch) == len(batch)
