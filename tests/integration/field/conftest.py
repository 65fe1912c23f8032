"""A small virtual site on real sockets, with a clock that stands still until told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.kernel.clock import SetClock
from workers.drivers.modbus import ModbusDriver
from workers.links.line import Timing
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.virtual.gateway import VirtualGateway
from workers.virtual.prepaid import PrepaidMeter
from workers.virtual.site import VirtualSite, parse_site

FAST = Timing(answer_s=0.25, connect_s=1.0, drain_s=0.25, silence_s=0.0)
START = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


@dataclass
class Field:
    """The site under test, its clock and a link to its gateway."""

    site: VirtualSite
    clock: SetClock
    link: TcpLink

    @property
    def gateway(self) -> VirtualGateway:
        return self.site.gateways["GW-1"]

    def meter(self, unit: int = 1) -> PrepaidMeter:
        meter = self.gateway.meters[str(unit)]
        assert isinstance(meter, PrepaidMeter)
        return meter

    def driver(self, unit: int = 1) -> ModbusDriver:
        return ModbusDriver(profile_of("DDSY1352-NK"), unit, self.link.exchange)


PLAN = {
    "gateways": [
        {
            "serial": "GW-1",
            "meters": [
                {
                    "serial": "230000000001",
                    "unit": 1,
                    "remaining": "20.00",
                    "purchase_count": 4,
                    "energy": "1234.56",
                    "average_w": 800,
                },
                {"serial": "230000000002", "unit": 2, "remaining": "0", "average_w": 800},
            ],
        }
    ]
}


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    clock = SetClock(START)
    async with AsyncExitStack() as stack:
        site = VirtualSite(parse_site(PLAN), data_dir=tmp_path, clock=clock)
        await stack.enter_async_context(site)
        link = TcpLink("127.0.0.1", site.gateways["GW-1"].port, timing=FAST)
        stack.push_async_callback(link.close)
        yield Field(site, clock, link)
