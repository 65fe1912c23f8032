"""What sweeps are made of and what they brought, for many gateways at once.

A transaction costs a dozen round trips, for two hundred meters or for three thousand: sweeps that begin or
end while one is under way go together in the next (kernel/together.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

from backend.journeys.vend import wake_vends
from backend.kernel.db import unit_of_work
from backend.kernel.metrics import READINGS
from backend.kernel.together import TogetherByGroup
from backend.metering.on_buses import SweptGateway, SweptMeter, buses_to_sweep
from backend.metering.operations import note_gateways
from backend.metering.readings import Reading, store_readings
from workers.recording import SaidBeside, note_beside, reading_of
from workers.round import Round

# A batch is in memory as rows, where what waits is bare bytes; and whoever shares the loop waits while its
# rows are made: some ten milliseconds for 3,200 meters.
_MOST_GATEWAYS = 16


class Wanted(NamedTuple):
    """A gateway to be swept at `at`."""

    gateway_id: UUID
    at: datetime


class Swept(NamedTuple):
    """A round that is over. `answered`: whether the gateway is there."""

    gateway_id: UUID
    answered: bool
    round: Round
    now: Callable[[], datetime]


async def _load_all(
    group_id: int, wanted: Sequence[Wanted]
) -> list[tuple[SweptGateway, list[SweptMeter]] | None]:
    async with unit_of_work(group_id) as work:
        buses = await buses_to_sweep(
            work, gateway_ids=[each.gateway_id for each in wanted], at=wanted[-1].at
        )
    found = (buses.get(each.gateway_id) for each in wanted)
    # A list of its own for each: a round uses it up, and two sweeps of a late gateway may come at once.
    return [each and (each[0], each[1].copy()) for each in found]


async def _keep_all(group_id: int, batch: Sequence[Swept]) -> list[int]:
    at = batch[-1].now()
    readings: list[Reading] = []
    beside = SaidBeside()
    ends = [0]
    for swept in batch:
        for meter_id, snapshot, read_at in swept.round.snapshots():
            readings.append(reading_of(meter_id, snapshot, read_at))
            beside.hear(meter_id, snapshot)
        ends.append(len(readings))
        await asyncio.sleep(0)  # whoever shares the loop does not wait for a whole batch
    async with unit_of_work(group_id) as work:
        stored = await store_readings(work, readings=readings)
        answered = {swept.gateway_id: swept.answered for swept in batch}
        await note_gateways(work, answered=answered, at=at)
        if readings:
            await wake_vends(work, meter_ids=[reading.meter_id for reading in readings], at=at)
        await note_beside(work, beside, at)
    READINGS.labels(outcome="stored").inc(stored)
    return [end - begin for begin, end in pairwise(ends)]


load = TogetherByGroup(_load_all, most=_MOST_GATEWAYS)
"""A gateway and its meters, by bus address; None when there is no such gateway."""

keep = TogetherByGroup(_keep_all, most=_MOST_GATEWAYS)
"""Store what a round took, and what else its answers mean; how many readings that were."""
