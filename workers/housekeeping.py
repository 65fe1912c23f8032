"""The clock's own work on the field: episodes, roll-ups, closing of days, retention.

A group that fails is told in the log and costs the others nothing; the next tick tries it again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import date, timedelta

import asyncpg

from backend.journeys.alarms import tend_alarms
from backend.journeys.charge_estimate import estimate_silent
from backend.journeys.forecast import tend_forecasts
from backend.journeys.price_download import download_prices
from backend.journeys.valves import exercise_valves, watch_flow
from backend.journeys.watch import roll_up_history, watch_lines, watch_meters
from backend.kernel.db import unit_of_work
from backend.kernel.errors import DomainError
from backend.metering.episodes import Changes
from backend.metering.retention import days_to_close, drop_outlived, drop_raw, pack_some
from backend.outbox.operations import forget_done
from backend.tenancy.operations import forget_login_tries
from backend.tenancy.queries import all_groups
from workers.context import WorkerContext
from workers.reconcile import plan_books

log = logging.getLogger(__name__)
_KEEP_DONE = timedelta(days=7)
_KEEP_TRIES = timedelta(days=1)


async def watch_all_lines(context: WorkerContext) -> None:
    """Begin and end the episodes of every group's gateways."""
    now = context.ports.clock.now()
    await _each_group("lines", lambda group_id: _told(watch_lines(group_id=group_id, at=now)))


async def watch_all_meters(context: WorkerContext) -> None:
    """Begin and end the episodes of every group's meters; see to what flows, and to valves that stand."""
    now = context.ports.clock.now()
    await _each_group("meters", lambda group_id: _told(watch_meters(group_id=group_id, at=now)))

    async def look_at_flow(group_id: int) -> None:
        await watch_flow(group_id=group_id, at=now)
        await exercise_valves(group_id=group_id, models=context.ports.meter_models, at=now)

    await _each_group("flow", look_at_flow)


async def tend_all_alarms(context: WorkerContext) -> None:
    """Begin and end the alarms of every group, and write what customers are told of them."""
    now = context.ports.clock.now()

    async def look(group_id: int) -> None:
        looked = await tend_alarms(group_id=group_id, at=now)
        if looked.began or looked.ended:
            told = {"began": looked.began, "ended": looked.ended}
            log.info("alarms", extra={"fields": told})

    await _each_group("alarms", look)


async def _told(look: Awaitable[Changes]) -> None:
    changes = await look
    if changes.began or changes.ended:
        told = {"began": len(changes.began), "ended": len(changes.ended)}
        log.info("episodes", extra={"fields": told})


async def roll_up_histories(context: WorkerContext) -> None:
    """Roll up what every group stored of the days that are over."""
    now = context.ports.clock.now()

    async def roll(group_id: int) -> None:
        await roll_up_history(group_id=group_id, at=now)

    await _each_group("roll-up", roll)


async def download_all_prices(context: WorkerContext) -> None:
    """Send every group's meters the prices that they should hold and do not."""
    now, models = context.ports.clock.now(), context.ports.meter_models

    async def send(group_id: int) -> None:
        done = await download_prices(group_id=group_id, models=models, at=now)
        if done.wanted or done.sent or done.cases:
            told = {"wanted": done.wanted, "sent": done.sent, "cases": done.cases}
            log.info("prices", extra={"fields": told})

    await _each_group("prices", send)


async def estimate_all_silent(context: WorkerContext) -> None:
    """Charge every group's meters provisionally that were silent for as long as their project says."""
    now = context.ports.clock.now()

    async def estimate(group_id: int) -> None:
        made = await estimate_silent(group_id=group_id, at=now)
        if made:
            log.info("estimates", extra={"fields": {"made": made}})

    await _each_group("estimates", estimate)


async def tend_all_forecasts(context: WorkerContext) -> None:
    """See how long the money of every group's accounts lasts, and warn in time."""
    now = context.ports.clock.now()

    async def tend(group_id: int) -> None:
        done = await tend_forecasts(group_id=group_id, at=now)
        if done.days or done.warned:
            told = {"places": done.places, "days": done.days, "warned": done.warned}
            log.info("forecasts", extra={"fields": told})

    await _each_group("forecasts", tend)


async def plan_all_books(context: WorkerContext) -> None:
    """Plan the bills, proofs and statements of every group that are due."""
    now = context.ports.clock.now()
    await _each_group("books", lambda group_id: plan_books(group_id=group_id, at=now))


async def forget_all(context: WorkerContext) -> None:
    """Drop every group's events that were done long ago, and counts of sign-ins that failed. It goes through
    all that is kept, so not every minute."""
    now = context.ports.clock.now()

    async def forget(group_id: int) -> None:
        async with unit_of_work(group_id) as work:
            await forget_done(work, before=now - _KEEP_DONE)
            await forget_login_tries(work, before=now - _KEEP_TRIES)

    await _each_group("forgetting", forget)


async def close_days(context: WorkerContext) -> None:
    """Pack and drop the raw rows of the days that are old enough, then drop what was kept for long
    enough.

    Days go in their order: one that cannot be dropped yet (something of it is not rolled up, or a
    reader holds it) keeps the later ones.
    """
    now = context.ports.clock.now()
    for day in await days_to_close(at=now):
        packed = await _pack(day)
        gone = packed is not None and await drop_raw(day=day)
        log.info("day closed" if gone else "day stays open", extra={"fields": {"day": str(day)}})
        if not gone:
            break
    for month in await drop_outlived(at=now, retention=context.retention):
        log.info("month dropped", extra={"fields": {"month": month}})


async def _pack(day: date) -> int | None:
    """Samples packed of all groups; None when a group failed."""
    packed = 0

    async def pack(group_id: int) -> None:
        nonlocal packed
        after = None
        while True:
            async with unit_of_work(group_id) as work:
                samples, after = await pack_some(work, day=day, after=after)
            packed += samples
            if after is None:
                return

    return packed if await _each_group("packing", pack) else None


async def _each_group(what: str, act: Callable[[int], Awaitable[None]]) -> bool:
    """Do it for every group; False when one failed."""
    whole = True
    for group_id in await all_groups():
        try:
            await act(group_id)
        except (asyncpg.PostgresError, DomainError) as failure:
            whole = False
            told = {"group": group_id, "what": what, "error": str(failure)}
            log.error("housekeeping failed", extra={"fields": told})
    return whole
