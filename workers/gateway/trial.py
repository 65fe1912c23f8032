"""Every meter of a site file read once, without keys and without the cloud: is it wired and set right?"""

from __future__ import annotations

from collections.abc import AsyncIterator

from backend.kernel.clock import Clock
from backend.kernel.errors import Conflict
from workers.drivers.ports import MeterSnapshot
from workers.links.errors import LinkDown, NoAnswer
from workers.links.lane import Priority
from workers.links.serial_port import SerialPort
from workers.protocols.errors import FrameError, MeterRefused

from .bus import Buses
from .site import BusPlan, MeterPlan, Site

_UNITS = {"electricity": "Wh", "water": "L"}


async def try_meters(site: Site, *, clock: Clock) -> AsyncIterator[tuple[bool, str]]:
    """Whether all is well with a bus or meter, and a line that says so; bus by bus, as it is tried."""
    buses = Buses(site, clock=clock)
    try:
        for bus in site.buses.values():
            yield True, f"bus {bus.number}: {_place(bus)}"
            for meter in buses.meters_of(bus.number):
                try:
                    async with buses.turn(meter, Priority.READ) as driver:
                        snapshot = await driver.read()
                except LinkDown as down:
                    yield False, f"  {down.message}"
                    break
                except (NoAnswer, FrameError, MeterRefused, Conflict) as error:
                    yield False, f"  {meter.serial}: {error.code}, {error.message}"
                else:
                    yield True, f"  {meter.serial}: {_shown(meter, snapshot)}"
    finally:
        await buses.close()


def _place(bus: BusPlan) -> str:
    by = bus.by
    if isinstance(by, SerialPort):
        echo = ", echo" if by.echo else ""
        return f"{by.device}, {by.baud} 8{by.parity[0].upper()}{by.stop_bits}{echo}"
    return f"{by.host}:{by.port}{', Modbus TCP' if by.modbus_tcp else ''}"


def _shown(meter: MeterPlan, snapshot: MeterSnapshot) -> str:
    money = "" if snapshot.remaining is None else f", {snapshot.remaining} yuan"
    unit = _UNITS.get(meter.profile.kind, "Wh")
    return f"{meter.profile.model}, {snapshot.total} {unit}{money}, relay {snapshot.relay}"
