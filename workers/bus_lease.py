"""A bus has one speaker over all processes: a session-level advisory lock of PostgreSQL.

The lock ends with its connection, so a killed process blocks nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from backend.kernel.db import connect
from backend.kernel.errors import Unavailable
from backend.kernel.together import Together

_TRY_EVERY_S = 0.05
_TAKE_WITHIN_S = 20.0
_GIVE_WAY_S = 0.03
_LOCK_CLASS = 7283
_WANTED = "bus_wanted"


class BusBusy(Unavailable):
    """Another worker process held the bus for too long; try again later."""

    code = "BUS_BUSY"


class Hold:
    """One turn's hold on a bus, as an asynchronous context manager (a class: a generator costs more,
    and every meter of a sweep has its turn)."""

    __slots__ = ("_key", "_lease")

    def __init__(self, lease: BusLease, key: int) -> None:
        self._lease = lease
        self._key = key

    @property
    def keeps(self) -> bool:
        """Whether the turn may go on: the lease is still ours, and nobody else waits for it."""
        lease = self._lease
        return self._key in lease.held and self._key not in lease.wanted

    def seize(self) -> bool:
        """Hold the bus if this process has it; whoever holds it must `leave`. Better: `async with`."""
        return self._lease.use(self._key)

    async def wait(self) -> None:
        """Get the bus from another process, and hold it as after `seize`. Raises BusBusy."""
        held = False
        try:
            await self._lease.take(self._key)
            held = True
        finally:
            if not held:
                self._lease.done(self._key)

    def leave(self) -> bool:
        """The turn is over; True when another process waits for the bus: then `give` it."""
        return self._lease.done(self._key)

    async def give(self) -> None:
        """Give the bus to whoever waits for it."""
        await asyncio.shield(self._lease.give(self._key))

    async def __aenter__(self) -> None:
        if not self.seize():
            await self.wait()

    async def __aexit__(self, *failure: object) -> None:
        if self.leave():
            await self.give()


class BusLease:
    """Advisory locks on one dedicated connection; many buses fit on it.

    A lock is kept after its turn until another process asks for it (NOTIFY), so that a sweep does not
    pay two round trips to PostgreSQL for each meter.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection[Any] | None = None
        self._asking = asyncio.Lock()
        # A batch wants hundreds of buses at once, which a sweep has: one question is of all that wait for
        # the one before.
        self._try = Together(self._try_all, most=1000)
        self._call = Together(self._call_all, most=1000)
        self._free = Together(self._free_all, most=1000)
        self.held: set[int] = set()
        """The buses that are ours."""
        self._in_use: set[int] = set()
        self.wanted: set[int] = set()
        """The buses that another process waits for."""
        self._giving: set[asyncio.Task[None]] = set()

    def hold(self, gateway_id: UUID) -> Hold:
        """Hold the bus of a gateway over all processes: `async with lease.hold(id):`.

        A lane lets one task of this process hold it at a time. Raises BusBusy after 20 s.
        """
        return Hold(self, int.from_bytes(gateway_id.bytes[-4:], "big", signed=True))

    def use(self, key: int) -> bool:
        """Mark a bus as in use; False when it must be taken first. Only `Hold` calls these three."""
        self._in_use.add(key)
        return key in self.held

    def done(self, key: int) -> bool:
        """Mark a bus as free; True when another process waits for it."""
        self._in_use.discard(key)
        return key in self.wanted

    async def take(self, key: int) -> None:
        """Take a bus from whoever has it. Raises BusBusy."""
        try:
            async with asyncio.timeout(_TAKE_WITHIN_S):
                for pause in _pauses():
                    if await self._try(key):
                        self.held.add(key)
                        return
                    await self._call(key)
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise BusBusy("another worker holds this bus") from None
        finally:
            # Stopped in the middle of asking, it may have become ours: giving back does no harm.
            if key not in self.held:
                await asyncio.shield(self.give(key))

    async def give(self, key: int) -> None:
        """Give a bus to whoever asked for it."""
        self.held.discard(key)
        self.wanted.discard(key)
        await self._free(key)
        # Who asked for it comes first: without this pause our next turn would take it again at once.
        await asyncio.sleep(_GIVE_WAY_S)

    async def _try_all(self, keys: Sequence[int]) -> list[bool]:
        got = await self._ask(
            "SELECT array_agg(pg_try_advisory_lock($1, k.key) ORDER BY k.no)"
            " FROM unnest($2::integer[]) WITH ORDINALITY AS k(key, no)",
            _LOCK_CLASS,
            keys,
        )
        return list(got)

    async def _call_all(self, keys: Sequence[int]) -> list[None]:
        """Tell whoever has the buses that they are wanted."""
        await self._ask(
            "SELECT count(pg_notify($1, k.key)) FROM unnest($2::text[]) AS k(key)",
            _WANTED,
            [str(key) for key in set(keys)],
        )
        return [None] * len(keys)

    async def _free_all(self, keys: Sequence[int]) -> list[None]:
        await self._ask(
            "SELECT count(pg_advisory_unlock($1, k.key)) FROM unnest($2::integer[]) AS k(key)",
            _LOCK_CLASS,
            keys,
        )
        return [None] * len(keys)

    async def _ask(self, sql: str, *arguments: object) -> Any:
        async with self._asking:
            if self._connection is None or self._connection.is_closed():
                self.held.clear()  # the locks ended with their connection
                self._connection = await connect(self._dsn)
                self._connection.add_termination_listener(lambda _: self.held.clear())
                await self._connection.add_listener(_WANTED, self._hear)
            return await self._connection.fetchval(sql, *arguments)

    def _hear(self, _connection: object, process: int, _channel: str, payload: object) -> None:
        """Somebody wants a bus: give it back now, or after the turn that is under way."""
        connection = self._connection
        if connection is None or connection.is_closed():
            return
        key = int(str(payload))
        if process == connection.get_server_pid() or key not in self.held:
            return
        self.wanted.add(key)
        if key not in self._in_use:
            giving = asyncio.get_running_loop().create_task(self._give_when_free(key))
            self._giving.add(giving)
            giving.add_done_callback(self._giving.discard)

    async def _give_when_free(self, key: int) -> None:
        if key in self.wanted and key not in self._in_use:
            await self.give(key)

    async def close(self) -> None:
        """Give every bus back."""
        for giving in list(self._giving):
            giving.cancel()
        if self._connection is not None:
            await self._connection.close()


def _pauses() -> Iterator[float]:
    pause = 0.005
    while True:
        yield pause
        pause = min(2 * pause, _TRY_EVERY_S)
