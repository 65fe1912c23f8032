"""A listener, a door and virtual boxes on real sockets; who may dial in is a list in memory.

What the database adds (whose id, cases, one holder) is tested in test_concentrator.py.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from backend.kernel.clock import SetClock
from backend.kernel.errors import Unavailable
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver
from workers.links.dialin.line import Lines
from workers.links.dialin.listener import Listener
from workers.links.dialin.ports import DialInProtocol, DialInRow, Limits, Report, Upload
from workers.links.door import Door, DoorAddress
from workers.links.door_link import DoorLink
from workers.links.line import Timing
from workers.profiles.loader import profile_of
from workers.virtual.dialin import VirtualDtu
from workers.virtual.gateway import VirtualGateway
from workers.virtual.site import VirtualSite

HOST = "127.0.0.1"
WITHIN_S = 5.0
FAST = Timing(answer_s=0.3, connect_s=WITHIN_S, drain_s=0.05, silence_s=0.0)
LIMITS = Limits(
    register_s=0.5, settle_s=0.02, owed_s=0.8, look_every_s=0.02, burst=8192, strangers=40
)


class Allowed:
    """The allow-list; a Directory."""

    def __init__(self) -> None:
        self.rows: list[DialInRow] = []
        self.unreadable = False

    async def find(
        self, link: str, candidates: Sequence[bytes], /, *, whole: bool
    ) -> DialInRow | None:
        """See Directory.find."""
        if self.unreadable:
            raise Unavailable("the list cannot be read")
        rows = [row for row in self.rows if row.link == link]
        longest = candidates[-1]
        if not whole and any(
            row.registration.startswith(longest) and row.registration != longest for row in rows
        ):
            return None
        fit = [row for row in rows if row.registration in candidates]
        return max(fit, key=lambda row: len(row.registration), default=None)


class Told:
    """Everything a Watch is told, to be waited for."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def _say(self, *what: Any) -> None:
        async def wake() -> None:
            async with self._news:
                self._news.notify_all()

        self.said.append(what)
        task = asyncio.get_running_loop().create_task(wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def until(self, what: str, *, times: int = 1) -> tuple[Any, ...]:
        """The last of `times` things of that name, as soon as they were said."""

        def found() -> list[tuple[Any, ...]]:
            return [said for said in self.said if said[0] == what]

        async with asyncio.timeout(WITHIN_S), self._news:
            await self._news.wait_for(lambda: len(found()) >= times)
        return found()[times - 1]

    def connected(self, row: DialInRow, /, *, replaced: bool) -> None:
        """See Watch."""
        self._say("connected", row, replaced)

    def disconnected(self, row: DialInRow, /, *, reason: str) -> None:
        """See Watch."""
        self._say("disconnected", row, reason)

    def unknown(self, link: str, opening: bytes, address: str, /) -> None:
        """See Watch."""
        self._say("unknown", link, opening, address)

    def refused(self, row: DialInRow, address: str, /, *, reason: str) -> None:
        """See Watch."""
        self._say("refused", row, address, reason)

    def turned_away(self, link: str, address: str, /, *, reason: str) -> None:
        """See Watch."""
        self._say("turned away", link, address, reason)

    def broken(self, row: DialInRow, /, *, reason: str) -> None:
        """See Watch."""
        self._say("broken", row, reason)

    def uploaded(self, row: DialInRow, sent: Upload | Report, /) -> None:
        """See Watch."""
        self._say("uploaded", row, sent)


@dataclass
class Yard:
    """What a test of lines stands on."""

    site: VirtualSite
    clock: SetClock
    told: Told
    allowed: Allowed
    lines: Lines
    door: Door
    token: str
    listeners: dict[str, Listener] = field(default_factory=dict)
    links: list[DoorLink] = field(default_factory=list)
    boxes: list[VirtualDtu] = field(default_factory=list)

    async def listen(self, link: str, make: Callable[[], DialInProtocol], limits: Limits) -> None:
        """Open a port for dial-ins of `link`; it takes the place of the one before."""
        if link in self.listeners:
            await self.listeners[link].stop()
        listener = Listener(
            link,
            make=make,
            directory=self.allowed,
            lines=self.lines,
            watch=self.told,
            limits=limits,
        )
        await listener.start(HOST, 0)
        self.listeners[link] = listener

    async def dtu(
        self, row: DialInRow, *, serial: str = "GW-1", dial: bool = True, **more: Any
    ) -> VirtualDtu:
        """A virtual DTU before a virtual gateway, connected and registered."""
        box = VirtualDtu(
            server=self.server(), bus=self.bus(serial), registration=row.registration, **more
        )
        self.boxes.append(box)
        if dial:
            before = len([said for said in self.told.said if said[0] == "connected"])
            await box.dial()
            await self.told.until("connected", times=before + 1)
        return box

    async def close(self) -> None:
        """Everything, boxes first."""
        for box in self.boxes:
            await box.hang_up()
        for link in self.links:
            await link.close()
        for listener in self.listeners.values():
            await listener.stop()
        await self.door.stop()

    def bus(self, serial: str = "GW-1") -> tuple[str, int]:
        """Where the bus of a virtual gateway listens."""
        return HOST, self.gateway(serial).port

    def gateway(self, serial: str = "GW-1") -> VirtualGateway:
        """A virtual gateway, with its faults."""
        return self.site.gateways[serial]

    def server(self, link: str = "DTU") -> tuple[str, int]:
        """Where boxes dial in."""
        return HOST, self.listeners[link].port

    def allow(self, registration: bytes, *, link: str = "DTU", **more: Any) -> DialInRow:
        """Put a gateway on the list."""
        row = DialInRow(1, uuid4(), uuid4(), "GW", link, registration)
        self.allowed.rows.append(replace(row, **more))
        return self.allowed.rows[-1]

    @property
    def address(self) -> DoorAddress:
        """The door as workers know it."""
        return DoorAddress(HOST, self.door.port, self.token)

    def link(self, gateway_id: UUID, *, timing: Timing = FAST) -> DoorLink:
        """A worker's link to a gateway."""
        self.links.append(DoorLink(self.address, gateway_id, timing=timing))
        return self.links[-1]

    def driver(self, row: DialInRow, *, unit: int | str = 1, model: str = "DDSY1352-NK") -> Driver:
        """The real driver of a meter, by the door."""
        link = self.link(row.gateway_id)
        return driver_of(profile_of(model), str(unit), link.exchange)


def make_yard(site: VirtualSite, clock: SetClock) -> Yard:
    """A yard whose door and listeners are not started."""
    told, token = Told(), secrets.token_hex(16)
    lines = Lines(watch=told)
    door = Door(token=token, lines=lines, opening_s=0.5)
    return Yard(site, clock, told, Allowed(), lines, door, token)
