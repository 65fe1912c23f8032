"""Pure rules of metering: kinds of meters, links of gateways, what a model may be registered with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from backend.kernel.errors import InvalidInput
from backend.kernel.quantity import Unit

BUSES = 16  # RS-485 ports that one of our own gateways may serve
MAX_DRIFT = timedelta(minutes=5)  # a clock that is off by more is not believed (C24)
# So many UTC days stay as raw rows for readings that come late, before they are packed: what a gateway
# sends that was cut off for three days is an ordinary batch.
OPEN_DAYS = 3


class MeterKind(StrEnum):
    """What flows through a meter (A6, A12, A18)."""

    ELECTRICITY = "ELECTRICITY"
    WATER = "WATER"
    HEAT = "HEAT"

    @property
    def unit(self) -> Unit:
        """The unit of the meter's total."""
        return Unit.LITRE if self is MeterKind.WATER else Unit.WATT_HOUR


class GatewayLink(StrEnum):
    """How a gateway's bytes reach us. TCP: the bus's own frames to a serial server; MODBUS_TCP: to a
    gateway that numbers them. The others dial in; the two Acrel links are weak (their protocols are)."""

    TCP = "TCP"
    MODBUS_TCP = "MODBUS_TCP"
    DTU = "DTU"
    UPLINK = "UPLINK"
    ACREL_GATEWAY = "ACREL_GATEWAY"
    ACREL_4G = "ACREL_4G"

    @property
    def is_dialled(self) -> bool:
        """Whether we connect to it, so that it has an address."""
        return self in (GatewayLink.TCP, GatewayLink.MODBUS_TCP)


class CreditMode(StrEnum):
    """METER: the meter holds the money and cuts by itself. CLOUD: the cloud holds it, rates the readings
    and cuts by command. NONE: read and controlled, not sold to."""

    METER = "METER"
    CLOUD = "CLOUD"
    NONE = "NONE"


_SURE = 3  # periods for which silence is taken for bad luck
_GIVEN_UP = timedelta(days=1)
_PROBE_EVERY = 4  # sweeps


def tries_of_sweep(*, silent_for: timedelta, period: timedelta, number: int) -> int:
    """How often a sweep asks a meter that was last heard `silent_for` ago: a silent one costs a whole
    time-out each try, as much as ten good ones (meter-protocols.md section 7).

    Two tries; one after three missed periods; after a day one in every fourth sweep, by `number`
    (of the sweep and the meter together, so that not all dead meters are asked in the same one).
    """
    if silent_for < _SURE * period:
        return 2
    if silent_for < _GIVEN_UP:
        return 1
    return 1 if number % _PROBE_EVERY == 0 else 0


_ADDRESSES = {
    "modbus-rtu": (re.compile(r"[1-9][0-9]{0,2}"), "a Modbus address is 1 to 247"),
    "dlt645-2007": (re.compile(r"[0-9]{12}"), "a DL/T 645 address is 12 digits"),
    "dlt645-1997": (re.compile(r"[0-9]{12}"), "a DL/T 645 address is 12 digits"),
    "cjt188": (re.compile(r"[0-9]{14}"), "a CJ/T 188 address is 14 digits"),
}
_BROADCASTS = frozenset({"9" * 12, "0"})


@dataclass(frozen=True, slots=True)
class MeterModel:
    """What metering knows of a profile. `evidence` is the weakest grade of what it is sold and
    controlled by; `protocol` as the profile names it; `taken_back`: why no command lowers the money
    that it holds; `price_bands`: those whose price it holds and takes by command; `closes`: a command
    closes its relay or opens its valve, without forcing it for good; `holds_load_limits`: it can be told what
    its circuit may draw, and opens its relay by itself beyond that; `keeps_calendar`: it can be told when
    which rate band holds."""

    name: str
    maker: str
    kind: MeterKind
    phases: int
    protocol: str
    holds_money: bool
    switches: bool
    evidence: str
    taken_back: str = ""
    price_bands: tuple[str, ...] = ()
    closes: bool = True
    holds_load_limits: bool = False
    keeps_calendar: bool = False

    def check_bus_address(self, text: str) -> None:
        """Raise InvalidInput unless `text` addresses one meter in this protocol (no broadcast, no
        wildcard: a command to it would reach others too)."""
        pattern, rule = _ADDRESSES[self.protocol]
        wrong = pattern.fullmatch(text) is None or text in _BROADCASTS
        if wrong or (self.protocol == "modbus-rtu" and int(text) > 247):
            raise InvalidInput(rule, field="busAddress")


def first_open_day(at: datetime) -> date:
    """The oldest UTC day of which the raw rows are not packed yet at `at`."""
    # An hour more, for what was read before midnight and is being stored just now.
    return (at.astimezone(UTC) - timedelta(hours=1)).date() - timedelta(days=OPEN_DAYS)


# Where a register begins anew, and the most that can pass in an hour, by kind: six digits of kWh and
# 1,000 kW, five of m³ and 100 m³, as the largest meters of the table have (meter-protocols.md section 1).
_REGISTER_RANGE = {
    MeterKind.ELECTRICITY: (1_000_000_000, 1_000_000),
    MeterKind.WATER: (100_000_000, 100_000),
    MeterKind.HEAT: (1_000_000_000, 1_000_000),
}
# What is believed that a meter measured in an hour: not less than what a gateway's reading is believed for
# (workers/uplink_bounds.py), or what is stored would be held at once.
MOST_AN_HOUR = {
    MeterKind.ELECTRICITY: 1_000_000,
    MeterKind.WATER: 300_000,
    MeterKind.HEAT: 5_000_000,
}
ONE_PHASE_WH_AN_HOUR = 25_000  # 100 A at 250 V


def register_gain(last: int, new: int, *, kind: MeterKind, elapsed: timedelta) -> int | None:
    """What a register gained between two readings of one assignment; None when it went back (C14).

    A register that began anew is no step back: it stood above 90 % of its range, stands below 10 %, and
    what passed meanwhile is possible in the time (domain-notes.md section 2.4).
    """
    if new >= last:
        return new - last
    whole, most_an_hour = _REGISTER_RANGE[kind]
    wrapped = whole - last + new
    possible = most_an_hour * (elapsed // timedelta(microseconds=1)) // 3_600_000_000
    if last * 10 > whole * 9 and new * 10 < whole and last < whole and wrapped <= possible:
        return wrapped
    return None


def may_pass(used: int, kind: MeterKind, elapsed: timedelta) -> bool:
    """Whether the largest meter of a kind can have measured so much (in its unit) in a time; an hour more,
    for clocks that differ and registers that go in steps."""
    an_hour = MOST_AN_HOUR[kind]
    if used <= an_hour:
        return True
    return used <= an_hour * (elapsed // timedelta(microseconds=1) + 3_600_000_000) // 3_600_000_000


def may_be_the_same(
    last: int, new: int, *, kind: MeterKind, phases: int, elapsed: timedelta
) -> bool:
    """Whether a register that stood at `last` may stand at `new` now; if not, another meter answers at this
    address than the archive says (select before operate, reference/trust.md section 5).

    What may pass in the time is generous, for a cut must not wait for a careful figure; it tells two meters
    that were swapped all the same, unless they stand close together.
    """
    gain = register_gain(last, new, kind=kind, elapsed=elapsed)
    _, most = _REGISTER_RANGE[kind]
    if kind is MeterKind.ELECTRICITY and phases == 1:
        most = ONE_PHASE_WH_AN_HOUR
    hours = max(elapsed, timedelta()) / timedelta(hours=1) + 1
    return gain is not None and gain <= most * hours
