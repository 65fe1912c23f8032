"""The buses a worker process speaks on: one lane a gateway here, one speaker at a time everywhere.

Inside a process a lane orders turns by urgency (C22), between processes a lease keeps a bus to one
speaker (bus_lease.py). Whatever link a gateway has, its meters are drivers of the same ports.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Protocol
from uuid import UUID

from backend.metering.rules import GatewayLink
from workers.bus_lease import BusLease, Hold
from workers.drivers.access import Access
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver
from workers.links.door import DoorAddress
from workers.links.door_link import DoorLink
from workers.links.errors import LinkDown
from workers.links.lane import Lane, Priority
from workers.links.line import BusLink
from workers.links.remote import RemoteMeter
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.protocols.framing import Exchange, Framing, Script, asked
from workers.remote_command import RemoteCommand


class OfGateway(Protocol):
    """What a link needs to know of a gateway."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def link(self) -> str:
        """A GatewayLink."""
        ...

    @property
    def address(self) -> str | None:
        """host:port when it is dialled."""
        ...


class OnBus(Protocol):
    """What a driver needs to know of a meter."""

    @property
    def profile(self) -> str:
        """The name of its model."""
        ...

    @property
    def bus_address(self) -> str:
        """In the form of its protocol."""
        ...

    @property
    def serial(self) -> str:
        """As our own gateways know it."""
        ...


class Link(Protocol):
    """What a bus is spoken on by; see BusLink."""

    @property
    def exchange(self) -> Exchange:
        """One question and its answer."""
        ...

    async def play(self, script: Script) -> None:
        """Ask what a script asks until it ends."""
        ...

    async def close(self) -> None:
        """Drop the connection."""
        ...


_Make = Callable[[OnBus, Exchange], Driver]


class Turn:
    """What can be done with a bus that is held."""

    def __init__(self, lane: Lane, hold: Hold, make: _Make, link: Link | None) -> None:
        self._lane = lane
        self._hold = hold
        self._make = make
        self._link = link
        self._exchange = _no_bytes if link is None else link.exchange

    def driver(self, meter: OnBus) -> Driver:
        """The driver of a meter on this bus. Raises NotFound (a model without a profile)."""
        return self._make(meter, self._exchange)

    def scripted(self, meter: OnBus) -> Driver:
        """As `driver`, for a script that is played: what it awaits of this driver are questions alone."""
        return self._make(meter, asked)

    @property
    def wanted(self) -> bool:
        """Whether somebody else waits for this bus, here or in another process: a long series ends then,
        and goes on in another turn."""
        return bool(self._lane.waiting) or not self._hold.keeps

    def wanted_before(self, priority: Priority) -> bool:
        """Whether somebody more urgent than `priority` waits in this process."""
        waiting = self._lane.waiting
        return bool(waiting) and waiting[0][0] < priority

    @property
    def wanted_elsewhere(self) -> bool:
        """Whether another process waits for this bus, or has it; how urgently, nobody here knows."""
        return not self._hold.keeps

    async def play(self, script: Script) -> None:
        """Do a long series with no task between its exchanges; see BusLink.play. A gateway of ours, that
        takes commands, is simply awaited."""
        if self._link is None:
            await script
        else:
            await self._link.play(script)


class Bus:
    """One gateway's bus: its lane in this process, its lease among all."""

    def __init__(self, gateway: OfGateway, lease: BusLease, make: _Make, link: Link | None) -> None:
        """`make` gives the driver of a meter; `link` is what it speaks by, to be closed at the end
        (None: a gateway of ours, which is sent commands instead of bytes)."""
        self.place = (gateway.link, gateway.address)
        self._lane = Lane(_no_bytes if link is None else link.exchange)
        self._hold = lease.hold(gateway.id)  # one for all turns: the lane lets one in at a time
        self._turn = Turn(self._lane, self._hold, make, link)
        self._link = link

    def turn(self, priority: Priority) -> BusTurn:
        """Hold the bus for a series of exchanges, a short one or one that ends when the bus is `wanted`:
        `async with bus.turn(..) as turn:`.

        Raises BusBusy.
        """
        return BusTurn(self._lane, priority, self._hold, self._turn)

    async def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._link is not None:
            await self._link.close()


class BusTurn:
    """The lane's turn and the lease's hold as one, as an asynchronous context manager."""

    __slots__ = ("_hold", "_lane", "_priority", "_turn")

    def __init__(self, lane: Lane, priority: Priority, hold: Hold, turn: Turn) -> None:
        self._lane = lane
        self._priority = priority
        self._hold = hold
        self._turn = turn

    async def __aenter__(self) -> Turn:
        lane = self._lane
        if not lane.seize():
            await lane.wait(self._priority)
        held = False
        try:
            if not self._hold.seize():
                await self._hold.wait()
            held = True
        finally:
            if not held:
                lane.leave()
        return self._turn

    async def __aexit__(self, *failure: object) -> None:
        try:
            await self._hold.__aexit__(*failure)
        finally:
            self._lane.leave()


class Buses:
    """Buses by gateway. A gateway whose link or address changes gets a new one."""

    def __init__(self, lease: BusLease, *, access: Access, door: DoorAddress | None = None) -> None:
        """`door`: where the process is that holds the lines of gateways that dial in."""
        self._lease = lease
        self._access = access
        self._door = door
        self._buses: dict[UUID, Bus] = {}
        # A driver holds nothing of its meter's: one serves all meters of a model at the same address.
        self._scripted = lru_cache(maxsize=4096)(self._of_script)

    async def bus(self, gateway: OfGateway) -> Bus:
        """The bus of `gateway`. Raises LinkDown when no line can lead to it."""
        known = self._buses.get(gateway.id)
        if known is not None and known.place == (gateway.link, gateway.address):
            return known
        bus = self._buses[gateway.id] = self._made(gateway)
        if known is not None:
            await known.close()
        return bus

    def _made(self, gateway: OfGateway) -> Bus:
        if gateway.address is None and self._door is None:
            raise LinkDown("this gateway dials in, and SHUIDIAN_LINKS_DOOR is not set")
        if gateway.link == GatewayLink.UPLINK and self._door is not None:
            command = RemoteCommand(self._door, gateway.id)
            return Bus(gateway, self._lease, partial(self._remote, command), None)
        link: BusLink
        if gateway.address is not None:
            host, _, port = gateway.address.rpartition(":")
            link = TcpLink(host, int(port), numbered=gateway.link == GatewayLink.MODBUS_TCP)
        else:
            assert self._door is not None
            link = DoorLink(self._door, gateway.id)
        return Bus(gateway, self._lease, self._near, link)

    def _near(self, meter: OnBus, exchange: Exchange) -> Driver:
        if exchange is asked:
            return self._scripted(meter.profile, meter.bus_address)
        return driver_of(profile_of(meter.profile), meter.bus_address, exchange, self._access)

    def _of_script(self, model: str, bus_address: str) -> Driver:
        return driver_of(profile_of(model), bus_address, asked, self._access)

    def _remote(self, command: RemoteCommand, meter: OnBus, _exchange: Exchange) -> Driver:
        return RemoteMeter(
            model=meter.profile, serial=meter.serial, command=command, clock=self._access.clock
        )

    async def close(self) -> None:
        """Drop every connection."""
        for bus in self._buses.values():
            await bus.close()
        await self._lease.close()


async def _no_bytes(request: bytes, expected: Framing, /) -> bytes:
    raise LinkDown("a gateway of ours takes commands, not the bytes of its buses")
