"""From the outbox to work: listen for the bell, claim what is due, do it or enqueue it (docs/adr/0004, 0011).

PostgreSQL is the truth. The bell (NOTIFY) makes it quick, the tick makes it sure: what a lost Redis,
a killed worker or a missed bell left behind is claimed again when its lease has run out. What a person
waits for is begun in this process at once, as long as there is room; all else goes by arq's queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from redis.exceptions import RedisError

from backend.kernel.clock import Clock
from backend.kernel.db import DATABASE_AWAY, connect, unit_of_work
from backend.kernel.metrics import OUTBOX_OLDEST_SECONDS
from backend.outbox import operations as outbox
from backend.outbox.queries import groups_due, next_due, oldest_due
from workers.handlers import SLOW_TOPICS, URGENT_TOPICS
from workers.job_queue import QUEUE_EVENTS, QUEUE_SWEEPS, Job, JobQueue

log = logging.getLogger(__name__)

# A killed worker's events wait for this: short, so that nothing is stuck a minute after the last kill.
LEASE_EVENTS = timedelta(seconds=25)
LEASE_SWEEPS = timedelta(minutes=15)
TICK_S = 0.5  # what is due later, such as a batch after its minute, is late by so much at most
BATCH = 500
# Urgent events under way in this process, most of which wait for buses. More than the commands that a batch
# has on their way (control.batch_rules.IN_A_PROJECT), so that who pays meanwhile finds room.
ROOM = 6500
_LAST_WORDS_S = 10.0


class Relay:
    """One per worker process; several share the work by SKIP LOCKED."""

    def __init__(
        self,
        *,
        dsn: str,
        queue: JobQueue,
        clock: Clock,
        serve: Callable[[Job], Awaitable[None]],
        room: int = ROOM,
        topics: frozenset[str] | None = None,
        bells: bool = True,
    ) -> None:
        """`serve` does one event, as a job of the queue would; `room` for so many urgent ones at once.
        `topics`: what is handed on here, None for everything; without `bells` by the tick alone."""
        self._dsn = dsn
        self._queue = queue
        self._clock = clock
        self._serve = serve
        self._room = room
        self._topics = topics
        self._bells = bells
        self._rung = asyncio.Event()
        self._rung_by: set[int] = set()
        self._urgent: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """How many urgent events are being served here."""
        return len(self._urgent)

    async def run(self) -> None:
        """Until cancelled; then what is under way here has ten seconds to end. A fault of PostgreSQL or
        Redis is logged and outlived."""
        try:
            while True:
                try:
                    await self._listen()
                except (*DATABASE_AWAY, RedisError) as error:
                    log.warning("relay pauses", extra={"fields": {"error": type(error).__name__}})
                    await asyncio.sleep(TICK_S)
        finally:
            await self._end_urgent()

    async def _listen(self) -> None:
        connection: asyncpg.Connection[Any] = await connect(self._dsn)
        try:
            if self._bells:
                await connection.add_listener(outbox.BELL, self._hear)
            heeding = asyncio.create_task(self._heed_bells())
            try:
                while not connection.is_closed() and not heeding.done():
                    pause_s = await self._relay_due()
                    await self._queue.beat()
                    await asyncio.wait({heeding}, timeout=pause_s)
            finally:
                heeding.cancel()
                ended = await asyncio.gather(heeding, return_exceptions=True)
            if isinstance(ended[0], Exception):
                raise ended[0]
        finally:
            await connection.close()

    def _hear(self, _connection: object, _process: int, _channel: str, payload: object) -> None:
        self._rung_by.add(int(str(payload)))
        self._rung.set()

    async def _heed_bells(self) -> None:
        """Hand on what bells are rung for, of their groups alone, whatever the tick is at: a person waits."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            groups, self._rung_by = self._rung_by, set()
            for group_id in groups:
                await self.relay_group(group_id, self._clock.now())

    async def _relay_due(self) -> float:
        """Hand on what is due; gives for how many seconds nothing urgent is, at most a tick."""
        now = self._clock.now()
        oldest = await oldest_due(now)
        OUTBOX_OLDEST_SECONDS.set((now - oldest).total_seconds() if oldest else 0)
        for group_id in await groups_due(now):
            await self.relay_group(group_id, now)
        tick = timedelta(seconds=TICK_S)
        urgent = URGENT_TOPICS if self._topics is None else URGENT_TOPICS & self._topics
        due = await next_due(now, now + tick, topics=urgent)
        return max(0.0, ((due or now + tick) - self._clock.now()).total_seconds())

    async def relay_group(self, group_id: int, now: datetime) -> None:
        """Claim what is due of one group and hand it on. Raises RedisError, OSError."""
        while True:
            # A lease that a crash of PostgreSQL forgets is a lease that has run out; so what is urgent begins
            # before the commit has come back.
            async with unit_of_work(group_id, durable=False, by_key=True) as work:
                claimed = await outbox.claim(
                    work, at=now, lease=LEASE_EVENTS, limit=BATCH, topics=self._topics
                )
                left = self._begin_urgent(claimed)
                slow = [event.id for event in left if event.topic in SLOW_TOPICS]
                if slow:
                    await outbox.extend_lease(work, event_ids=slow, until=now + LEASE_SWEEPS)
            await self._enqueue(group_id, left)
            if len(claimed) < BATCH:
                break

    def _begin_urgent(self, claimed: Sequence[outbox.Event]) -> list[outbox.Event]:
        """Begin what is urgent, as long as there is room; the others are left."""
        left = []
        for event in claimed:
            if event.topic in URGENT_TOPICS and self.under_way < self._room:
                self._begin(event)
            else:
                left.append(event)
        return left

    async def _enqueue(self, group_id: int, events: Sequence[outbox.Event]) -> None:
        """By arq's queues; what Redis does not take is given back at once. Raises RedisError, OSError."""
        left: dict[str, list[outbox.Event]] = {}
        for event in events:
            name = QUEUE_SWEEPS if event.topic in SLOW_TOPICS else QUEUE_EVENTS
            left.setdefault(name, []).append(event)
        try:
            for name in list(left):
                await self._queue.put_all(name, [_job_of(event) for event in left[name]])
                del left[name]
        finally:
            if left:
                event_ids = [event.id for events in left.values() for event in events]
                async with unit_of_work(group_id) as work:
                    await outbox.release(work, event_ids=event_ids)

    def _begin(self, event: outbox.Event) -> None:
        # A context of its own: what it does is not part of the transaction that claims it.
        serving = self._serve_in_time(_job_of(event))
        task = asyncio.create_task(serving, name=event.topic, context=Context())
        self._urgent.add(task)
        task.add_done_callback(self._ended)

    async def _serve_in_time(self, job: Job) -> None:
        """Before the lease ends, and somebody else claims it."""
        async with asyncio.timeout(LEASE_EVENTS.total_seconds() - 5):
            await self._serve(job)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What failed is claimed again when its lease has run out."""
        self._urgent.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            fields = {"topic": task.get_name(), "error": type(error).__name__}
            log.error("event failed", extra={"fields": fields}, exc_info=error)

    async def _end_urgent(self) -> None:
        if self._urgent:
            await asyncio.wait(self._urgent, timeout=_LAST_WORDS_S)
        left = list(self._urgent)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)  # their transactions are rolled back


def _job_of(event: outbox.Event) -> Job:
    return {
        "group_id": event.group_id,
        "event_id": str(event.id),
        "topic": event.topic,
        "payload": dict(event.payload),
        "attempts": event.attempts,
    }
