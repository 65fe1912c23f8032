"""Redis is a bell: what it held when it was emptied, or a worker when it died, is handed on again (C12).

Trust.md section 4: expiries lost with Redis (blnk #336), tasks stuck for hours after a worker was killed
for want of memory (arq #343, #435, #498).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import func
from redis.exceptions import RedisError

from backend.kernel.clock import SystemClock
from backend.kernel.db import platform_connection, unit_of_work
from backend.outbox.operations import emit
from backend.sandbox.embedded.services import EmbeddedServices
from workers.heartbeat import is_fresh
from workers.job_queue import QUEUE_EVENTS, Job, JobQueue, JobWorker
from workers.main import TOPICS_OF
from workers.relay import Relay

from . import commanded
from .tap import pool_of, tapped
from .world import START, World, make_group


@pytest.fixture
async def redis(services: EmbeddedServices) -> AsyncIterator[ArqRedis]:
    """This worker's Valkey, empty; a call that it does not answer fails at once."""
    settings = RedisSettings.from_dsn(services.valkey.url)
    pool = await create_pool(settings, job_serializer=lambda job: json.dumps(job).encode())
    await pool.flushall()
    yield pool
    await pool.aclose()


async def told(world: World, *keys: str, topic: str = "message.send") -> None:
    """Events of the world wait."""
    async with unit_of_work(world.group_id) as work:
        for key in keys or ("one",):
            await emit(work, topic=topic, key=key, payload={"key": key}, at=START)


async def until(so: Callable[[], bool]) -> None:
    """Wait until it is so; fails the test when that takes ten seconds."""

    async def ask() -> bool:
        return so()

    await commanded.until(ask)


def working(services: EmbeddedServices, handle_event: Any, *, burst: bool = False) -> JobWorker:
    """A worker of the queue of events, as the product's reads it. `burst`: it ends with its work."""
    return JobWorker(
        functions=[func(handle_event, name="handle_event")],
        queue_name=QUEUE_EVENTS,
        redis_settings=RedisSettings.from_dsn(services.valkey.url),
        burst=burst,
        handle_signals=False,
        job_serializer=lambda job: json.dumps(job).encode(),
        job_deserializer=json.loads,
    )


def pauses(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What faults the relay outlived."""
    return [vars(r)["fields"]["error"] for r in caplog.records if r.msg == "relay pauses"]


async def nobody(job: Job) -> None:
    """Serves what no test asks to be served."""
    raise AssertionError(f"{job['topic']} is not urgent")


async def handed_on(relay: Relay, redis: ArqRedis, world: World, at: datetime) -> int:
    """How many jobs stand in Redis once the relay has looked at the world at `at`."""
    await relay.relay_group(world.group_id, at)
    found: int = await redis.zcard(QUEUE_EVENTS)
    return found


async def emptied(redis: ArqRedis) -> None:
    """Redis forgets everything."""
    await redis.flushall()


async def killed(redis: ArqRedis) -> None:
    """A worker took what was queued and was killed: Redis still knows the job by its id."""
    taken = await redis.zpopmin(QUEUE_EVENTS)
    assert await redis.exists(f"arq:job:{taken[0][0].decode()}")


@pytest.mark.parametrize("lose", [emptied, killed])
async def test_what_an_emptied_redis_or_a_dead_worker_held_is_handed_on_again_within_half_a_minute(
    worlds: tuple[World, World],
    services: EmbeddedServices,
    redis: ArqRedis,
    lose: Callable[[ArqRedis], Awaitable[None]],
) -> None:
    ours, theirs = worlds
    relay = Relay(dsn=services.app_dsn(), queue=JobQueue(redis), clock=ours.clock, serve=nobody)
    await told(ours)
    assert await handed_on(relay, redis, ours, START) == 1
    for tries in (1, 2, 3):
        begun = START + (tries - 1) * timedelta(seconds=30)
        await lose(redis)
        assert await handed_on(relay, redis, ours, begun + timedelta(seconds=20)) == 0
        assert await handed_on(relay, redis, ours, begun + timedelta(seconds=30)) == 1
    await lose(redis)
    assert await handed_on(relay, redis, theirs, START + timedelta(hours=1)) == 0


async def test_what_redis_does_not_take_is_handed_on_as_soon_as_it_is_back(
    worlds: tuple[World, World], services: EmbeddedServices, redis: ArqRedis
) -> None:
    ours, _theirs = worlds
    relay = Relay(dsn=services.app_dsn(), queue=JobQueue(redis), clock=ours.clock, serve=nobody)
    await told(ours)
    await asyncio.to_thread(services.valkey.stop)
    try:
        with pytest.raises((RedisError, OSError)):
            await relay.relay_group(ours.group_id, START)
    finally:
        await asyncio.to_thread(services.valkey.restart)
    await redis.flushall()
    assert await handed_on(relay, redis, ours, START + timedelta(seconds=1)) == 1


async def test_what_a_person_waits_for_is_begun_where_its_bell_is_heard_and_queued_when_there_is_no_room(
    worlds: tuple[World, World], services: EmbeddedServices, redis: ArqRedis
) -> None:
    ours, theirs = worlds
    begun: list[Job] = []
    done = asyncio.Event()

    async def serve(job: Job) -> None:
        async with unit_of_work(ours.group_id) as work:  # a transaction of its own, not the claim's
            assert await work.fetchval("SELECT 1") == 1
        begun.append(job)
        await done.wait()

    relay = Relay(
        dsn=services.app_dsn(), queue=JobQueue(redis), clock=ours.clock, serve=serve, room=2
    )
    await told(ours, "a", "b", "c", topic="command.due")
    await told(theirs, topic="command.due")
    assert await handed_on(relay, redis, ours, START) == 1
    await until(lambda: len(begun) == 2)
    assert {job["group_id"] for job in begun} == {ours.group_id}
    done.set()
    await until(lambda: not relay.under_way)
    assert await handed_on(relay, redis, theirs, START) == 1
    await until(lambda: len(begun) == 3)


async def test_long_work_goes_to_the_process_of_sweeps_at_its_time_and_all_else_to_the_other(
    worlds: tuple[World, World], services: EmbeddedServices, redis: ArqRedis
) -> None:
    ours, _theirs = worlds
    clock = SystemClock()
    served: list[tuple[str, str]] = []
    at = clock.now()
    async with unit_of_work(ours.group_id) as work:
        for topic in ("batch.due", "command.due", "sweep.due"):
            due_at = at + timedelta(milliseconds=100)
            await emit(work, topic=topic, key="later", payload={}, at=at, due_at=due_at)

    async def came(number: int) -> bool:
        """So much was served, one sweep of two was taken for the queue, and whoever asks for its health finds
        a worker that lives."""
        async with unit_of_work(ours.group_id) as work:
            taken: int = await work.fetchval(
                "SELECT count(leased_until) FROM outbox_event WHERE topic = 'sweep.due'"
            )
        return taken == 1 and len(served) >= number and await is_fresh(services.valkey.url)

    for only, number in (("sweeps", 1), ("events", 2)):

        async def serve(job: Job, only: str = only) -> None:
            if job["group_id"] == ours.group_id:  # other tests' groups left events behind
                served.append((only, job["topic"]))

        relay = Relay(
            dsn=services.app_dsn(),
            queue=JobQueue(redis),
            clock=clock,
            serve=serve,
            topics=TOPICS_OF[only],
            bells=only == "events",
        )
        running = asyncio.create_task(relay.run())
        try:
            await commanded.until(partial(came, number))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await redis.flushall()
        await told(ours, "again", topic="batch.due")
        await told(ours, "again", topic="sweep.due")
    assert served == [("sweeps", "batch.due"), ("events", "command.due")]


async def test_a_server_that_has_said_goodbye_and_not_hung_up_yet_ends_no_worker(
    services: EmbeddedServices,
    redis: ArqRedis,
    unique: str,
    superuser: asyncpg.Connection[asyncpg.Record],
    caplog: pytest.LogCaptureFixture,
) -> None:
    served: list[str] = []

    async def serve(job: Job) -> None:
        if job["group_id"] == ours.group_id:
            served.append(job["topic"])

    async with tapped(services.app_dsn()) as (dsn, tap), pool_of(dsn, 1):
        ours = await make_group(services, f"a{unique}")
        await make_group(services, f"b{unique}")
        relay = Relay(
            dsn=services.app_dsn(), queue=JobQueue(redis), clock=SystemClock(), serve=serve
        )
        running = asyncio.create_task(relay.run())
        try:
            await told(ours, "before", topic="command.due")
            await until(lambda: len(served) == 1)
            tap.keep_on_the_line()
            async with platform_connection() as connection:
                pid = await connection.fetchval("SELECT pg_backend_pid()")
                assert await superuser.fetchval("SELECT pg_terminate_backend($1)", pid)
                async with asyncio.timeout(10):
                    await tap.waiting.acquire()
                await superuser.fetchval("SELECT 1")  # meanwhile the last words have come in
            await until(lambda: running.done() or "InternalClientError" in pauses(caplog))
            tap.reopen()
            await told(ours, "after", topic="command.due")
            await until(lambda: running.done() or len(served) == 2)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert served == ["command.due", "command.due"]


async def test_what_failed_here_is_claimed_again_when_its_lease_has_run_out(
    worlds: tuple[World, World], services: EmbeddedServices, redis: ArqRedis
) -> None:
    ours, _theirs = worlds
    tries: list[int] = []

    async def serve(job: Job) -> None:
        tries.append(job["attempts"])
        raise ValueError("a fault of the handler")

    relay = Relay(dsn=services.app_dsn(), queue=JobQueue(redis), clock=ours.clock, serve=serve)
    await told(ours, topic="command.due")
    for number, seconds in enumerate((0, 20, 26), start=1):
        assert await handed_on(relay, redis, ours, START + timedelta(seconds=seconds)) == 0
        await until(lambda: not relay.under_way)
        assert len(tries) == (1 if number < 3 else 2)


async def test_what_is_queued_many_at_a_time_is_what_a_worker_of_arq_takes(
    services: EmbeddedServices, redis: ArqRedis
) -> None:
    taken: list[Job] = []

    async def handle_event(ctx: dict[Any, Any], *jobs: Any, **more: Any) -> None:
        taken.extend(jobs)

    jobs = [{"event_id": f"e-{number}", "attempts": 1, "group_id": number} for number in range(3)]
    queue = JobQueue(redis)
    await queue.put_all(QUEUE_EVENTS, jobs)
    await queue.put_all(QUEUE_EVENTS, jobs[:1])  # the same claim once more is the same job
    worker = working(services, handle_event, burst=True)
    await worker.async_run()
    await worker.close()
    assert sorted(taken, key=lambda job: job["event_id"]) == jobs


async def test_of_what_is_under_way_elsewhere_a_worker_asks_once_and_not_for_each(
    services: EmbeddedServices, redis: ArqRedis
) -> None:
    taken: list[str] = []

    async def handle_event(ctx: dict[Any, Any], job: Job) -> None:
        taken.append(job["event_id"])

    jobs = [{"event_id": f"e-{number}", "attempts": 1, "group_id": 1} for number in range(100)]
    await JobQueue(redis).put_all(QUEUE_EVENTS, jobs)
    for number in range(99):
        await redis.set(f"arq:in-progress:e-{number}:1", "1")
    await redis.config_resetstat()
    worker = working(services, handle_event)
    running = asyncio.create_task(worker.main())
    # A job that is cut off while it is written down as done would be a fault of this test.
    await until(lambda: bool(taken) and all(task.done() for task in worker.tasks.values()))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await worker.close()
    asked = await redis.info("commandstats")
    assert (taken, asked["cmdstat_watch"]["calls"]) == (["e-99"], 1)


async def test_what_a_person_waits_for_begins_at_its_time_and_not_at_the_next_tick(
    worlds: tuple[World, World],
    services: EmbeddedServices,
    redis: ArqRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.relay.TICK_S", 600.0)
    clock = SystemClock()
    due = {world.group_id: clock.now() + timedelta(seconds=1 + n) for n, world in enumerate(worlds)}
    begun: dict[int, datetime] = {}

    async def serve(job: Job) -> None:
        begun[job["group_id"]] = clock.now()

    for world in worlds:
        at, due_at = clock.now(), due[world.group_id]
        async with unit_of_work(world.group_id) as work:
            await emit(work, topic="batch.due", key="one", payload={}, at=at, due_at=due_at)
    relay = Relay(dsn=services.app_dsn(), queue=JobQueue(redis), clock=clock, serve=serve)
    running = asyncio.create_task(relay.run())
    await until(lambda: due.keys() <= begun.keys())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert all(begun[group_id] >= due_at for group_id, due_at in due.items())


async def test_a_bell_is_heeded_while_the_tick_takes_its_time(
    worlds: tuple[World, World],
    services: EmbeddedServices,
    redis: ArqRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = worlds
    begun: list[int] = []
    ticking = asyncio.Event()

    async def serve(job: Job) -> None:
        begun.append(job["group_id"])

    async def slow() -> None:
        ticking.set()
        await asyncio.Event().wait()

    relay = Relay(dsn=services.app_dsn(), queue=JobQueue(redis), clock=ours.clock, serve=serve)
    monkeypatch.setattr(relay, "_relay_due", slow)
    running = asyncio.create_task(relay.run())
    await ticking.wait()
    for number, world in enumerate((ours, theirs, ours), start=1):
        await told(world, f"bell-{number}", topic="command.due")
        await until(lambda number=number: len(begun) == number)  # type: ignore[misc] # bound now
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert begun == [ours.group_id, theirs.group_id, ours.group_id]
