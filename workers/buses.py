"""The buses a worker process speaks on: one lane a gateway here, one speaker at a time everywhere.

Inside a process a lane orders turns by urgency (C22), between processes a lease keeps a bus to one
speaker (bus_lease.py). Whatever link a gateway has, its meters are drivers of the same ports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from backend.metering.models import Gateway
from backend.metering.rules import GatewayLink
from workers.bus_lease import BusLease
from workers.drivers.access import Access
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver
from workers.links.door import DoorAddress
from workers.links.door_link import DoorLink
from workers.links.errors import LinkDown
from workers.links.lane import Lane, Priority
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.protocols.framing import Exchange


class Turn:
    """The bus of a gateway, held for one short series of exchanges."""

    def __init__(self, exchange: Exchange, access: Access) -> None:
        self._exchange = exchange
        self._access = access

    def driver(self, *, profile: str, bus_address: str) -> Driver:
        """The driver of a meter on this bus. Raises NotFound (a model without a profile)."""
        return driver_of(profile_of(profile), bus_address, self._exchange, self._access)


@dataclass(frozen=True, slots=True)
class _Bus:
    """A gateway's lane, and where it led when it was made."""

    place: tuple[str, str | None]
    link: TcpLink
    lane: Lane


class Buses:
    """Lanes by gateway. A gateway whose link or address changes gets a new one."""

    def __init__(self, lease: BusLease, *, access: Access, door: DoorAddress | None = None) -> None:
        """`door`: where the process is that holds the lines of gateways that dial in."""
        self._lease = lease
        self._access = access
        self._door = door
        self._buses: dict[UUID, _Bus] = {}

    @asynccontextmanager
    async def turn(self, *, gateway: Gateway, priority: Priority) -> AsyncIterator[Turn]:
        """Hold the bus of `gateway` for one short series of exchanges. Raises BusBusy, LinkDown."""
        bus = await self._bus(gateway)
        async with bus.lane.turn(priority) as exchange, self._lease.hold(gateway.id):
            yield Turn(exchange, self._access)

    async def _bus(self, gateway: Gateway) -> _Bus:
        place = (gateway.link, gateway.address)
        known = self._buses.get(gateway.id)
        if known is not None and known.place == place:
            return known
        link = self._link(gateway)
        bus = self._buses[gateway.id] = _Bus(place, link, Lane(link.exchange))
        if known is not None:
            await known.link.close()
        return bus

    def _link(self, gateway: Gateway) -> TcpLink:
        if gateway.address is not None:
            host, _, port = gateway.address.rpartition(":")
            return TcpLink(host, int(port), numbered=gateway.link == GatewayLink.MODBUS_TCP)
        if self._door is None:
            raise LinkDown("this gateway dials in, and SHUIDIAN_LINKS_DOOR is not set")
        return DoorLink(self._door, gateway.id)

    async def close(self) -> None:
        """Drop every connection."""
        for bus in self._buses.values():
            await bus.link.close()
        await self._lease.close()
