"""The part of a profile that speaks CJ/T 188, and how it is read from TOML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workers.protocols.cjt188_values import Dialect, ValveBits, ValveOrder

_Tree = dict[str, Any]
_UNIT_FIRST = {"after": False, "before": True, "either": None}
_VALVE_BITS = {"standard": ValveBits.STANDARD, "moving-is-1": ValveBits.MOVING_IS_1}
_TYPES = {"water": range(0x10, 0x14), "heat": range(0x20, 0x26)}
_ENERGIES = ("energy_1", "energy_2")


@dataclass(frozen=True, slots=True)
class Reading:
    """901F: `form` is `water` or `heat`. Of heat, `energies` say what energy-1 and energy-2 are: total,
    cold_wh or settlement. `battery_low_bit` of the first status byte, None: not known."""

    form: str
    energies: tuple[str, str] | None
    battery_low_bit: int | None
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Valve:
    """A017: the codes that open and close the valve."""

    open: ValveOrder
    close: ValveOrder
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Cjt188Map:
    """`type` byte asked, FE bytes before a question, how the make spells, what is read, the valve."""

    type: int
    wake_up: int
    dialect: Dialect
    reading: Reading
    valve: Valve | None


def contradictions(tree: _Tree) -> Iterator[str]:
    """What a schema cannot say."""
    kind, form, code = tree["kind"], tree["reading"]["form"], tree["dialect"]["type"]
    if form != kind:
        yield f"reading.form: a {kind} meter has no reading of {form}"
    if code not in _TYPES[kind]:
        yield f"dialect.type: {code:#04x} is no type of a {kind} meter"
    energies = [tree["reading"][name] for name in _ENERGIES if name in tree["reading"]]
    if form == "heat":
        if len(energies) < 2:
            yield "reading: energy_1 and energy_2 are missing"
        elif energies.count("total") != 1 or energies.count("cold_wh") > 1:
            yield "reading: one energy is total, and one at the most is cold_wh"
    elif energies:
        yield "reading: energy_1 and energy_2 are of heat meters"
    valve = tree.get("valve")
    if valve and valve["open"] == valve["close"]:
        yield "valve.close: the same code as open"
    if ("status_bits" in tree["dialect"]) != (valve is not None):
        yield "dialect.status_bits: said if and only if there is a [valve]"


def build(tree: _Tree) -> Cjt188Map:
    """The map in a parsed profile that the schema and `contradictions` have passed."""
    spelling, reading, valve = tree["dialect"], tree["reading"], tree.get("valve")
    energies = None
    if reading["form"] == "heat":
        energies = (reading["energy_1"], reading["energy_2"])
    return Cjt188Map(
        type=spelling["type"],
        wake_up=spelling["wake_up"],
        dialect=Dialect(
            di_low_first=spelling["di_order"] == "low-first",
            unit_first=_UNIT_FIRST[spelling["unit_place"]],
            valve_bits=_VALVE_BITS[spelling.get("status_bits", "standard")],
        ),
        reading=Reading(
            form=reading["form"],
            energies=energies,
            battery_low_bit=reading.get("battery_low_bit"),
            evidence=reading["evidence"],
            source=reading["source"],
        ),
        valve=valve
        and Valve(
            open=ValveOrder(valve["open"]),
            close=ValveOrder(valve["close"]),
            evidence=valve["evidence"],
            source=valve["source"],
        ),
    )
