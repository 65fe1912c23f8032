"""The worker process: relay, arq workers for short and long jobs, and the clock's own work.

arq is the doorbell, not the truth: a job that dies with its worker is claimed again from the outbox
when its lease has run out. JSON, not pickle, goes through Redis.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from arq import cron
from arq.connections import RedisSettings, create_pool
from arq.worker import func
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, TimeoutError

from backend.bootstrap import build_ports
from backend.journeys.deliver import given_up
from backend.journeys.webhook import webhook_given_up
from backend.kernel.clock import Clock
from backend.kernel.db import Database, unit_of_work
from backend.kernel.errors import DomainError, Unavailable
from backend.kernel.metrics import EVENTS
from backend.kernel.settings import Settings
from backend.kernel.together import TogetherByGroup
from backend.metering.retention import Retention
from backend.outbox import operations as outbox
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.handlers import GIVE_UP_AFTER, HANDLERS, LONG_TOPICS
from workers.housekeeping import (
    close_days,
    download_all_prices,
    estimate_all_silent,
    forget_all,
    plan_all_books,
    roll_up_histories,
    tend_all_alarms,
    tend_all_forecasts,
    watch_all_lines,
    watch_all_meters,
)
from workers.janitor import tidy
from workers.job_queue import QUEUE_EVENTS, QUEUE_SWEEPS, JobQueue, JobWorker
from workers.links.door import DoorAddress
from workers.models import meter_models
from workers.relay import LEASE_EVENTS, LEASE_SWEEPS, Relay
from workers.sweep import plan_sweeps

log = logging.getLogger(__name__)
_POLL_S = 0.2  # what a person waits for does not come by this queue
_RESTART_S = 1.0
_POOL = 20
_WAITS_FOR_OTHERS = 10  # a sweep has half an hour, who pays or commands has a moment


# What a process hands on: all, or what is its own.
TOPICS_OF = {None: None, "events": frozenset(HANDLERS) - LONG_TOPICS, "sweeps": LONG_TOPICS}

# What is noted of work that was tried often enough.
_GIVEN_UP = {"message.send": given_up, "webhook.send": webhook_given_up}


async def _finish_all(group_id: int, events: Sequence[tuple[UUID, datetime]]) -> Sequence[None]:
    """What a crash of PostgreSQL forgets of this is done once more, as all work may be; messages are not
    sent twice for that."""
    async with unit_of_work(group_id, durable=False, by_key=True) as work:
        await outbox.finish_all(work, event_ids=[each for each, _ in events], at=events[-1][1])
    return [None] * len(events)


_finished = TogetherByGroup(_finish_all)


async def handle_event(ctx: dict[str, Any], job: dict[str, Any]) -> None:
    """Do one event, then finish it or have it back later. Handlers are idempotent (C12)."""
    context: WorkerContext = ctx["context"]
    topic, group_id, event_id = job["topic"], job["group_id"], UUID(job["event_id"])
    again_at = None
    error: str | None = None
    try:
        again_at = await HANDLERS[topic](context, group_id, job["payload"])
    except Unavailable as failure:
        error = failure.message
    except DomainError as failure:
        error = f"{failure.code}: {failure.message}"
        log.error("event failed", extra={"fields": {"topic": topic, "error": error}})
    now = context.ports.clock.now()
    give_up = error is not None and job["attempts"] >= GIVE_UP_AFTER.get(topic, 10**9)
    if error is None and again_at is None and topic not in _GIVEN_UP:
        await _finished(group_id, (event_id, now))
        EVENTS.labels(topic=topic, outcome="done").inc()
        return
    async with unit_of_work(group_id) as work:
        if error is not None and not give_up:
            await outbox.retry(work, event_id=event_id, at=now, error=error)
        elif again_at is not None:
            pause = max(again_at - now, timedelta(seconds=1))
            await outbox.retry(work, event_id=event_id, at=now, error="", after=pause)
        else:
            if error is not None and topic in _GIVEN_UP:
                await _GIVEN_UP[topic](work, payload=job["payload"], error=error, at=now)
            await outbox.finish(work, event_id=event_id, at=now)
    outcome = "given_up" if give_up else "later" if error or again_at else "done"
    EVENTS.labels(topic=topic, outcome=outcome).inc()


async def tick_sweeps(ctx: dict[str, Any]) -> None:
    """Plan the running period's sweeps."""
    await plan_sweeps(ctx["context"])


async def tick_janitor(ctx: dict[str, Any]) -> None:
    """Find what was left behind."""
    await tidy(ctx["context"])


async def tick_lines(ctx: dict[str, Any]) -> None:
    """See which gateways are silent, and which are heard again."""
    await watch_all_lines(ctx["context"])


async def tick_alarms(ctx: dict[str, Any]) -> None:
    """See what is alarmed, and what is over."""
    await tend_all_alarms(ctx["context"])


async def tick_meters(ctx: dict[str, Any]) -> None:
    """See which meters are lost, and which are heard again."""
    await watch_all_meters(ctx["context"])


async def tick_prices(ctx: dict[str, Any]) -> None:
    """Send meters the prices that they should hold and do not."""
    await download_all_prices(ctx["context"])


async def tick_history(ctx: dict[str, Any]) -> None:
    """Roll up the days that are over, and what came late of them."""
    await roll_up_histories(ctx["context"])


async def tick_estimates(ctx: dict[str, Any]) -> None:
    """Charge provisionally what was not read for days."""
    await estimate_all_silent(ctx["context"])


async def tick_forecasts(ctx: dict[str, Any]) -> None:
    """See how long money lasts."""
    await tend_all_forecasts(ctx["context"])


async def tick_books(ctx: dict[str, Any]) -> None:
    """Plan the bills, proofs and statements that are due."""
    await plan_all_books(ctx["context"])


async def tick_forgetting(ctx: dict[str, Any]) -> None:
    """Drop what is kept for a few days only."""
    await forget_all(ctx["context"])


async def tick_closing(ctx: dict[str, Any]) -> None:
    """Close the days that are old enough, drop what was kept for long enough."""
    await close_days(ctx["context"])


def redis_settings(url: str) -> RedisSettings:
    """arq's connection, which must outlive a restart of Redis: OSError belongs to the list."""
    settings = RedisSettings.from_dsn(url)
    settings.retry = Retry(ExponentialBackoff(cap=1), 30)
    settings.retry_on_error = [ConnectionError, TimeoutError, BusyLoadingError, OSError]
    return settings


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()


def _arq_worker(url: str, context: WorkerContext, *, slow: bool) -> JobWorker:
    lease = LEASE_SWEEPS if slow else LEASE_EVENTS
    return JobWorker(
        functions=[func(handle_event, keep_result=0, max_tries=1)],
        cron_jobs=[
            cron(tick_sweeps, second={5, 35}, keep_result=0, run_at_startup=True),
            cron(tick_prices, minute=set(range(2, 60, 5)), timeout=280, keep_result=0),
            cron(tick_history, minute=set(range(4, 60, 10)), timeout=540, keep_result=0),
            cron(tick_forgetting, minute=17, timeout=540, keep_result=0),
            cron(tick_closing, minute=25, timeout=3000, keep_result=0),
            cron(tick_estimates, minute=41, timeout=540, keep_result=0),
            cron(tick_forecasts, minute=33, timeout=1700, keep_result=0),
            cron(tick_books, minute=set(range(6, 60, 10)), timeout=540, keep_result=0),
        ]
        if slow
        else [
            cron(tick_janitor, second={20, 50}, keep_result=0),
            cron(tick_lines, second=35, keep_result=0),
            cron(tick_alarms, second=45, keep_result=0),
            cron(tick_meters, minute=set(range(0, 60, 5)), second=40, keep_result=0),
        ],
        queue_name=QUEUE_SWEEPS if slow else QUEUE_EVENTS,
        redis_settings=redis_settings(url),
        ctx={"context": context},
        handle_signals=False,
        poll_delay=_POLL_S,
        max_jobs=500 if slow else 100,
        queue_read_limit=5000,  # what others have begun stands first in it
        job_timeout=lease.total_seconds() - 5,
        job_completion_wait=10,
        keep_result=0,
        job_serializer=_dump,
        job_deserializer=json.loads,
        log_results=False,
    )


async def _forever(url: str, context: WorkerContext, *, slow: bool) -> None:
    """Run an arq worker; when Redis goes away for long, start a new one when it is back."""
    while True:
        worker = _arq_worker(url, context, slow=slow)
        try:
            await worker.async_run()
        except (RedisError, OSError) as error:
            log.warning("arq restarts", extra={"fields": {"error": type(error).__name__}})
            await asyncio.sleep(_RESTART_S)
        finally:
            await asyncio.shield(worker.close())


def door_of(settings: Settings) -> DoorAddress | None:
    """Where gateways that dial in are reached; None when this installation has none."""
    if settings.links_door is None or not settings.links_token:
        return None
    return DoorAddress(*settings.links_door, settings.links_token)


def retention_of(settings: Settings) -> Retention:
    """How long this platform keeps the history of readings."""
    samples, days = settings.keep_samples_days, settings.keep_rollups_days
    return Retention(samples=samples, hours=samples, days=days)


def settle_memory() -> None:
    """What was imported is never garbage, and a sweep or a batch of charges makes many objects that no cycle
    holds: looking through all of them after each 700 new ones costs a third of a sweep. Four batches of
    charges are half a million of them, and to look through those costs a seventh of the charging."""
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 100)


def worker_context(settings: Settings, *, clock: Clock) -> WorkerContext:
    """All that this process's jobs work with. Whoever is done with it closes its buses."""
    lease = BusLease(settings.database_url)
    return WorkerContext(
        build_ports(settings, clock=clock, meter_models=meter_models()),
        Buses(lease, access=Access(clock=clock), door=door_of(settings)),
        retention_of(settings),
    )


async def run_worker(
    settings: Settings,
    *,
    clock: Clock,
    stop: asyncio.Event | None = None,
    only: str | None = None,
) -> None:
    """Run until SIGTERM or SIGINT (or `stop`). `only`: "events" or "sweeps", for a process of its own
    each: then nobody who waits shares an event loop with ten thousand answers a second, nor a bus with
    the rounds of batches. There have to be both.

    Raises RuntimeError when a part ends by itself.
    """
    settle_memory()
    if only == "sweeps":
        os.nice(_WAITS_FOR_OTHERS)
    await Database.open(settings.database_url, pool_max=settings.pool_max or _POOL)
    await Database.answers()
    context = worker_context(settings, clock=clock)
    redis = await create_pool(redis_settings(settings.redis_url), job_serializer=_dump)
    relay = Relay(
        dsn=settings.database_url,
        queue=JobQueue(redis),
        clock=clock,
        serve=partial(handle_event, {"context": context}),
        topics=TOPICS_OF[only],
        bells=only != "sweeps",
    )
    stop = stop or _stop_signals()
    url = settings.redis_url
    parts = [asyncio.create_task(relay.run(), name="relay")]
    if only != "sweeps":
        parts.append(asyncio.create_task(_forever(url, context, slow=False), name="events"))
    if only != "events":
        parts.append(asyncio.create_task(_forever(url, context, slow=True), name="sweeps"))
    waiting = asyncio.create_task(stop.wait())
    log.info("worker runs")
    try:
        done, _ = await asyncio.wait([*parts, waiting], return_when=asyncio.FIRST_COMPLETED)
        for part in done - {waiting}:
            part.result()
            raise RuntimeError(f"the {part.get_name()} part ended")
    finally:
        for task in (*parts, waiting):
            task.cancel()
        await asyncio.gather(*parts, waiting, return_exceptions=True)
        await context.buses.close()
        await redis.aclose()
        await Database.close()


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    return stop
