"""DL/T 645 and CJ/T 188 meters mixed on one bus: each under its own unit, valves by the same commands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from backend.uplink.message import Dar, Op, RelayState
from workers.gateway.identity import IdentityFile
from workers.virtual.site import VirtualSite, parse_site

from .conftest import Box, World
from .simulated_time import TrueClock

METERS = (
    ("E-645", "GENERIC-645-2007", "000000000645", {"energy": "12.345", "remaining": "20.00"}),
    ("W-188", "JICHENG-188-VALVE", "00000000000188", {"volume": "7.000"}),
    ("H-188", "GENERIC-188-HEATCOLD", "00000000000189", {"energy": "3.000"}),
)


async def mixed_box(world: World) -> Box:
    """A running box with one meter of each kind on one bus."""
    meters: list[dict[str, Any]] = [
        {"serial": serial, "model": model, "address": address, **more}
        for serial, model, address, more in METERS
    ]
    plan = parse_site({"gateways": [{"serial": "mixed", "meters": meters}]})
    virtual = VirtualSite(plan, data_dir=world.tmp / "mixed-meters", clock=TrueClock(world.pace))
    site = await world.stack.enter_async_context(virtual)
    bus = site.gateways["mixed"]
    lines = [f'[[buses]]\nnumber = 1\ntcp = "127.0.0.1:{bus.port}"\n']
    lines += [
        f'[[meters]]\nserial = "{serial}"\nmodel = "{model}"\nbus = 1\naddress = "{address}"\n'
        for serial, model, address, _ in METERS
    ]
    file = world.tmp / "mixed.toml"
    file.write_text("\n".join(lines))
    keys = world.enrolled("mixed")
    box = Box("mixed", world.tmp / "mixed", file, keys, world.cloud, world.pace, [bus])
    world.stack.push_async_callback(box.stop)
    assert IdentityFile(box.data).exists
    await box.start()
    await box.connected()
    await box.swept()
    await box.drained()
    return box


async def test_each_kind_comes_under_its_own_unit(world: World) -> None:
    box = await mixed_box(world)
    stored = {read.meter: read for read in box.stored()}
    assert stored["E-645"].energy_wh == 12_340, "the meter shows hundredths of a kWh"
    assert stored["W-188"].volume_l == 7_000
    assert stored["H-188"].heat_wh is not None
    assert stored["H-188"].cold_wh is not None
    assert stored["W-188"].energy_wh is stored["H-188"].volume_l is None


async def test_a_valve_obeys_the_same_commands_and_is_read_back(world: World) -> None:
    box = await mixed_box(world)
    for op, relay in ((Op.TRIP, RelayState.OPEN), (Op.CLOSE, RelayState.CLOSED)):
        assert (await box.ask(op, meter="W-188")).dar == Dar.SUCCESS
        world.pace.advance(timedelta(minutes=1))  # a valve takes its time to turn
        assert (await box.ask(Op.READ, meter="W-188")).relay is relay
    assert (await box.ask(Op.TRIP, meter="H-188")).dar == Dar.NOT_SUPPORTED
    assert (await box.ask(Op.WALLET, meter="W-188")).dar == Dar.NOT_SUPPORTED
    sale = await box.ask(Op.VEND, meter="W-188", purchase_no=1, amount_fen=1)
    assert sale.dar == Dar.NOT_SUPPORTED


async def test_a_645_relay_is_tripped_and_closed_again(world: World) -> None:
    box = await mixed_box(world)
    assert (await box.ask(Op.TRIP, meter="E-645")).relay is RelayState.OPEN
    world.pace.advance(timedelta(seconds=1))
    assert (await box.ask(Op.CLOSE, meter="E-645")).relay is RelayState.CLOSED
