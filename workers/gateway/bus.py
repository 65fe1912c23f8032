"""The buses of this box: one lane each, and the drivers of the meters on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.kernel.clock import Clock
from workers.drivers.access import Access
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver
from workers.links.lane import Lane, Priority
from workers.links.line import BusLink, Timing
from workers.links.serial import SerialLink
from workers.links.serial_port import SerialPort
from workers.links.tcp import TcpLink

from .site import BusPlan, MeterPlan, Site


class Buses:
    """The lanes and links of `site`. Connections are made when they are asked for."""

    def __init__(self, site: Site, *, clock: Clock) -> None:
        self.site = site
        self._access = Access(clock=clock)
        self._links = {number: _link(bus) for number, bus in site.buses.items()}
        self._lanes = {number: Lane(link.exchange) for number, link in self._links.items()}

    def meter(self, serial: str) -> MeterPlan | None:
        """The meter, None when it is not in the site file."""
        return self.site.meters.get(serial)

    def meters_of(self, bus: int) -> list[MeterPlan]:
        """The meters on a bus, in the order of the site file."""
        return [meter for meter in self.site.meters.values() if meter.bus == bus]

    @asynccontextmanager
    async def turn(self, meter: MeterPlan, priority: Priority) -> AsyncIterator[Driver]:
        """Wait for the meter's bus and hold it for one short series of exchanges."""
        async with self._lanes[meter.bus].turn(priority) as exchange:
            yield driver_of(meter.profile, meter.address, exchange, self._access)

    async def close(self) -> None:
        """Drop every connection."""
        for link in self._links.values():
            await link.close()


def _link(bus: BusPlan) -> BusLink:
    if isinstance(bus.by, SerialPort):
        return SerialLink(bus.by, answer_s=bus.answer_s)
    timing = Timing(answer_s=bus.answer_s)
    return TcpLink(bus.by.host, bus.by.port, timing=timing, numbered=bus.by.modbus_tcp)
