"""Redis is a bell: what it held when it was emptied, or a worker when it died, is handed on again (C12).

Trust.md section 4: expiries lost with Redis (blnk #336), tasks stuck for hours after a worker was killed
for want of memory (arq #343, #435, #498).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool
from redis.exceptions import RedisError

from backend.kernel.db import unit_of_work
from backend.outbox.operations import emit
from backend.sandbox.embedded.services import EmbeddedServices
from workers.relay import QUEUE_EVENTS, Relay

from .world import START, World


@pytest.fixture
async def redis(services: EmbeddedServices) -> AsyncIterator[ArqRedis]:
    """This worker's Valkey, empty; a call that it does not answer fails at once."""
    settings = RedisSettings.from_dsn(services.valkey.url)
    pool = await create_pool(settings, job_serializer=lambda job: json.dumps(job).encode())
    await pool.flushall()
    yield pool
    await pool.aclose()


async def told(world: World) -> None:
    """One event of the world waits."""
    async with unit_of_work(world.group_id) as work:
        await emit(work, topic="payment.noticed", key="one", payload={}, at=START)


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
    relay = Relay(dsn=services.app_dsn(), redis=redis, clock=ours.clock)
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
    relay = Relay(dsn=services.app_dsn(), redis=redis, clock=ours.clock)
    await told(ours)
    await asyncio.to_thread(services.valkey.stop)
    try:
        with pytest.raises((RedisError, OSError)):
            await relay.relay_group(ours.group_id, START)
    finally:
        await asyncio.to_thread(services.valkey.restart)
    await redis.flushall()
    assert await handed_on(relay, redis, ours, START + timedelta(seconds=1)) == 1
