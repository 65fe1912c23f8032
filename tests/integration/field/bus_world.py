"""A virtual bus of DL/T 645 and CJ/T 188 meters, on a real socket or on a wire in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.kernel.clock import SetClock
from workers.drivers.access import Access
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver
from workers.links.errors import NoAnswer
from workers.links.lane import Lane, Priority
from workers.links.line import Timing
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.protocols.errors import FrameError
from workers.protocols.framing import Framing
from workers.virtual.bus import BusLine, BusMeter, VirtualBus
from workers.virtual.cjt188_meter import ML, Spec188, State188, Virtual188
from workers.virtual.dlt645_meter import Spec645, Virtual645
from workers.virtual.dlt645_state import State645
from workers.virtual.esam import SoftwareEsam, SoftwareKeyMachine, new_master
from workers.virtual.gateway import VirtualGateway
from workers.virtual.store import MeterStore

START_S = 1_795_312_800  # 2026-11-22 10:00:00 in China
FAST = Timing(answer_s=0.25, connect_s=1.0, drain_s=0.25, silence_s=0.0)
ADDRESS_645 = "230000000645"
ADDRESS_97 = "230000000097"
ADDRESS_188 = "33780011223344"


@dataclass
class Bus:
    """The meters, their clock, the store of their memory, and what a driver needs."""

    line: VirtualBus
    clock: SetClock
    store: MeterStore
    link: TcpLink
    lane: Lane

    @asynccontextmanager
    async def driver(
        self, model: str, address: str, access: Access | None = None
    ) -> AsyncIterator[Driver]:
        """The driver of a meter, for one turn of the lane."""
        async with self.lane.turn(Priority.READ) as exchange:
            given = access or Access(clock=self.clock)
            yield driver_of(profile_of(model), address, exchange, given)


@asynccontextmanager
async def served(
    meters: Iterable[BusMeter], *, clock: SetClock, store: MeterStore, timing: Timing = FAST
) -> AsyncIterator[Bus]:
    """The meters behind a TCP port, as behind a transparent serial server."""
    gateway = VirtualGateway("GW-BUS", meters, host="127.0.0.1", port=0, clock=clock)
    await gateway.start()
    link = TcpLink("127.0.0.1", gateway.port, timing=timing)
    try:
        yield Bus(gateway.bus, clock, store, link, Lane(link.exchange))
    finally:
        await link.close()
        await gateway.stop()


class Wire:
    """An Exchange without a socket: what is said comes at once or never. For many short trials."""

    def __init__(self, meters: Iterable[BusMeter], clock: SetClock) -> None:
        self._line = BusLine(VirtualBus(meters, clock=clock))

    async def __call__(self, request: bytes, expected: Framing, /) -> bytes:
        said: list[bytes] = []

        async def say(frame: bytes) -> None:
            said.append(frame)

        await self._line.hear(request, say)
        frame, _ = expected.take(b"".join(said))
        if frame is None:
            raise NoAnswer("nothing came")
        return frame


def electric(
    store: MeterStore, clock: SetClock, master: bytes | None = None, **given: Any
) -> Virtual645:
    """A prepaid 645-2007 meter with 20 yuan, four sales and 1234.56 kWh; `given` for its Spec645."""
    address = str(given.pop("address", ADDRESS_645))
    state = State645(
        as_of=START_S,
        energy_ws=(0, 0, 123_456 * 36_000, 0),
        balance_hao=200_000,
        count=4,
        customer=address,
    )
    spec = Spec645(serial=f"E-{address}", address=address, **given)
    esam = None if master is None else SoftwareEsam(master, address)
    return Virtual645(spec, state, store=store, clock=clock, esam=esam)


def water(store: MeterStore, clock: SetClock, **given: Any) -> Virtual188:
    """A valve water meter with 1,234.56 m3; `given` for its Spec188."""
    values = {"serial": "W-1", "address": ADDRESS_188, "valve": True, **given}
    spec = Spec188(**values)
    state = State188(as_of=START_S, flowed=1_234_560_000 * ML)
    return Virtual188(spec, state, store=store, clock=clock)


def key_machine() -> tuple[bytes, SoftwareKeyMachine]:
    """A fresh master key and the machine that holds it."""
    master = new_master()
    return master, SoftwareKeyMachine(master)


def store_in(folder: Path) -> MeterStore:
    """The meters' memory in `folder`."""
    return MeterStore(folder / "meters.sqlite3")


BROKEN = (NoAnswer, FrameError)
