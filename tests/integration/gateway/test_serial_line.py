"""A box with a serial port of its own: three protocols on one line, polled, sold to and sent to the cloud."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.uplink.message import Dar, Op, RelayState
from workers.virtual.site import VirtualSite, parse_site

from .conftest import PERIOD, Box, World
from .simulated_time import TrueClock

WALLET = {"remaining": "20.00", "purchase_count": 4}
METERS = (
    ("M-1", "DDSY1352-NK", {"unit": 1, **WALLET}, "1"),
    ("E-645", "GENERIC-645-2007", {"address": "000000000645"}, "000000000645"),
    ("W-188", "JICHENG-188-VALVE", {"address": "00000000000188"}, "00000000000188"),
)


@dataclass
class Bench:
    """Boxes and adapters of one test. An adapter's name under /dev stays, as udev keeps it; the terminal
    behind it comes and goes."""

    world: World
    dev: Path

    async def adapter(self, name: str) -> VirtualSite:
        """Meters of three protocols on a line, at `dev`/`name`."""
        meters: list[dict[str, Any]] = [
            {"serial": f"{name}-{serial}", "model": model, **more}
            for serial, model, more, _ in METERS
        ]
        gateway = {"serial": name, "meters": meters, "serial_line": True}
        plan, data = parse_site({"gateways": [gateway]}), self.world.tmp / f"{name}-meters"
        site = VirtualSite(plan, data_dir=data, clock=TrueClock(self.world.pace))
        await self.world.stack.enter_async_context(site)
        self.plug(site, name)
        return site

    def plug(self, site: VirtualSite, name: str) -> None:
        """Let the name lead to the terminal that there is now."""
        (self.dev / name).unlink(missing_ok=True)
        (self.dev / name).symlink_to(site.lines[name].path)

    def box(self, name: str, *adapters: str) -> Box:
        """A box, not yet started, with these adapters on its buses 1, 2 .."""
        lines = []
        for bus, adapter in enumerate(adapters, start=1):
            lines.append(f'[[buses]]\nnumber = {bus}\ndevice = "{self.dev / adapter}"\n')
            lines.append('baud = 9600\nparity = "even"\nanswer_ms = 250\n')
            for serial, model, _, address in METERS:
                lines.append(f'[[meters]]\nserial = "{serial}-{bus}"\nmodel = "{model}"\n')
                lines.append(f'bus = {bus}\naddress = "{address}"\n')
        file = self.world.tmp / f"{name}.toml"
        file.write_text("".join(lines))
        keys = self.world.enrolled(name)
        box = Box(name, self.world.tmp / name, file, keys, self.world.cloud, self.world.pace, [])
        self.world.stack.push_async_callback(box.stop)
        return box

    async def running(self, name: str, *adapters: str) -> Box:
        """A box that has swept and sent once."""
        box = self.box(name, *adapters)
        await box.start()
        await box.connected()
        await box.swept()
        await box.drained()
        return box


@pytest.fixture
async def bench(world: World) -> AsyncIterator[Bench]:
    dev = Path(tempfile.mkdtemp(prefix="shuidian-tty-", dir="/dev/shm"))
    yield Bench(world, dev)
    shutil.rmtree(dev)


async def test_a_serial_line_is_polled_and_its_readings_reach_the_cloud(bench: Bench) -> None:
    await bench.adapter("ttyRS485")
    box = await bench.running("a", "ttyRS485")
    stored = {read.meter: read for read in box.stored()}
    assert set(stored) == {"M-1-1", "E-645-1", "W-188-1"}
    assert stored["M-1-1"].wallet_fen == 2000
    assert stored["W-188-1"].volume_l is not None
    assert box.alive.alarms.names() == []


async def test_a_meter_on_a_serial_line_is_sold_to_and_switched_from_the_cloud(
    bench: Bench,
) -> None:
    await bench.adapter("ttyRS485")
    box = await bench.running("a", "ttyRS485")
    sale = await box.ask(Op.VEND, meter="M-1-1", purchase_no=5, amount_fen=5000)
    assert (sale.dar, sale.wallet_fen, sale.purchase_no) == (Dar.SUCCESS, 7000, 5)
    again = await box.ask(Op.VEND, meter="M-1-1", purchase_no=5, amount_fen=5000)
    assert (again.dar, again.wallet_fen) == (Dar.DUPLICATE, 7000)
    assert (await box.ask(Op.TRIP, meter="E-645-1")).relay is RelayState.OPEN
    assert (await box.ask(Op.TRIP, meter="W-188-1")).dar == Dar.SUCCESS


async def test_an_adapter_pulled_out_is_told_and_found_again_and_the_other_line_goes_on(
    bench: Bench,
) -> None:
    first = await bench.adapter("ttyA")
    await bench.adapter("ttyB")
    box = await bench.running("a", "ttyA", "ttyB")
    await first.lines["ttyA"].stop()
    await box.next_period()
    await box.idle()
    sweeps, name = box.alive.poller.sweeps, bench.dev / "ttyA"
    assert sweeps[1].down.startswith(f"{name} is not there: is the adapter plugged in?")
    assert (sweeps[2].down, sweeps[2].read) == ("", 3)
    assert box.alive.alarms.names() == ["BUS_DOWN 1"]
    shown = box.alive.status.shown()["buses"]
    assert [(bus["down"], bus["error"]) for bus in shown] == [(True, sweeps[1].down), (False, "")]
    refused = await box.ask(Op.VEND, meter="M-1-1", purchase_no=5, amount_fen=5000)
    assert refused.dar == Dar.NOT_SENT
    first.lines["ttyA"].start()
    bench.plug(first, "ttyA")
    await box.pass_time(timedelta(minutes=1))
    await box.until(lambda: box.alive.alarms.names() == [])
    assert (sweeps[1].read, sweeps[1].down) == (3, "")


async def test_two_agents_never_share_a_line_and_the_second_is_told_why(bench: Bench) -> None:
    await bench.adapter("ttyA")
    await bench.adapter("ttyB")
    first = await bench.running("a", "ttyA")
    second = bench.box("b", "ttyA", "ttyB")
    await second.start()
    await second.connected()
    await second.swept()
    sweeps = second.alive.poller.sweeps
    assert f"{bench.dev / 'ttyA'} is in use by another program" in sweeps[1].down
    assert sweeps[2].read == 3
    await first.stop()
    await second.pass_time(PERIOD)
    await second.swept()
    assert sweeps[1].read == 3
