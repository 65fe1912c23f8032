"""The part of a profile that speaks Modbus, and how it is read from TOML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workers.protocols.values import RegisterType, WordOrder

_Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Block:
    """A run of registers read in one exchange. `evidence` grades all that is read from it."""

    name: str
    function: int
    address: int
    count: int
    optional: bool
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Field:
    """A number: `type` at `register` of `block`, times `multiply`, is `target` in its own unit."""

    target: str
    block: str
    register: int
    type: RegisterType
    multiply: int
    unit: str


@dataclass(frozen=True, slots=True)
class RelayField:
    """Where the relay shows: all bits of `closed_mask` set is closed, none is open."""

    block: str
    register: int
    closed_mask: int
    evidence: str


@dataclass(frozen=True, slots=True)
class FlagField:
    """One warning bit, 0 is the lowest bit of the register."""

    name: str
    block: str
    register: int
    bit: int


@dataclass(frozen=True, slots=True)
class ClockField:
    """Seven bytes YY MM DD weekday hh mm ss, binary, China local time."""

    block: str
    register: int
    layout: str
    evidence: str


@dataclass(frozen=True, slots=True)
class WalletRead:
    """Registers of the remaining money (`fen` each unit) and of the purchase count (u16)."""

    remaining: int
    remaining_type: RegisterType
    fen: int
    purchase_count: int
    evidence: str


@dataclass(frozen=True, slots=True)
class SaleWrite:
    """The write that credits the meter."""

    function: int
    address: int
    layout: tuple[str, ...]
    evidence: str


@dataclass(frozen=True, slots=True)
class SwitchWrite:
    """The write that forces the relay; `states` has trip, keep_power and release as register values."""

    function: int
    address: int
    states: Mapping[str, tuple[int, ...]]
    evidence: str


@dataclass(frozen=True, slots=True)
class ModbusMap:
    """Registers of a model. A part that it has not is None or empty."""

    word_order: WordOrder
    blocks: tuple[Block, ...]
    fields: tuple[Field, ...]
    relay: RelayField | None
    flags: tuple[FlagField, ...]
    clock: ClockField | None
    wallet: WalletRead | None
    sale: SaleWrite | None
    switch: SwitchWrite | None


def contradictions(tree: _Tree) -> Iterator[str]:
    """What a schema cannot say: names that must meet, registers that must lie inside their block."""
    blocks: dict[str, _Tree] = {}
    for index, block in enumerate(tree["blocks"]):
        if block["name"] in blocks:
            yield f"blocks[{index}].name: {block['name']} is there twice"
        blocks[block["name"]] = block
    targets: set[str] = set()
    for index, item in enumerate(tree["fields"]):
        if item["target"] in targets:
            yield f"fields[{index}].target: {item['target']} is there twice"
        targets.add(item["target"])
        yield from _outside(f"fields[{index}]", item, RegisterType(item["type"]).words, blocks)
    if "total" not in targets:
        yield "fields: total is missing"
    for index, flag in enumerate(tree.get("flags", [])):
        yield from _outside(f"flags[{index}]", flag, 1, blocks)
    if "relay" in tree:
        yield from _outside("relay", tree["relay"], 1, blocks)
    if "clock" in tree:
        yield from _outside("clock", tree["clock"], 4, blocks)
    if "sale" in tree and "wallet" not in tree:
        yield "sale: a meter that is sold to needs [wallet], or no sale can be read back"


def _outside(key: str, item: _Tree, words: int, blocks: dict[str, _Tree]) -> Iterator[str]:
    block = blocks.get(item["block"])
    if block is None:
        yield f"{key}.block: no block is named {item['block']}"
        return
    first, end = block["address"], block["address"] + block["count"]
    if not first <= item["register"] <= end - words:
        yield f"{key}.register: {item['register']:#06x} lies outside block {item['block']}"


def build(tree: _Tree) -> ModbusMap:
    """The map in a parsed profile that the schema and `contradictions` have passed."""
    wallet, sale, switch = tree.get("wallet"), tree.get("sale"), tree.get("switch")
    states = ("trip", "keep_power", "release")
    return ModbusMap(
        word_order=WordOrder(tree["word_order"]),
        blocks=tuple(Block(**block) for block in tree["blocks"]),
        fields=tuple(
            Field(**{**item, "type": RegisterType(item["type"])}) for item in tree["fields"]
        ),
        relay=RelayField(**tree["relay"]) if "relay" in tree else None,
        flags=tuple(FlagField(**flag) for flag in tree.get("flags", [])),
        clock=ClockField(**tree["clock"]) if "clock" in tree else None,
        wallet=wallet
        and WalletRead(**{**wallet, "remaining_type": RegisterType(wallet["remaining_type"])}),
        sale=sale and SaleWrite(**{**sale, "layout": tuple(sale["layout"])}),
        switch=switch
        and SwitchWrite(
            function=switch["function"],
            address=switch["address"],
            states={state: tuple(switch[state]) for state in states},
            evidence=switch["evidence"],
        ),
    )
