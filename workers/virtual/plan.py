"""What a site file becomes before anything listens: gateways, and meters that know how to be built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from backend.kernel.clock import Clock
from backend.kernel.money import Money

from .bus import BusMeter
from .load import LoadModel
from .state import MeterSpec, MeterState, Settings
from .store import MeterStore

_WS_PER_WH = 3600
_LAST_UNIT = 247


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """A meter of a site: its key, its address on the bus, and what makes it."""

    serial: str
    bus_address: str
    build: Callable[[MeterStore, Clock], BusMeter]


# Of one meter's table in a site file. May raise KeyError, TypeError, ValueError, InvalidInput.
Planner = Callable[[dict[str, Any]], MeterPlan]


@dataclass(frozen=True, slots=True)
class Dial:
    """A DTU in front of a gateway's bus: where it dials, how it names itself, how often it beats."""

    host: str
    port: int
    registration: bytes
    heartbeat: bytes
    every_s: float


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """A gateway and the meters on its bus; `dial`: it is a DTU that dials in; `serial_line`: a serial port
    of this machine leads to its bus too, `echo` as many adapters do."""

    serial: str
    host: str
    port: int
    delay_ms: int
    meters: tuple[MeterPlan, ...]
    dial: Dial | None = None
    serial_line: bool = False
    echo: bool = False


def spec_of(tree: dict[str, Any]) -> MeterSpec:
    """The fixed part of an electricity meter at a Modbus address, from its table."""
    serial, unit = str(tree["serial"]), int(tree["unit"])
    if not 1 <= unit <= _LAST_UNIT:
        raise ValueError(f"unit: a bus address is 1 to {_LAST_UNIT}, not {unit}")
    load = LoadModel(
        seed=int(tree.get("seed", crc32(serial.encode()))),
        average_w=int(tree.get("average_w", 500)),
    )
    return MeterSpec(serial=serial, unit=unit, load=load)


def fresh_state(tree: dict[str, Any], settings: Settings, now: int) -> MeterState:
    """What the meter holds when it first starts at unix second `now`; energy in the flat band."""
    # kWh and yuan are both decimal strings; a kWh with four decimals is 0.1 Wh.
    energy_wh = Money.parse(str(tree.get("energy", "0"))).hao // 10
    return MeterState(
        as_of=now,
        energy_ws=(0, 0, energy_wh * _WS_PER_WH, 0),
        remaining_hao=Money.parse(str(tree.get("remaining", "0"))).hao,
        purchase_count=int(tree.get("purchase_count", 0)),
        number=str(tree.get("number", tree["serial"])),
        settings=settings,
    )
