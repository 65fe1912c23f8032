"""Read meters: a gateway's whole bus by one job, or one meter on request (A8, C24-C26)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID
from zlib import crc32

from backend.journeys.own_cuts import note_told
from backend.journeys.vend import wake_vends
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, DomainError, NotFound
from backend.kernel.metrics import READINGS, SWEEP_SECONDS
from backend.metering import queries as metering
from backend.metering.on_buses import (
    SweptGateway,
    SweptMeter,
    gateway_to_sweep,
    meters_to_sweep,
    sweep_plan,
)
from backend.metering.operations import note_gateway
from backend.metering.readings import Reading, store_readings
from backend.outbox.operations import emit
from backend.tenancy.queries import all_groups
from workers.buses import Turn
from workers.context import WorkerContext
from workers.drivers.modbus_reading import WrongModel
from workers.drivers.ports import Driver, Taken
from workers.links.errors import LinkDown, NoAnswer
from workers.links.lane import Priority
from workers.protocols.errors import FrameError, MeterRefused
from workers.recording import SaidBeside, note_beside, own_cut_of, reading_of

log = logging.getLogger(__name__)
_JITTER_SHARE = 4  # sweeps spread over the first quarter of the period


async def plan_sweeps(context: WorkerContext) -> None:
    """Ask for the running period's sweep of every gateway, once (the outbox key says so).

    A tick that no worker ran is made up for by the next one: the key is the period, not the tick.
    """
    now = context.ports.clock.now()
    for group_id in await all_groups():
        async with unit_of_work(group_id) as work:
            for gateway_id, minutes in await sweep_plan(work):
                period = timedelta(minutes=minutes)
                start = now - (now - datetime.fromtimestamp(0, now.tzinfo)) % period
                spread = int(period.total_seconds()) // _JITTER_SHARE
                jitter = timedelta(seconds=crc32(gateway_id.bytes) % spread)
                await emit(
                    work,
                    topic="sweep.due",
                    key=f"{gateway_id}:{start.isoformat(timespec='minutes')}",
                    payload={"gateway_id": str(gateway_id)},
                    at=now,
                    due_at=start + jitter,
                )


async def sweep_due(context: WorkerContext, group_id: int, payload: Mapping[str, str]) -> None:
    """Read every meter of a gateway and store the batch by one COPY.

    A dead gateway ends the sweep at once and costs the others nothing (C25); a silent meter costs
    its own time-out, and the longer it is silent the more rarely. What was read is stored in every
    case.
    """
    clock = context.ports.clock
    async with unit_of_work(group_id) as work:
        gateway_id = UUID(payload["gateway_id"])
        gateway = await gateway_to_sweep(work, gateway_id=gateway_id)
        meters = await meters_to_sweep(work, gateway=gateway, at=clock.now())
    known = len(meters)
    sweep = _Round(context, meters)
    with SWEEP_SECONDS.time():
        await _ask_all(context, gateway, sweep)
    async with unit_of_work(group_id) as work:
        # Only now: what waits for a connection waits as bare bytes.
        beside = SaidBeside()
        readings = _decoded(sweep.taken, beside)
        stored = await store_readings(work, readings=readings)
        reached = sweep.reached or not known
        await note_gateway(work, gateway_id=gateway_id, answered=reached, at=clock.now())
        if readings:
            meter_ids = [reading.meter_id for reading in readings]
            await wake_vends(work, meter_ids=meter_ids, at=clock.now())
        await note_beside(work, beside, clock.now())
    READINGS.labels(outcome="stored").inc(stored)
    fields = {"gateway": gateway.serial, "meters": known, "read": len(readings)}
    log.info("sweep", extra={"fields": fields})


class _Round:
    """One sweep of one bus: the meters that are still to ask, and what was taken."""

    def __init__(self, context: WorkerContext, meters: list[SweptMeter]) -> None:
        """`meters` is used up: of a meter that was asked only its answer is kept."""
        self._now = context.ports.clock.now
        self._left = meters
        self._left.reverse()
        # Lists side by side: triples would cost a fleet that waits for the database 64 bytes a meter more.
        self._asked: list[UUID] = []
        self._said: list[Taken] = []
        self._at: list[datetime] = []
        self.reached = False
        """Whether the gateway let itself be reached."""

    @property
    def over(self) -> bool:
        """Whether all were asked."""
        return not self._left

    @property
    def taken(self) -> Iterator[tuple[UUID, Taken, datetime]]:
        """Who answered, what and when."""
        return zip(self._asked, self._said, self._at, strict=True)

    async def script(self, turn: Turn) -> None:
        """Ask one meter after the other, until somebody else wants the bus: a vend waits for one meter at
        most. Raises LinkDown."""
        while self._left:
            meter = self._left.pop()
            if not meter.tries:
                continue
            try:
                answer = await _take(turn.scripted(meter), meter.tries)
            except (NoAnswer, FrameError, MeterRefused) as error:
                self.reached = self.reached or not isinstance(error, NoAnswer)
                READINGS.labels(outcome=error.code.lower()).inc()
            except (Conflict, NotFound, WrongModel) as error:
                _note_unreadable(meter.id, error)
            else:
                self.reached = True
                self._asked.append(meter.id)
                self._said.append(answer)
                self._at.append(self._now())
            if turn.wanted:
                return


async def _ask_all(context: WorkerContext, gateway: SweptGateway, sweep: _Round) -> None:
    """A dead gateway ends its sweep; what was read before is kept."""
    with contextlib.suppress(LinkDown):
        bus = await context.buses.bus(gateway)
        while not sweep.over:
            async with bus.turn(Priority.READ) as turn:
                await turn.play(sweep.script(turn))


def _decoded(taken: Iterable[tuple[UUID, Taken, datetime]], beside: SaidBeside) -> list[Reading]:
    """The readings in what was taken; one that cannot be believed is left out and told. What else meters say
    goes into `beside`."""
    readings = []
    for meter_id, answer, at in taken:
        try:
            snapshot = answer.snapshot()
            readings.append(reading_of(meter_id, snapshot, at))
            beside.hear(meter_id, snapshot)
        except FrameError as error:
            READINGS.labels(outcome=error.code.lower()).inc()
        except WrongModel as error:
            _note_unreadable(meter_id, error)
    return readings


def _note_unreadable(meter_id: UUID, error: DomainError) -> None:
    READINGS.labels(outcome=error.code.lower()).inc()
    why = {"meter": str(meter_id), "code": error.code, "reason": error.message}
    log.warning("meter cannot be read", extra={"fields": why})


async def meter_refresh(context: WorkerContext, group_id: int, payload: Mapping[str, str]) -> None:
    """Read one meter now, however long it was silent. Raises Unavailable when it does not answer."""
    async with unit_of_work(group_id) as work:
        meter = await metering.meter_by_id(work, meter_id=UUID(payload["meter_id"]))
        gateway = await metering.gateway_by_id(work, gateway_id=meter.gateway_id)
    async with (await context.buses.bus(gateway)).turn(Priority.READ) as turn:
        answer = await _take(turn.driver(meter), tries=2)
    snapshot = answer.snapshot()
    async with unit_of_work(group_id) as work:
        reading = reading_of(meter.id, snapshot, context.ports.clock.now())
        await store_readings(work, readings=[reading])
        await note_told(work, told={meter.id: own_cut_of(snapshot)}, at=reading.at)


async def _take(driver: Driver, tries: int) -> Taken:
    """What a meter says. Raises LinkDown, NoAnswer, FrameError, MeterRefused, WrongModel."""
    while True:
        tries -= 1
        try:
            return await driver.take()
        except (NoAnswer, FrameError):
            if tries <= 0:
                raise
