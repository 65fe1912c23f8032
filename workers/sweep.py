"""Read meters: a gateway's whole bus by one job, or one meter on request (A8, C24-C26)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID
from zlib import crc32

from backend.journeys.own_cuts import note_told
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.metrics import SWEEP_SECONDS
from backend.metering import queries as metering
from backend.metering.on_buses import SweptGateway, sweep_plan
from backend.metering.readings import store_readings
from backend.outbox.operations import emit_all
from backend.tenancy.queries import all_groups
from workers.context import WorkerContext
from workers.links.errors import LinkDown
from workers.links.lane import Priority
from workers.recording import own_cut_of, reading_of
from workers.round import Round, take
from workers.swept import Swept, Wanted, keep, load

log = logging.getLogger(__name__)
_JITTER_SHARE = 4  # sweeps spread over the first quarter of the period
_AT_ONCE = 1_000  # gateways of one statement; each may be a meter with a line of its own


async def plan_sweeps(context: WorkerContext) -> None:
    """Ask for the running period's sweep of every gateway, once (the outbox key says so).

    A tick that no worker ran is made up for by the next one: the key is the period, not the tick.
    """
    now = context.ports.clock.now()
    for group_id in await all_groups():
        async with unit_of_work(group_id) as work:
            plan = await sweep_plan(work)
        for place in range(0, len(plan), _AT_ONCE):
            async with unit_of_work(group_id) as work:
                await _plan(work, plan[place : place + _AT_ONCE], now)


async def _plan(work: UnitOfWork, gateways: Sequence[tuple[UUID, int]], now: datetime) -> None:
    payloads, due = dict[str, dict[str, str]](), dict[str, datetime]()
    for gateway_id, minutes in gateways:
        period = timedelta(minutes=minutes)
        start = now - (now - datetime.fromtimestamp(0, now.tzinfo)) % period
        spread = int(period.total_seconds()) // _JITTER_SHARE
        key = f"{gateway_id}:{start.isoformat(timespec='minutes')}"
        payloads[key] = {"gateway_id": str(gateway_id)}
        due[key] = start + timedelta(seconds=crc32(gateway_id.bytes) % spread)
    await emit_all(work, topic="sweep.due", events=payloads, at=now, due_at=due)


async def sweep_due(context: WorkerContext, group_id: int, payload: Mapping[str, str]) -> None:
    """Read every meter of a gateway and store what they say.

    A dead gateway ends the sweep at once and costs the others nothing (C25); a silent meter costs
    its own time-out, and the longer it is silent the more rarely. What was read is stored in every
    case.
    """
    now = context.ports.clock.now
    gateway_id = UUID(payload["gateway_id"])
    loaded = await load(group_id, Wanted(gateway_id, now()))
    if loaded is None:
        raise NotFound("no such gateway")
    gateway, meters = loaded
    known = len(meters)
    sweep = Round(meters, now)
    with SWEEP_SECONDS.time():
        await _ask_all(context, gateway, sweep)
    read = await keep(group_id, Swept(gateway_id, sweep.reached or not known, sweep, now))
    fields = {"gateway": gateway.serial, "meters": known, "read": read}
    log.info("sweep", extra={"fields": fields})


async def _ask_all(context: WorkerContext, gateway: SweptGateway, sweep: Round) -> None:
    """A dead gateway ends its sweep; what was read before is kept."""
    with contextlib.suppress(LinkDown):
        bus = await context.buses.bus(gateway)
        while not sweep.over:
            async with bus.turn(Priority.READ) as turn:
                await turn.play(sweep.script(turn))


async def meter_refresh(context: WorkerContext, group_id: int, payload: Mapping[str, str]) -> None:
    """Read one meter now, however long it was silent. Raises Unavailable when it does not answer."""
    async with unit_of_work(group_id) as work:
        meter = await metering.meter_by_id(work, meter_id=UUID(payload["meter_id"]))
        gateway = await metering.gateway_by_id(work, gateway_id=meter.gateway_id)
    async with (await context.buses.bus(gateway)).turn(Priority.READ) as turn:
        answer = await take(turn.driver(meter), 2)
    snapshot = answer.snapshot()
    async with unit_of_work(group_id) as work:
        reading = reading_of(meter.id, snapshot, context.ports.clock.now())
        await store_readings(work, readings=[reading])
        await note_told(work, told={meter.id: own_cut_of(snapshot)}, at=reading.at)
