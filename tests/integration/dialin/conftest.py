"""A yard with every listener open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.kernel.clock import SetClock
from workers.links.dialin.acrel4g import Acrel4g
from workers.links.dialin.acrel_gateway import AcrelGateway
from workers.links.dialin.dtu import Dtu
from workers.virtual.site import VirtualSite, parse_site

from .yard import HOST, LIMITS, Yard, make_yard

START = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def site_plan(*serials: str) -> list[dict[str, object]]:
    """Gateways with two meters each; every meter holds another energy and money."""
    return [
        {
            "serial": serial,
            "meters": [
                {
                    "serial": f"23{index:04d}{unit:06d}",
                    "unit": unit,
                    "remaining": f"{10 * index + unit}.00",
                    "purchase_count": 4,
                    "energy": f"{1000 * index + unit}.50",
                    "average_w": 0,
                }
                for unit in (1, 2)
            ],
        }
        for index, serial in enumerate(serials, start=1)
    ]


TONGUES = {
    "serial": "GW-3",
    "meters": [
        {"serial": "645", "address": "112233445566", "model": "GENERIC-645-2007"},
        {"serial": "188", "address": "00000012345678", "model": "GENERIC-188-WATER"},
        {"serial": "rtu", "unit": 1},
    ],
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[VirtualSite]:
    """Two virtual gateways, one whose meters speak three protocols, and a clock that stands still."""
    clock = SetClock(START)
    plan = parse_site({"gateways": [*site_plan("GW-1", "GW-2"), TONGUES]})
    async with VirtualSite(plan, data_dir=tmp_path, clock=clock) as site:
        yield site


@pytest.fixture
async def yard(site: VirtualSite) -> AsyncIterator[Yard]:
    """Listeners of every kind, and the door."""
    made = make_yard(site, SetClock(START))
    await made.door.start(HOST, 0)
    await made.listen("DTU", Dtu, LIMITS)
    await made.listen("ACREL_4G", lambda: Acrel4g(now=made.clock.now), LIMITS)
    await made.listen("ACREL_GATEWAY", lambda: AcrelGateway(now=made.clock.now), LIMITS)
    yield made
    await made.close()
