"""From the outbox to arq: listen for the bell, claim what is due, enqueue it (docs/adr/0004).

PostgreSQL is the truth. The bell (NOTIFY) makes it quick, the tick makes it sure: what a lost Redis,
a killed worker or a missed bell left behind is claimed again when its lease has run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from backend.kernel.clock import Clock
from backend.kernel.db import unit_of_work
from backend.kernel.metrics import OUTBOX_OLDEST_SECONDS
from backend.outbox import operations as outbox
from backend.outbox.queries import groups_due, oldest_due
from workers.handlers import SLOW_TOPICS
from workers.heartbeat import beat

log = logging.getLogger(__name__)

QUEUE_EVENTS = "shuidian:events:v1"
QUEUE_SWEEPS = "shuidian:sweeps:v1"
# A killed worker's events wait for this: short, so that nothing is stuck a minute after the last kill.
LEASE_EVENTS = timedelta(seconds=25)
LEASE_SWEEPS = timedelta(minutes=15)
TICK_S = 2.0
BATCH = 100


class Relay:
    """One per worker process; several share the work by SKIP LOCKED."""

    def __init__(self, *, dsn: str, redis: ArqRedis, clock: Clock) -> None:
        self._dsn = dsn
        self._redis = redis
        self._clock = clock
        self._rung = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. A fault of PostgreSQL or Redis is logged and outlived."""
        while True:
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError) as error:
                log.warning("relay pauses", extra={"fields": {"error": type(error).__name__}})
                await asyncio.sleep(TICK_S)

    async def _listen(self) -> None:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(self._dsn)
        try:
            await connection.add_listener(outbox.BELL, lambda *_: self._rung.set())
            while not connection.is_closed():
                self._rung.clear()
                await self._relay_due()
                await beat(self._redis)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._rung.wait()
        finally:
            await connection.close()

    async def _relay_due(self) -> None:
        now = self._clock.now()
        oldest = await oldest_due(now)
        OUTBOX_OLDEST_SECONDS.set((now - oldest).total_seconds() if oldest else 0)
        for group_id in await groups_due(now):
            await self.relay_group(group_id, now)

    async def relay_group(self, group_id: int, now: datetime) -> None:
        """Claim what is due of one group and hand it on. Raises RedisError, OSError."""
        while True:
            async with unit_of_work(group_id) as work:
                claimed = await outbox.claim(work, at=now, lease=LEASE_EVENTS, limit=BATCH)
                slow = [event.id for event in claimed if event.topic in SLOW_TOPICS]
                if slow:
                    await outbox.extend_lease(work, event_ids=slow, until=now + LEASE_SWEEPS)
            await self._hand_on(group_id, claimed)
            if len(claimed) < BATCH:
                break

    async def _hand_on(self, group_id: int, claimed: list[outbox.Event]) -> None:
        """Enqueue; what Redis does not take is given back at once. Raises RedisError, OSError."""
        left = list(claimed)
        try:
            while left:
                await self._enqueue(left[0])
                left.pop(0)
        finally:
            if left:
                async with unit_of_work(group_id) as work:
                    await outbox.release(work, event_ids=[event.id for event in left])

    async def _enqueue(self, event: outbox.Event) -> None:
        """The job carries the event; its id is only a hint against enqueuing one claim twice."""
        await self._redis.enqueue_job(
            "handle_event",
            {
                "group_id": event.group_id,
                "event_id": str(event.id),
                "topic": event.topic,
                "payload": dict(event.payload),
                "attempts": event.attempts,
            },
            _job_id=f"{event.id}:{event.attempts}",
            _queue_name=QUEUE_SWEEPS if event.topic in SLOW_TOPICS else QUEUE_EVENTS,
        )
