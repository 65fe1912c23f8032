"""The site file: which meters hang on which bus of this box. TOML, written by the installer.

period_minutes = 30             # optional: every meter is read once in it

[[buses]]
number = 1                      # 1 to 16, the port's number as the console knows it
tcp = "192.168.1.50:502"        # the serial server in front of the bus
modbus_tcp = false              # optional: true when the server speaks Modbus TCP itself
answer_ms = 1000                # optional: how long a meter may think

[[buses]]                       # or a serial port of this box, see site_line
number = 2
device = "/dev/ttyUSB0"

[[meters]]
serial = "230000000001"         # as registered in the console
model = "DDSY1352-NK"
bus = 1
address = "1"                   # Modbus 1 to 247, DL/T 645 twelve digits, CJ/T 188 fourteen digits
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from backend.kernel.errors import InvalidInput, NotFound
from workers.links.serial_port import SerialPort
from workers.profiles.loader import profile_of
from workers.profiles.model import Profile

from .site_line import LINE_KEYS, line_faults, line_of, protocols_on

BUSES = 16
_DAY_MINUTES = 1440
_SERIAL = re.compile(r"[0-9A-Za-z_-]{1,32}")
_TCP = re.compile(r"(?P<host>[0-9A-Za-z.:-]+):(?P<port>[0-9]{1,5})")
_ADDRESSES = (
    ("modbus", re.compile(r"[1-9][0-9]?|1[0-9]{2}|2[0-3][0-9]|24[0-7]"), "a number from 1 to 247"),
    ("dlt645", re.compile(r"(?!9{12})[0-9]{12}"), "twelve digits, not all 9 (that is every meter)"),
    ("cjt188", re.compile(r"[0-9]{14}"), "fourteen digits"),
)
_TOP = {"period_minutes": int, "buses": list, "meters": list}
_BUS = {"number": int, "tcp": str, "modbus_tcp": bool, "answer_ms": int, **LINE_KEYS}
_METER = {"serial": str, "model": str, "bus": int, "address": str}
_OPTIONAL = frozenset({"period_minutes", "tcp", "modbus_tcp", "answer_ms"} | LINE_KEYS.keys())

_Tree = dict[str, Any]  # a parsed TOML table, before its shape is known


class SiteError(InvalidInput):
    """The site file is wrong; the message lists every fault by its key."""

    code = "SITE_ERROR"


@dataclass(frozen=True, slots=True)
class SerialServer:
    """What stands before a bus on the network; `modbus_tcp`: it speaks Modbus TCP itself."""

    host: str
    port: int
    modbus_tcp: bool


@dataclass(frozen=True, slots=True)
class BusPlan:
    """One bus: by what it is reached, and how long its meters may think, in seconds."""

    number: int
    by: SerialServer | SerialPort
    answer_s: float


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """One meter on a bus."""

    serial: str
    profile: Profile
    bus: int
    address: str


@dataclass(frozen=True, slots=True)
class Site:
    """All of it, buses by number, meters by serial."""

    period: timedelta
    buses: Mapping[int, BusPlan]
    meters: Mapping[str, MeterPlan]


def check_site(path: Path) -> list[str]:
    """What is wrong with the file at `path`, each as `key: reason`; empty when it is right.

    Raises OSError when it cannot be read.
    """
    tree = _parsed(path)
    return [tree] if isinstance(tree, str) else list(_faults(tree))


def load_site(path: Path) -> Site:
    """The site in the file at `path`. Raises SiteError, OSError."""
    tree = _parsed(path)
    faults = [tree] if isinstance(tree, str) else list(_faults(tree))
    if faults or isinstance(tree, str):
        raise SiteError(f"site file {path.name}: " + "; ".join(faults))
    buses = (_bus(bus, tree["meters"]) for bus in tree["buses"])
    meters = (
        MeterPlan(meter["serial"], profile_of(meter["model"]), meter["bus"], meter["address"])
        for meter in tree["meters"]
    )
    return Site(
        period=timedelta(minutes=tree.get("period_minutes", 30)),
        buses={bus.number: bus for bus in buses},
        meters={meter.serial: meter for meter in meters},
    )


def _parsed(path: Path) -> _Tree | str:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        return f"(file): not TOML: {broken}"


def _bus(tree: _Tree, meters: list[_Tree]) -> BusPlan:
    by: SerialServer | SerialPort
    if "device" in tree:
        by = line_of(tree, protocols_on(tree["number"], meters))
    else:
        host, _, port = tree["tcp"].rpartition(":")
        by = SerialServer(host, int(port), tree.get("modbus_tcp", False))
    return BusPlan(tree["number"], by, tree.get("answer_ms", 1000) / 1000)


def _faults(tree: _Tree) -> Iterator[str]:
    shape = list(_shape_faults("", tree, _TOP))
    for name, fields in (("buses", _BUS), ("meters", _METER)):
        rows = tree.get(name)
        for index, row in enumerate(rows if isinstance(rows, list) else ()):
            shape += _shape_faults(f"{name}[{index}].", row, fields)
    if shape:  # who names a key wrongly is told that first, and nothing that follows from it
        yield from shape
        return
    if not 1 <= tree.get("period_minutes", 30) <= _DAY_MINUTES:
        yield f"period_minutes: 1 to {_DAY_MINUTES}"
    yield from _bus_faults(tree["buses"], tree["meters"])
    yield from _meter_faults(tree["meters"], {bus["number"] for bus in tree["buses"]})


def _shape_faults(key: str, tree: object, fields: Mapping[str, type]) -> Iterator[str]:
    if not isinstance(tree, dict):
        yield f"{key.rstrip('.')}: a table is wanted"
        return
    for name in tree.keys() - fields.keys():
        yield f"{key}{name}: no such key; known: {', '.join(fields)}"
    for name, kind in fields.items():
        if name not in tree:
            if name not in _OPTIONAL:
                yield f"{key}{name}: is missing"
        elif type(tree[name]) is not kind:
            yield f"{key}{name}: {_WANTED[kind]} is wanted"


_WANTED = {int: "a whole number", str: "a text in quotes", bool: "true or false", list: "a list"}


def _bus_faults(buses: list[_Tree], meters: list[_Tree]) -> Iterator[str]:
    if not buses:
        yield "buses: at least one bus is wanted"
    numbers: set[int] = set()
    devices: set[str] = set()
    for index, bus in enumerate(buses):
        key, number = f"buses[{index}]", bus["number"]
        if not 1 <= number <= BUSES:
            yield f"{key}.number: 1 to {BUSES}"
        if number in numbers:
            yield f"{key}.number: {number} is there twice"
        numbers.add(number)
        if not 50 <= bus.get("answer_ms", 1000) <= 30_000:
            yield f"{key}.answer_ms: 50 to 30000"
        if "device" not in bus:
            yield from _server_faults(key, bus)
            continue
        yield from line_faults(key, bus, protocols_on(number, meters))
        if bus["device"] in devices:
            yield f"{key}.device: {bus['device']} is there twice: one line is one bus"
        devices.add(bus["device"])


def _server_faults(key: str, bus: _Tree) -> Iterator[str]:
    for name in bus.keys() & LINE_KEYS.keys():
        yield f"{key}.{name}: belongs to a serial port; this bus has no device"
    if "tcp" not in bus:
        yield f'{key}: tcp = "host:port" or device = "/dev/tty.." is wanted'
        return
    place = _TCP.fullmatch(bus["tcp"])
    if place is None or not 0 < int(place["port"]) < 65536:
        yield f'{key}.tcp: "host:port" is wanted, such as "192.168.1.50:502"'


def _meter_faults(meters: list[_Tree], buses: set[int]) -> Iterator[str]:
    if not meters:
        yield "meters: at least one meter is wanted"
    serials: set[str] = set()
    places: set[tuple[int, str]] = set()
    for index, meter in enumerate(meters):
        key = f"meters[{index}]"
        serial, place = meter["serial"], (meter["bus"], meter["address"])
        if not _SERIAL.fullmatch(serial):
            yield f"{key}.serial: 1 to 32 letters, digits, _ or -"
        if serial in serials:
            yield f"{key}.serial: {serial} is there twice"
        if meter["bus"] not in buses:
            yield f"{key}.bus: no bus has the number {meter['bus']}"
        if place in places:
            yield f"{key}.address: {place[1]} is there twice on bus {place[0]}"
        serials.add(serial)
        places.add(place)
        yield from _model_faults(key, meter)


def _model_faults(key: str, meter: _Tree) -> Iterator[str]:
    try:
        protocol = profile_of(meter["model"]).protocol
    except NotFound:
        yield f"{key}.model: no profile for {meter['model']}"
        return
    for name, pattern, wanted in _ADDRESSES:
        if protocol.startswith(name) and not pattern.fullmatch(meter["address"]):
            yield f"{key}.address: {wanted} is wanted ({protocol})"
