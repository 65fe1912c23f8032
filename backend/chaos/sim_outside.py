"""The outside of the simulation but for money, in this process: a message provider, meters.

The meters are the virtual site's, byte for byte, behind the product's own drivers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from backend.alerts.ports import Outgoing
from backend.kernel.clock import SetClock
from backend.kernel.errors import DomainError, Unavailable
from workers.bus_lease import BusLease, Hold
from workers.buses import Bus, Buses, OfGateway
from workers.drivers.access import Access
from workers.links.errors import LinkDown, NoAnswer
from workers.protocols.framing import Exchange, Framing, Script
from workers.virtual import rtu
from workers.virtual.bus import BusLine, VirtualBus
from workers.virtual.models import PLANNERS
from workers.virtual.store import MeterStore

from .fate import Fate, Send, Way

MODEL = "DDSY1352-NK"
_ANSWER = timedelta(seconds=2)
_FRAME = timedelta(milliseconds=60)
METER_FAULTS = (
    "lose_requests",
    "drop_answers",
    "drop_write_answers",
    "corrupt_answers",
    "double_answers",
)


class SimNotifier:
    """A message provider that counts."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self.taken = 0

    async def send(self, message: Outgoing, /) -> str:
        """See Notifier."""
        self._fate.at_send(Send.MESSAGE, Way.LEAVING)
        if self._fate.chance(0.05):
            raise Unavailable("the provider did not hear us")
        self.taken += 1
        self._fate.at_send(Send.MESSAGE, Way.DONE)
        return f"{message.key}:{self.taken}"


class _OwnLease(BusLease):
    """The only process there is has every bus."""

    def use(self, key: int) -> bool:
        """Ours."""
        return True

    def done(self, key: int) -> bool:
        """Nobody waits."""
        return False

    def hold(self, gateway_id: UUID) -> Hold:
        """A hold that costs nothing."""
        return Hold(self, 0)


class _Wire:
    """A link that is nothing but an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    async def play(self, script: Script) -> None:
        """See BusLink.play."""
        with closing(script), suppress(StopIteration):
            question = script.send(None)
            while True:
                try:
                    answer = await self.exchange(*question)
                except DomainError as failure:
                    question = script.throw(failure)
                else:
                    question = script.send(answer)

    async def close(self) -> None:
        """Nothing to close."""


class SimBuses(Buses):
    """The product's buses with virtual meters behind them instead of sockets."""

    def __init__(self, field: SimField, fate: Fate, clock: SetClock) -> None:
        super().__init__(_OwnLease(""), access=Access(clock=clock))
        self._field = field
        self._fate = fate
        self._clock = clock

    def _made(self, gateway: OfGateway) -> Bus:
        assert gateway.address is not None, "every gateway of the simulation is dialled"
        return Bus(
            gateway, self._lease, self._near, _Wire(partial(self._exchange, gateway.address))
        )

    async def _exchange(self, address: str, request: bytes, expected: Framing, /) -> bytes:
        """One question, one answer, on the virtual clock. Raises what a link raises."""
        send = Send.WRITE if rtu.RTU.writes(request) else Send.READ
        self._fate.at_send(send, Way.LEAVING)
        if address in self._field.offline:
            raise LinkDown("the gateway is offline")
        heard: list[bytes] = []

        async def say(frame: bytes) -> None:
            heard.append(frame)

        await BusLine(self._field.buses[address]).hear(request, say)
        self._fate.at_send(send, Way.DONE)
        self._clock.advance(_FRAME if heard else _ANSWER)
        frame, _ = expected.take(b"".join(heard)) if heard else (None, b"")
        if frame is None:
            raise NoAnswer("no answer in time")
        return frame


def of_cloud(serial: str) -> bool:
    """Whether the cloud holds the money of a meter of the simulation."""
    return serial.startswith("C-")


def _table(serial: str, unit: int) -> dict[str, Any]:
    cloud = of_cloud(serial)
    return {
        "serial": serial,
        "unit": unit,
        "average_w": 4_000 if cloud else 0,
        "remaining": "9000.00" if cloud else "20.00",
        "energy": "100",
    }


class SimField:
    """Virtual gateways by address, with their meters' memory in this process."""

    def __init__(self, addresses: Mapping[str, Sequence[str]], clock: SetClock) -> None:
        """`addresses`: the serials of the meters at units 1, 2, .. of each gateway. Power flows through
        those whose money the cloud holds; what a METER wallet is used for is another test."""
        self.store = MeterStore(Path(":memory:"))
        self.offline: set[str] = set()
        self.buses = {
            address: VirtualBus(
                [
                    PLANNERS[MODEL](_table(serial, unit)).build(self.store, clock)
                    for unit, serial in enumerate(serials, start=1)
                ],
                clock=clock,
            )
            for address, serials in addresses.items()
        }

    def meters(self) -> list[Any]:
        """Every meter."""
        return [meter for bus in self.buses.values() for meter in bus.meters.values()]

    def close(self) -> None:
        """Forget everything."""
        self.store.close()


class Queue:
    """Redis and arq as the relay knows them: jobs that are there until somebody flushes them."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []

    async def put_all(self, name: str, jobs: Sequence[dict[str, Any]]) -> None:
        """Keep the jobs."""
        self.jobs += jobs
        self.jobs.sort(key=lambda each: str(each["event_id"]))
