"""arq's queues, written and looked through many jobs at a time.

arq's own `enqueue_job` asks Redis three times for each job; when a sweep of five hundred gateways is due, a
command behind it would wait for that. What is written here is what arq 0.28 writes: its worker reads it in
tests/integration/test_relay.py. Its worker asks as often for each job that waits or is under way anywhere,
five times a second; JobWorker asks once for all that are under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from arq.worker import Worker

from workers.heartbeat import beat

QUEUE_EVENTS = "shuidian:events:v1"
QUEUE_SWEEPS = "shuidian:sweeps:v1"
Job = dict[str, Any]
_KEPT_MS = 24 * 3600 * 1000  # of a job that no worker took; its event is claimed again long before


class JobQueue:
    """Where the relay puts what it does not do itself."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def put_all(self, name: str, jobs: Sequence[Job]) -> None:
        """Put events in a queue, all or none. A job's id is a hint against queueing one claim twice.

        Raises RedisError, OSError.
        """
        now_ms = timestamp_ms()
        async with self._redis.pipeline(transaction=True) as pipe:
            for job in jobs:
                job_id = f"{job['event_id']}:{job['attempts']}"
                written = serialize_job(
                    "handle_event", (job,), {}, None, now_ms, serializer=self._redis.job_serializer
                )
                pipe.psetex(job_key_prefix + job_id, _KEPT_MS, written)
                pipe.zadd(name, {job_id: now_ms})
            await pipe.execute()

    async def beat(self) -> None:
        """See heartbeat.beat. Raises RedisError."""
        await beat(self._redis)


class JobWorker(Worker):
    """arq's worker for a queue of which much is under way in other processes, or was when they died."""

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start what nobody has begun. Who begins one in between is seen by arq's own question."""
        if job_ids:
            marks = [in_progress_key_prefix + each.decode() for each in job_ids]
            begun = await self.pool.mget(marks)
            job_ids = [each for each, mark in zip(job_ids, begun, strict=True) if mark is None]
        await super().start_jobs(job_ids)
