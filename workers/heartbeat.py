"""A worker says that it lives, by host, so that a container's health check can ask."""

from __future__ import annotations

import socket

from redis.asyncio import Redis
from redis.exceptions import RedisError

_FRESH_S = 30


def _key() -> str:
    return f"shuidian:worker:{socket.gethostname()}"


async def beat(redis: Redis) -> None:
    """Say it again; it counts for thirty seconds. Raises RedisError."""
    await redis.set(_key(), "1", ex=_FRESH_S)


async def is_fresh(redis_url: str) -> bool:
    """Whether this host's worker said so within thirty seconds."""
    redis = Redis.from_url(redis_url)
    try:
        return bool(await redis.exists(_key()))
    except (RedisError, OSError):
        return False
    finally:
        await redis.aclose()
