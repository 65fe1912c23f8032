"""A virtual site: gateways and meters from one TOML or JSON file, their memory in one folder.

[[gateways]]
serial = "GW-1"
host = "127.0.0.1"          # optional
port = 15020                # optional, 0 or absent: any free port
answer_delay_ms = 0         # optional: the pace of a real bus
dial = { server = "127.0.0.1:7101", registration = "860000000000001" }   # optional: a DTU before it;
                            # also heartbeat = "ping" and every_s = 30
serial_line = true          # optional: a terminal before the bus, to be opened as a serial port
echo = false                # optional: it gives back what is sent, as many RS-485 adapters do

[[gateways.meters]]
serial = "230000000001"
unit = 1
model = "DDSY1352-NK"       # optional; models.PLANNERS has them all
average_w = 800             # optional
seed = 1                    # optional, else from the serial
number = "230000000001"     # optional: what is printed on it, else the serial
energy = "1234.560"         # kWh at first start, optional
remaining = "20.00"         # yuan at first start, optional
purchase_count = 0          # at first start, optional
prices = ["1.2", "1.0", "0.6", "0.3"]   # yuan per kWh: spike, peak, flat, valley, optional
prepaid = true              # optional, DL/T 645: false holds no money and obeys orders alone
ct = 1                      # optional: the transformers before it, where the model has them
pt = 1

[[gateways.boxes]]          # a box with many users: a meter for each circuit, named SERIAL-ADDRESS
serial = "BOX-1"
size = 36                   # 36, 24 or 12 addresses
box = 1                     # optional: its place on the bus, counted from 1
three_phase = 4             # optional: circuits of three phases, three addresses each
single_phase = 12           # optional; other keys are those of each meter
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from backend.kernel.clock import Clock
from backend.kernel.errors import InvalidInput

from .bus import BusMeter
from .gateway import VirtualGateway
from .models import PLANNERS
from .plan import Dial, GatewayPlan, MeterPlan
from .serial_line import VirtualSerialLine
from .store import MeterStore

DEFAULT_MODEL = "DDSY1352-NK"


def load_site(path: Path) -> tuple[GatewayPlan, ...]:
    """The plan in a .toml or .json file. Raises InvalidInput naming the key at fault, OSError."""
    text = path.read_text(encoding="utf-8")
    try:
        tree = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as broken:  # both parsers' errors are ValueErrors
        raise InvalidInput(f"site file {path.name} cannot be parsed: {broken}") from broken
    return parse_site(tree)


def parse_site(tree: dict[str, Any]) -> tuple[GatewayPlan, ...]:
    """The plan of a parsed site file. Raises InvalidInput naming the key at fault."""
    gateways = tree.get("gateways")
    if not isinstance(gateways, list):
        raise InvalidInput("gateways: a list of gateways is missing", field="gateways")
    plans = tuple(_gateway(gateway, f"gateways[{index}]") for index, gateway in enumerate(gateways))
    serials = [meter.serial for plan in plans for meter in plan.meters]
    if len(set(serials)) != len(serials):
        raise InvalidInput("two meters have the same serial", field="gateways")
    return plans


def _gateway(tree: dict[str, Any], key: str) -> GatewayPlan:
    try:
        plan = GatewayPlan(
            serial=str(tree["serial"]),
            host=str(tree.get("host", "127.0.0.1")),
            port=int(tree.get("port", 0)),
            delay_ms=int(tree.get("answer_delay_ms", 0)),
            meters=tuple(_meters(tree, key)),
            dial=_dial(tree["dial"]) if "dial" in tree else None,
            serial_line=bool(tree.get("serial_line", False)),
            echo=bool(tree.get("echo", False)),
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise InvalidInput(f"{key}: {fault!r}", field=key) from fault
    addresses = [meter.bus_address for meter in plan.meters]
    if len(set(addresses)) != len(addresses):
        raise InvalidInput(f"{key}: two meters have the same unit", field=key)
    return plan


def _dial(tree: dict[str, Any]) -> Dial:
    host, _, port = str(tree["server"]).rpartition(":")
    return Dial(
        host=host,
        port=int(port),
        registration=str(tree["registration"]).encode("ascii"),
        heartbeat=str(tree.get("heartbeat", "ping")).encode("ascii"),
        every_s=float(tree.get("every_s", 30)),
    )


def _meters(tree: dict[str, Any], key: str) -> Iterator[MeterPlan]:
    for index, meter in enumerate(tree.get("meters", [])):
        yield _meter(meter, f"{key}.meters[{index}]")
    for index, box in enumerate(tree.get("boxes", [])):
        for circuit in _circuits(box):
            yield _meter(circuit, f"{key}.boxes[{index}]")


def _circuits(box: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The meters of a box: three-phase circuits first, three addresses each, then single-phase ones."""
    size, place = int(box.get("size", 36)), int(box.get("box", 1))
    three, single = int(box.get("three_phase", 0)), int(box.get("single_phase", 0))
    own = {"size", "box", "three_phase", "single_phase", "serial"}
    common = {name: value for name, value in box.items() if name not in own}
    unit = (place - 1) * size + 1
    if 3 * three + single > size:
        raise ValueError(f"{3 * three + single} addresses in a box of {size}")
    for model, count, step in (("ADF300-3P", three, 3), ("ADF300", single, 1)):
        for _ in range(count):
            yield {
                "model": model,
                "serial": f"{box['serial']}-{unit}",
                "number": str(box["serial"]),
                "unit": unit,
                "circuits": (three, single),
                **common,
            }
            unit += step


def _meter(tree: dict[str, Any], key: str) -> MeterPlan:
    model = tree.get("model", DEFAULT_MODEL)
    planner = PLANNERS.get(model)
    if planner is None:
        raise InvalidInput(
            f"{key}.model: {model} is not modelled; known: {', '.join(PLANNERS)}", field=key
        )
    try:
        return planner(tree)
    except (KeyError, TypeError, ValueError) as fault:
        raise InvalidInput(f"{key}: {fault!r}", field=key) from fault


class VirtualSite:
    """All gateways of a plan, live between `start` and `stop` (or inside `async with`)."""

    def __init__(self, plan: Iterable[GatewayPlan], *, data_dir: Path, clock: Clock) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.store = MeterStore(data_dir / "meters.sqlite3")
        self._clock = clock
        plans = tuple(plan)
        self.gateways = {gateway.serial: self._build(gateway) for gateway in plans}
        self.lines = {
            gateway.serial: VirtualSerialLine(self.gateways[gateway.serial].bus, echo=gateway.echo)
            for gateway in plans
            if gateway.serial_line
        }
        self.meters: dict[str, tuple[Any, VirtualGateway]] = {
            meter.serial: (meter, gateway)
            for gateway in self.gateways.values()
            for meter in gateway.meters.values()
        }

    async def start(self) -> None:
        """Take up every meter's memory, then listen. Raises OSError when a port is taken or no terminal
        is left."""
        await asyncio.to_thread(self._remember)
        for gateway in self.gateways.values():
            await gateway.start()
        for line in self.lines.values():
            line.start()

    def _remember(self) -> None:
        """What was kept goes to the meters, what is new is kept: one read, one transaction."""
        kept = self.store.load_all()
        fresh: dict[str, dict[str, Any]] = {}
        for serial, (meter, _) in self.meters.items():
            if serial in kept:
                meter.take_up(kept[serial])
            else:
                fresh[serial] = meter.memory()
        if fresh:
            self.store.keep_all(fresh)

    async def mishap(self, meter: BusMeter, action: str, arguments: dict[str, Any]) -> bool:
        """Let something happen to a meter once (bus.BusMeter.act) and keep what it led to.

        False: this meter knows no such action. Raises KeyError, TypeError, ValueError."""
        known = meter.act(action, arguments)
        if known:
            await asyncio.to_thread(self.store.keep_all, {meter.serial: meter.memory()})
        return known

    async def stop(self) -> None:
        """Close every port, pull every line and close the store."""
        for line in self.lines.values():
            await line.stop()
        for gateway in self.gateways.values():
            await gateway.stop()
        await asyncio.to_thread(self.store.close)

    async def __aenter__(self) -> VirtualSite:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _build(self, plan: GatewayPlan) -> VirtualGateway:
        return VirtualGateway(
            plan.serial,
            [meter.build(self.store, self._clock) for meter in plan.meters],
            host=plan.host,
            port=plan.port,
            clock=self._clock,
            delay_ms=plan.delay_ms,
        )
