"""A virtual site: gateways and meters from one TOML or JSON file, their wallets in one folder.

[[gateways]]
serial = "GW-1"
host = "127.0.0.1"          # optional
port = 15020                # optional, 0 or absent: any free port
answer_delay_ms = 0         # optional: the pace of a real bus

[[gateways.meters]]
serial = "230000000001"
unit = 1
model = "DDSY1352-NK"       # optional, the only one today
average_w = 800             # optional
seed = 1                    # optional, else from the serial
energy = "1234.560"         # kWh at first start, optional
remaining = "20.00"         # yuan at first start, optional
purchase_count = 0          # at first start, optional
prices = ["1.2", "1.0", "0.6", "0.3"]   # yuan per kWh: spike, peak, flat, valley, optional
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from zlib import crc32

from backend.kernel.clock import Clock
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money

from .gateway import VirtualGateway
from .load import LoadModel
from .meter import VirtualMeter
from .state import MeterSpec, MeterState
from .store import MeterStore

MODEL = "DDSY1352-NK"
_PRICES = ("0.6", "0.6", "0.6", "0.6")
_WS_PER_WH = 3600


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """A meter and what it holds when it first starts (energy in Wh, in the flat band)."""

    spec: MeterSpec
    energy_wh: int
    remaining: Money
    purchase_count: int


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """A gateway and the meters on its bus."""

    serial: str
    host: str
    port: int
    delay_ms: int
    meters: tuple[MeterPlan, ...]


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
    serials = [meter.spec.serial for plan in plans for meter in plan.meters]
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
            meters=tuple(
                _meter(meter, f"{key}.meters[{index}]")
                for index, meter in enumerate(tree.get("meters", []))
            ),
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise InvalidInput(f"{key}: {fault!r}", field=key) from fault
    units = [meter.spec.unit for meter in plan.meters]
    if len(set(units)) != len(units):
        raise InvalidInput(f"{key}: two meters have the same unit", field=key)
    return plan


def _meter(tree: dict[str, Any], key: str) -> MeterPlan:
    try:
        serial, unit = str(tree["serial"]), int(tree["unit"])
        spike, peak, flat, valley = (Money.parse(p).hao for p in tree.get("prices", _PRICES))
        # kWh and yuan are both decimal strings; a kWh with four decimals is 0.1 Wh.
        energy_wh = Money.parse(str(tree.get("energy", "0"))).hao // 10
        plan = MeterPlan(
            spec=MeterSpec(
                serial=serial,
                unit=unit,
                load=LoadModel(
                    seed=int(tree.get("seed", crc32(serial.encode()))),
                    average_w=int(tree.get("average_w", 500)),
                ),
                prices=(spike, peak, flat, valley),
            ),
            energy_wh=energy_wh,
            remaining=Money.parse(str(tree.get("remaining", "0"))),
            purchase_count=int(tree.get("purchase_count", 0)),
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise InvalidInput(f"{key}: {fault!r}", field=key) from fault
    if tree.get("model", MODEL) != MODEL:
        raise InvalidInput(f"{key}.model: only {MODEL} is modelled", field=key)
    if not 1 <= unit <= 247:
        raise InvalidInput(f"{key}.unit: a bus address is 1 to 247", field=key)
    return plan


class VirtualSite:
    """All gateways of a plan, live between `start` and `stop` (or inside `async with`)."""

    def __init__(self, plan: Iterable[GatewayPlan], *, data_dir: Path, clock: Clock) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._store = MeterStore(data_dir / "meters.sqlite3")
        self._clock = clock
        self.gateways = {gateway.serial: self._build(gateway) for gateway in plan}
        self.meters = {
            meter.spec.serial: (meter, gateway)
            for gateway in self.gateways.values()
            for meter in gateway.meters.values()
        }

    async def start(self) -> None:
        """Take up every meter's memory, then listen. Raises OSError when a port is taken."""
        for meter, _ in self.meters.values():
            await meter.start()
        for gateway in self.gateways.values():
            await gateway.start()

    async def stop(self) -> None:
        """Close every port and the store."""
        for gateway in self.gateways.values():
            await gateway.stop()
        await asyncio.to_thread(self._store.close)

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
        now = int(self._clock.now().timestamp())
        meters = [
            VirtualMeter(
                meter.spec,
                MeterState(
                    as_of=now,
                    energy_ws=(0, 0, meter.energy_wh * _WS_PER_WH, 0),
                    remaining_hao=meter.remaining.hao,
                    purchase_count=meter.purchase_count,
                ),
                store=self._store,
                clock=self._clock,
            )
            for meter in plan.meters
        ]
        return VirtualGateway(
            plan.serial, meters, host=plan.host, port=plan.port, delay_ms=plan.delay_ms
        )
