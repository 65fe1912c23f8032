"""One client of the lane benchmarks, in a process of its own: `python -m tests.bench.lane_client ARGS`.

    product PORT CONNECTIONS EXCHANGES [SILENT_FROM]   our lane, link, driver and decode, on uvloop;
                                                       2 % of the meters of every second gateway silent
    pymodbus PORT CONNECTIONS EXCHANGES                pymodbus's asynchronous client, on uvloop

Prints {"cpu_s":.., "wall_s":.., "sum":..}; product adds the ends of each gateway's sweep.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import uvloop
from pymodbus.client import AsyncModbusTcpClient

from backend.kernel.clock import SystemClock
from backend.metering.on_buses import SweptMeter
from workers.drivers.modbus import ModbusDriver
from workers.drivers.ports import Driver
from workers.links.lane import Lane, Priority
from workers.links.line import Timing
from workers.links.tcp import TcpLink
from workers.main import settle_memory
from workers.profiles.loader import load_profile
from workers.protocols.framing import asked
from workers.round import Round

REGISTERS = 40
TIMEOUT_S = 1.0


_METER = UUID(int=1)


class _Held:
    """A lane that is held, as the worker's buses give it to a round."""

    def __init__(self, lane: Lane, drivers: Mapping[str, Driver]) -> None:
        self._lane = lane
        self._drivers = drivers

    def scripted(self, meter: SweptMeter, /) -> Driver:
        """The driver at the meter's address."""
        return self._drivers[meter.bus_address]

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the lane."""
        return bool(self._lane.waiting)


async def product(port: int, connections: int, exchanges: int, silent_from: int) -> list[float]:
    """The worker's own round of each gateway's units, a silent one asked once at the cost of its time-out;
    then what was taken is decoded, by the code of the sweep, which does it once a bus is free again and a
    connection is there to store it. The ends of their rounds."""
    settle_memory()
    profile = load_profile(Path(__file__).parent / "poll40.toml")
    timing = Timing(answer_s=TIMEOUT_S, least_s=TIMEOUT_S)
    links = [TcpLink("127.0.0.1", port, timing=timing, numbered=True) for _ in range(connections)]
    lanes = [Lane(link.exchange) for link in links]
    clock, each = SystemClock(), exchanges // connections
    drivers = {str(unit): ModbusDriver(profile, unit, asked) for unit in range(1, 248)}
    silent = each // 50 if silent_from else 0

    def meters(index: int) -> list[SweptMeter]:
        units = [
            silent_from + number % 8 if number < (silent if index % 2 else 0) else 1 + number % 100
            for number in range(each)
        ]
        return [SweptMeter(_METER, "M", profile.model, str(unit), tries=1) for unit in units]

    async def sweep(index: int, lane: Lane) -> float:
        asking = rounds[index]
        async with lane.turn(Priority.READ):
            await links[index].play(asking.script(_Held(lane, drivers)))
        assert asking.over
        return time.perf_counter() - started

    async def connect(lane: Lane) -> None:
        async with lane.turn(Priority.READ) as exchange:
            await ModbusDriver(profile, 1, exchange).read()

    await asyncio.gather(*map(connect, lanes))
    rounds = [Round(meters(index), clock.now) for index in range(connections)]
    _start()
    started = time.perf_counter()
    ends = await asyncio.gather(*[sweep(index, lane) for index, lane in enumerate(lanes)])
    for index, asking in enumerate(rounds):
        assert len(list(asking.snapshots())) == each - (silent if index % 2 else 0)
    _stop(ends)
    for link in links:
        await link.close()
    return ends


async def pymodbus(port: int, connections: int, exchanges: int) -> None:
    """The same registers by pymodbus, its own time-outs and no retry."""
    clients = [
        AsyncModbusTcpClient("127.0.0.1", port=port, timeout=TIMEOUT_S, retries=0)
        for _ in range(connections)
    ]
    for client in clients:
        await client.connect()

    async def sweep(client: AsyncModbusTcpClient) -> None:
        for number in range(exchanges // connections):
            answer = await client.read_holding_registers(
                0x0200, count=REGISTERS, device_id=1 + number % 100
            )
            if answer.isError():
                raise RuntimeError(str(answer))

    _start()
    await asyncio.gather(*map(sweep, clients))
    _stop([])
    for client in clients:
        client.close()


_begun: list[tuple[float, float]] = []


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _start() -> None:
    _begun.append((_cpu(), time.perf_counter()))


def _stop(ends: list[float]) -> None:
    cpu, wall = _begun.pop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    figures = {
        "cpu_s": _cpu() - cpu,
        "wall_s": time.perf_counter() - wall,
        "ends_s": sorted(ends),
        "peak_mb": peak,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def main() -> None:
    """Run the client that the arguments name."""
    name, port, connections, exchanges, *rest = sys.argv[1:]
    silent_from = int(rest[0]) if rest else 0
    if name == "product":
        uvloop.run(product(int(port), int(connections), int(exchanges), silent_from))
    else:
        uvloop.run(pymodbus(int(port), int(connections), int(exchanges)))


if __name__ == "__main__":
    main()
