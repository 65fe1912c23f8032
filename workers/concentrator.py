"""`shuidian links`: the process that holds every line somebody dials in on.

One process holds them at a time, by a session-level advisory lock of PostgreSQL; others wait and take
over when it dies, for the lock ends with its connection. Whoever loses the lock lets go of everything.
Other processes reach a held line through the inner door (workers/links/door.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.kernel.clock import Clock
from backend.kernel.db import DATABASE_AWAY, Database, connect
from backend.kernel.errors import InvalidInput
from backend.kernel.secrets import SecretBox
from backend.kernel.settings import HostPort, Settings
from backend.metering.dial_in import BELL
from workers.concentrator_records import AllowList, Chronicle
from workers.links.dialin.acrel4g import Acrel4g
from workers.links.dialin.acrel_gateway import AcrelGateway
from workers.links.dialin.dtu import Dtu
from workers.links.dialin.line import Lines
from workers.links.dialin.listener import Listener
from workers.links.dialin.ports import DialInProtocol, Limits, UploadInbox
from workers.links.door import SHORTEST_TOKEN, Command, Door

log = logging.getLogger(__name__)

_LOCK_CLASS, _LOCK_KEY = 7284, 1
_TRY_EVERY_S = 1.0
_CHECK_EVERY_S = 2.0
_CHECK_WITHIN_S = 5.0
_BEAT_EVERY_S = 10.0
_FRESH_S = 30


@dataclass(frozen=True, slots=True)
class LinkPorts:
    """Where the holder listens; None: not at all."""

    door: int
    dtu: int | None
    acrel_gateway: int | None
    acrel_4g: int | None


@dataclass(frozen=True, slots=True)
class Joined:
    """What others bring into this process.

    `command` answers for sealed gateways, `inbox` keeps what meters send unasked, `part` runs while this
    process is the holder, `ready` is told the ports each time it becomes so.
    """

    command: Command | None = None
    inbox: UploadInbox | None = None
    part: Callable[[], Coroutine[Any, Any, None]] | None = None
    limits: Limits = field(default_factory=Limits)
    ready: Callable[[LinkPorts], None] | None = None


async def run_links(
    settings: Settings,
    *,
    clock: Clock,
    stop: asyncio.Event | None = None,
    joined: Joined | None = None,
) -> None:
    """Wait for the lock, hold the lines, until SIGTERM or SIGINT (or `stop`).

    Raises InvalidInput when the door has no address or no token.
    """
    if settings.links_door is None:
        raise InvalidInput("SHUIDIAN_LINKS_DOOR is not set", field="SHUIDIAN_LINKS_DOOR")
    if len(settings.links_token) < SHORTEST_TOKEN:
        raise InvalidInput(
            f"SHUIDIAN_LINKS_TOKEN needs {SHORTEST_TOKEN} characters or more",
            field="SHUIDIAN_LINKS_TOKEN",
        )
    await Database.open(settings.database_url, pool_max=10)
    beating = asyncio.create_task(_beat(settings.redis_url))
    try:
        await hold_links(settings, clock=clock, stop=stop or _stop_signals(), joined=joined)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await Database.close()


async def hold_links(
    settings: Settings, *, clock: Clock, stop: asyncio.Event, joined: Joined | None = None
) -> None:
    """As `run_links`, on a database that is open already and without a sign of life."""
    while not stop.is_set():
        try:
            async with _the_lock(settings.database_url, stop) as lock:
                if lock is not None:
                    await _hold(settings, clock, lock, stop, joined or Joined())
        except DATABASE_AWAY as failure:  # OSError too: a port of the holder before
            log.warning("links pause", extra={"fields": {"error": str(failure)}})
            await _wait(stop, _TRY_EVERY_S)


async def is_fresh(redis_url: str) -> bool:
    """Whether this host's links process, holder or standby, said within thirty seconds that it lives."""
    redis = Redis.from_url(redis_url)
    try:
        return bool(await redis.exists(_key()))
    except (RedisError, OSError):
        return False
    finally:
        await redis.aclose()


class _Lock:
    """The connection whose session holds the lock."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self.connection = connection
        self.lost = asyncio.Event()
        connection.add_termination_listener(lambda _: self.lost.set())

    async def watch(self) -> None:
        """Ask the server now and then: a connection can be dead without an end."""
        while not self.lost.is_set():
            await _wait(self.lost, _CHECK_EVERY_S)
            try:
                await self.connection.execute("SELECT 1", timeout=_CHECK_WITHIN_S)
            except DATABASE_AWAY:
                self.lost.set()


@asynccontextmanager
async def _the_lock(dsn: str, stop: asyncio.Event) -> AsyncIterator[_Lock | None]:
    """The lock as soon as nobody else has it; None when `stop` comes first."""
    connection: asyncpg.Connection[Any] = await connect(dsn, within_s=_CHECK_WITHIN_S)
    try:
        while not stop.is_set():
            sql = "SELECT pg_try_advisory_lock($1, $2)"
            if await connection.fetchval(sql, _LOCK_CLASS, _LOCK_KEY, timeout=_CHECK_WITHIN_S):
                yield _Lock(connection)
                return
            await _wait(stop, _TRY_EVERY_S)
        yield None
    finally:
        connection.terminate()


async def _hold(
    settings: Settings, clock: Clock, lock: _Lock, stop: asyncio.Event, joined: Joined
) -> None:
    """Serve until `stop` or until the lock is lost. Raises OSError when a port is taken."""
    chronicle = Chronicle(clock=clock, inbox=joined.inbox)
    lines = Lines(watch=chronicle)
    allowed = AllowList(SecretBox(settings.secret_keys))

    async def listen(
        link: str, place: HostPort | None, make: Callable[[], DialInProtocol]
    ) -> int | None:
        if place is None:
            return None
        listener = Listener(
            link, make=make, directory=allowed, lines=lines, watch=chronicle, limits=joined.limits
        )
        stack.push_async_callback(listener.stop)
        await listener.start(*place)
        return listener.port

    async with contextlib.AsyncExitStack() as stack:
        door = Door(token=settings.links_token, lines=lines, command=joined.command)
        stack.push_async_callback(door.stop)
        assert settings.links_door is not None
        await door.start(*settings.links_door)
        dtu = await listen("DTU", settings.dtu_listen, Dtu)
        gateway = await listen(
            "ACREL_GATEWAY", settings.acrel_gateway_listen, lambda: AcrelGateway(now=clock.now)
        )
        meter = await listen("ACREL_4G", settings.acrel_4g_listen, lambda: Acrel4g(now=clock.now))
        ports = LinkPorts(door.port, dtu, gateway, meter)
        await lock.connection.add_listener(BELL, lambda *rung: _changed(lines, str(rung[-1])))
        log.info("links held", extra={"fields": {"ports": str(ports)}})
        if joined.ready is not None:
            joined.ready(ports)
        parts = [chronicle.run(), lock.watch(), _drop_silent(lines, joined.limits)]
        if joined.part is not None:
            parts.append(joined.part())
        await _until(stop, lock.lost, [asyncio.create_task(part) for part in parts])


async def _until(stop: asyncio.Event, lost: asyncio.Event, parts: list[asyncio.Task[None]]) -> None:
    """Until one of the events, or until a part fails (its failure is raised)."""
    waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(lost.wait())]
    tasks: list[asyncio.Task[Any]] = [*parts, *waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _drop_silent(lines: Lines, limits: Limits) -> None:
    while True:
        await asyncio.sleep(limits.look_every_s)
        lines.drop_silent()


def _changed(lines: Lines, payload: str) -> None:
    """The row of a gateway changed: whoever it is now must register anew."""
    lines.drop(UUID(payload), reason="its registration was set anew")


async def _beat(redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    try:
        while True:
            with contextlib.suppress(RedisError, OSError):
                await redis.set(_key(), "1", ex=_FRESH_S)
            await asyncio.sleep(_BEAT_EVERY_S)
    finally:
        await redis.aclose()


def _key() -> str:
    return f"shuidian:links:{socket.gethostname()}"


async def _wait(event: asyncio.Event, longest_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await event.wait()


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    return stop
