"""Drive a vend to its meter: read, compare, write, read back (C8-C10).

Every write is announced by a commit first, so a crash at any point leads to the same first step: ask
the meter. The bus is held for the whole short series, so nothing slips in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from uuid import UUID

from backend.control.rules import VendFacts, VendStep, Wallet, decide_vend
from backend.journeys import vend as journey
from backend.journeys.vend import VendWork
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Unavailable
from backend.metering.readings import store_readings
from workers.context import WorkerContext
from workers.drivers.ports import Driver, MeterSnapshot, Relay
from workers.links.errors import NoAnswer
from workers.links.lane import Priority
from workers.protocols.errors import FrameError, MeterRefused
from workers.recording import reading_of

WRITES_A_TRY = 3


async def vend_due(context: WorkerContext, group_id: int, payload: Mapping[str, str]) -> None:
    """Serve the waiting vends of a meter in the order of their numbers.

    Raises Unavailable when the meter cannot be reached: the event comes back later.
    """
    meter_id = UUID(payload["meter_id"])
    while (task := await journey.next_work(group_id=group_id, meter_id=meter_id)) is not None:
        try:
            await _serve(context, group_id, task)
        except Unavailable as error:
            await journey.not_reached(
                group_id=group_id,
                vend=task.vend,
                error=error.message,
                at=context.ports.clock.now(),
            )
            raise


async def _serve(context: WorkerContext, group_id: int, task: VendWork) -> None:
    bus = await context.buses.bus(task.gateway)
    async with bus.turn(Priority.VEND) as turn:
        # Asked again with the bus in hand: another worker may have served it while we waited.
        fresh = await journey.next_work(group_id=group_id, meter_id=task.meter.id)
        if fresh is not None and fresh.vend.id == task.vend.id:
            await _credit(context, group_id, fresh, turn.driver(fresh.meter))


async def _credit(context: WorkerContext, group_id: int, task: VendWork, driver: Driver) -> None:
    clock = context.ports.clock
    vend = task.vend
    before, sent_at = vend.before, vend.sent_at
    refusal: str | None = None
    for _ in range(WRITES_A_TRY + 1):
        read = await driver.wallet()
        meter = Wallet(read.purchase_count, read.remaining)
        now = clock.now()
        facts = VendFacts(vend.purchase_no, vend.amount, before, now - (sent_at or now))
        step, reason = decide_vend(facts, meter)
        if step is VendStep.VERIFIED:
            await _verified(context, group_id, task, driver, meter)
            return
        if step is VendStep.SEND and refusal is not None:
            step, reason = VendStep.STOP, refusal
        if step is VendStep.STOP:
            await journey.stopped(group_id=group_id, vend=vend, meter=meter, reason=reason, at=now)
            return
        await journey.about_to_write(group_id=group_id, vend=vend, before=meter, at=now)
        before, sent_at = meter, now
        try:
            await driver.credit(amount=vend.amount, purchase_count=vend.purchase_no)
        except MeterRefused as refused:
            refusal = f"the meter refuses the credit: {refused.message}"
        except (NoAnswer, FrameError):
            continue  # it may have acted: the wallet tells
    raise NoAnswer("the meter did not take the credit yet")


async def _verified(
    context: WorkerContext, group_id: int, task: VendWork, driver: Driver, meter: Wallet
) -> None:
    """Keep a whole reading as well, so that the customer sees the new balance at once."""
    snapshot: MeterSnapshot | None = None
    with suppress(Unavailable):  # the wallet agreed; the relay is then simply not known
        snapshot = await driver.read()
    now = context.ports.clock.now()
    if snapshot is not None:
        async with unit_of_work(group_id) as work:
            await store_readings(work, readings=[reading_of(task.meter.id, snapshot, now)])
    closed = None
    if snapshot is not None and snapshot.relay is not Relay.UNKNOWN:
        closed = snapshot.relay is Relay.CLOSED
    await journey.verified(
        group_id=group_id, vend=task.vend, after=meter, relay_closed=closed, at=now
    )
