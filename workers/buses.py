"""The buses a worker process speaks on: one lane a gateway here, one speaker at a time everywhere.

Inside a process a lane orders turns by urgency (C22). Between processes a session-level advisory lock
of PostgreSQL keeps a bus to one speaker: it ends with its connection, so a killed worker blocks nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from backend.kernel.errors import Unavailable
from backend.metering.models import Gateway, Meter
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver
from workers.links.errors import LinkDown
from workers.links.lane import Lane, Priority
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.protocols.framing import Exchange

_TRY_EVERY_S = 0.05
_TRIES = 400
_LOCK_CLASS = 7283


class BusBusy(Unavailable):
    """Another worker process held the bus for too long; try again later."""

    code = "BUS_BUSY"


class BusLease:
    """Advisory locks on one dedicated connection; many buses fit on it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection[Any] | None = None
        self._asking = asyncio.Lock()

    @asynccontextmanager
    async def hold(self, gateway_id: UUID) -> AsyncIterator[None]:
        """Hold the bus of a gateway over all processes. Raises BusBusy after 20 s."""
        key = int.from_bytes(gateway_id.bytes[-4:], "big", signed=True)
        try:
            await self._take(key)
            yield
        finally:
            # Also when cancelled in the middle of asking: giving back what is not held is harmless.
            await asyncio.shield(self._ask("SELECT pg_advisory_unlock($1, $2)", key))

    async def _take(self, key: int) -> None:
        for _ in range(_TRIES):
            if await self._ask("SELECT pg_try_advisory_lock($1, $2)", key):
                return
            await asyncio.sleep(_TRY_EVERY_S)
        raise BusBusy("another worker holds this bus")

    async def _ask(self, sql: str, key: int) -> bool:
        async with self._asking:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._dsn)
            answer: bool = await self._connection.fetchval(sql, _LOCK_CLASS, key)
            return answer

    async def close(self) -> None:
        """Give every bus back."""
        if self._connection is not None:
            await self._connection.close()


class Turn:
    """The bus of a gateway, held for one short series of exchanges."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def driver(self, meter: Meter) -> Driver:
        """The driver of a meter on this bus. Raises NotFound (a model without a profile)."""
        return driver_of(profile_of(meter.profile), meter.bus_address, self._exchange)


class Buses:
    """Lanes by gateway. A gateway whose address changes gets a new link."""

    def __init__(self, lease: BusLease) -> None:
        self._lease = lease
        self._lanes: dict[UUID, tuple[str, TcpLink, Lane]] = {}

    @asynccontextmanager
    async def turn(self, *, gateway: Gateway, priority: Priority) -> AsyncIterator[Turn]:
        """Hold the bus of `gateway` for one short series of exchanges. Raises BusBusy, LinkDown."""
        if gateway.address is None:
            raise LinkDown("no line leads to this gateway")
        lane = await self._lane(gateway.id, gateway.address)
        async with lane.turn(priority) as exchange, self._lease.hold(gateway.id):
            yield Turn(exchange)

    async def _lane(self, gateway_id: UUID, address: str) -> Lane:
        known = self._lanes.get(gateway_id)
        if known is not None and known[0] == address:
            return known[2]
        host, _, port = address.rpartition(":")
        link = TcpLink(host, int(port))
        lane = Lane(link.exchange)
        self._lanes[gateway_id] = (address, link, lane)
        if known is not None:
            await known[1].close()
        return lane

    async def close(self) -> None:
        """Drop every connection."""
        for _, link, _ in self._lanes.values():
            await link.close()
        await self._lease.close()
