"""G4: readings stored once each with the latest state moved, against a bare COPY of the same rows into
the same table; and how many bytes a sample takes once its day is closed."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from backend.kernel.db import unit_of_work
from backend.metering.readings import COLUMNS, Reading, store_readings
from backend.metering.retention import drop_raw, pack_some
from backend.metering.rollups import roll_up
from backend.sandbox.embedded.services import EmbeddedServices

from .fleet import PER_GATEWAY, Fleet, fleet, opened, reading

_DAY = timedelta(days=1)
_DAYS = 3
_SIZE = (
    "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits"
    " WHERE inhparent = $1::text::regclass"
)


async def run(
    services: EmbeddedServices, *, rows: int = 100_000, rounds: int = 5
) -> dict[str, Any]:
    """The figures of G4 by their keys; `rows` is meters of one batch."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    large = fleet(services, database="bench_persist", meters=rows, at=midnight)
    async with large as made, opened(made):
        figures = await _against_copy(made, midnight, rounds)
    samples_of = max(rows // 80, 50)
    small = fleet(services, database="bench_packed", meters=samples_of, at=midnight)
    async with small as made, opened(made):
        return figures | await _bytes_a_sample(made, midnight - (_DAYS + 4) * _DAY)


async def _against_copy(made: Fleet, midnight: datetime, rounds: int) -> dict[str, Any]:
    """Interleaved rounds; the first of each is not counted."""
    spent: dict[str, list[tuple[float, float]]] = {"copy": [], "store": [], "gateways": []}
    for turn in range(rounds + 1):
        for place, (name, costs) in enumerate(spent.items()):
            at = midnight + timedelta(minutes=10 * turn + place)
            act = _ready(made, name, _sweep(made, at, turn))
            costs.append(await _timed(made, act))
    wall = {name: statistics.median(each[0] for each in costs[1:]) for name, costs in spent.items()}
    cpu = {name: statistics.median(each[1] for each in costs[1:]) for name, costs in spent.items()}
    return {
        "g4.vs_copy": round(wall["store"] / wall["copy"], 3),
        "g4.vs_copy_cpu": round(cpu["store"] / cpu["copy"], 3),
        "g4.rows": len(made.meters),
        "g4.copy_s": round(wall["copy"], 3),
        "g4.store_s": round(wall["store"], 3),
        "g4.store_cpu_us_per_row": round(cpu["store"] / len(made.meters) * 1e6, 2),
        "g4.by_gateway_cpu_us_per_row": round(cpu["gateways"] / len(made.meters) * 1e6, 2),
        "g4.rounds_s": {n: [round(w, 3) for w, _ in costs] for n, costs in spent.items()},
    }


def _sweep(made: Fleet, at: datetime, turn: int) -> list[Reading]:
    return [
        reading(meter_id, at=at, turn=turn, place=place)
        for place, meter_id in enumerate(made.meters)
    ]


async def _store(made: Fleet, batch: list[Reading]) -> None:
    async with unit_of_work(made.group_id) as work:
        assert await store_readings(work, readings=batch) == len(batch)


async def _by_gateway(made: Fleet, batch: list[Reading]) -> None:
    """As sweeps store: a transaction a gateway."""
    for place in range(0, len(batch), PER_GATEWAY):
        await _store(made, batch[place : place + PER_GATEWAY])


def _ready(made: Fleet, name: str, batch: list[Reading]) -> Callable[[], Awaitable[object]]:
    """What is measured. Of the bare COPY, which looks at nothing, even the rows are made beforehand."""
    if name == "store":
        return partial(_store, made, batch)
    if name == "gateways":
        return partial(_by_gateway, made, batch)
    records = [each.record(made.group_id) for each in batch]
    copy = made.server.copy_records_to_table
    return partial(copy, "metering_reading", columns=COLUMNS, records=records)


async def _timed(made: Fleet, act: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """(wall, CPU of this process and of the server) in seconds."""
    gc.collect()
    server, client, started = await made.server_cpu_s(), time.process_time(), time.perf_counter()
    await act()
    wall, client = time.perf_counter() - started, time.process_time() - client
    return wall, client + await made.server_cpu_s() - server


async def _bytes_a_sample(made: Fleet, first: datetime) -> dict[str, Any]:
    """Closed days of samples taken at odd moments, with their roll-ups, keys and all."""
    await made.server.execute(
        "SELECT metering_ensure_day($1::date + n) FROM generate_series(0, $2::int) AS n",
        first.date(),
        _DAYS,
    )
    dice = random.Random(1)
    for turn in range(48 * _DAYS):
        at = first + turn * timedelta(minutes=30)
        batch = [
            reading(
                meter_id,
                at=at + timedelta(microseconds=dice.randrange(20_000_000)),
                turn=turn,
                place=place,
            )
            for place, meter_id in enumerate(made.meters)
        ]
        await _store(made, batch)
    samples = 48 * _DAYS * len(made.meters)
    raw = await made.server.fetchval(_SIZE, "metering_reading")
    while True:
        async with unit_of_work(made.group_id) as work:
            if not (await roll_up(work, until=first + 20 * _DAY)).batches:
                break
    started = time.process_time()
    for number in range(_DAYS):
        day, after = (first + number * _DAY).date(), None
        while True:
            async with unit_of_work(made.group_id) as work:
                _, after = await pack_some(work, day=day, after=after)
            if after is None:
                break
        assert await drop_raw(day=day)
    packing = time.process_time() - started
    size = {
        table: await made.server.fetchval(_SIZE, table) / samples
        for table in ("metering_packed", "metering_day", "metering_hours")
    }
    return {
        "g4.bytes_per_sample": round(sum(size.values()), 1),
        "g4.samples": samples,
        "g4.bytes_packed": round(size["metering_packed"], 1),
        "g4.bytes_rollups": round(size["metering_day"] + size["metering_hours"], 1),
        "g4.bytes_raw": round(raw / samples, 1),
        "g4.pack_client_us_per_sample": round(packing / samples * 1e6, 1),
    }
