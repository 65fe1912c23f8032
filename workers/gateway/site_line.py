"""A serial port in the site file: which one, and how its meters are set.

[[buses]]
number = 2
device = "/dev/ttyUSB0"         # or /dev/ttyS1, or a name that stays: /dev/serial/by-id/..
baud = 2400                     # optional, as parity: what is usual for the meters on the bus
parity = "even"                 # "none", "even" or "odd"
data_bits = 8                   # optional: 8, the protocols here send whole bytes
stop_bits = 1                   # optional: 1 or 2
echo = false                    # optional: true when the adapter gives back what is sent
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from backend.kernel.errors import NotFound
from workers.links.serial_port import PARITIES, SPEEDS, Parity, SerialPort
from workers.profiles.loader import profile_of

LINE_KEYS: Mapping[str, type] = {
    "device": str,
    "baud": int,
    "parity": str,
    "data_bits": int,
    "stop_bits": int,
    "echo": bool,
}
# reference/meter-protocols.md 1.1, 2, 3 and 5: how meters usually leave their factory.
_USUAL: Mapping[str, tuple[int, Parity]] = {
    "modbus-rtu": (9600, "none"),
    "dlt645-2007": (2400, "even"),
    "dlt645-1997": (1200, "even"),
    "cjt188": (2400, "even"),
}
_DEVICE = re.compile(r"/dev/(?!.*\.\.)[\w.:@+/-]+")

_Tree = Mapping[str, Any]


def protocols_on(bus: int, meters: Iterable[_Tree]) -> frozenset[str]:
    """The protocols that are spoken on a bus; models that nobody knows count for none."""
    found: set[str] = set()
    for meter in meters:
        if meter["bus"] == bus:
            try:
                found.add(profile_of(meter["model"]).protocol)
            except NotFound:
                continue  # it is told as a fault of its meter
    return frozenset(found)


def line_of(tree: _Tree, protocols: frozenset[str]) -> SerialPort:
    """The port of a bus without faults."""
    baud, parity = next(iter(_usual(protocols)), (9600, "none"))
    return SerialPort(
        device=tree["device"],
        baud=tree.get("baud", baud),
        parity=tree.get("parity", parity),
        stop_bits=tree.get("stop_bits", 1),
        echo=tree.get("echo", False),
    )


def line_faults(key: str, tree: _Tree, protocols: frozenset[str]) -> Iterator[str]:
    """What is wrong with the port of a bus, each as `key: reason`."""
    for name in tree.keys() & {"tcp", "modbus_tcp"}:
        yield f"{key}.{name}: belongs to a serial server; this bus has a device"
    if not _DEVICE.fullmatch(tree["device"]):
        yield f"{key}.device: a serial port under /dev is wanted, such as /dev/ttyUSB0"
    if tree.get("baud", 9600) not in SPEEDS:
        yield f"{key}.baud: one of {', '.join(map(str, SPEEDS))}"
    if tree.get("parity", "none") not in PARITIES:
        yield f"{key}.parity: one of {', '.join(PARITIES)}"
    if tree.get("data_bits", 8) != 8:
        yield f"{key}.data_bits: 8; Modbus RTU, DL/T 645 and CJ/T 188 send whole bytes"
    if tree.get("stop_bits", 1) not in (1, 2):
        yield f"{key}.stop_bits: 1 or 2"
    usual = _usual(protocols)
    for place, name in enumerate(("baud", "parity")):
        if name not in tree and len({values[place] for values in usual}) > 1:
            names = " and ".join(sorted(protocols))
            yield f"{key}.{name}: is missing; {names} are on this bus, all are to be set alike"


def _usual(protocols: Iterable[str]) -> set[tuple[int, Parity]]:
    return {_USUAL[protocol] for protocol in protocols}
