"""The part of a profile that speaks Modbus, and how it is read from TOML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workers.protocols.values import RegisterType, WordOrder

from . import circuits as circuit_rule
from .circuits import Circuits
from .modbus_settings_map import (
    CalendarMap,
    ClockWrite,
    Settings,
    build_calendar,
    build_clock,
    build_settings,
    calendar_contradictions,
    clock_contradictions,
    settings_contradictions,
)

_Tree = dict[str, Any]
_LAST_REGISTER = 0xFFFF
_STATES = ("trip", "keep_power", "release", "close", "allow_close")
CUTS = ("overload", "malignant_load", "timetable")
_RATIOS = {"ct": ("ct",), "pt": ("pt",), "ct_pt": ("ct", "pt")}


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
    """A number: `type` at `register` of `block`, times `multiply`, times the transformers of
    `ratio`, by `divide` (rounded down), is `target` in its own unit. The same target may stand in
    several blocks (of which only some are read); the first one that was read counts."""

    target: str
    block: str
    register: int
    type: RegisterType
    multiply: int
    unit: str
    divide: int = 1
    ratio: str | None = None

    @property
    def ratios(self) -> tuple[str, ...]:
        """The transformers it is multiplied by: of "ct" and "pt"."""
        return () if self.ratio is None else _RATIOS[self.ratio]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A transformer's ratio: `fixed`, or what the meter says in `register` of `block`."""

    fixed: int | None = None
    block: str | None = None
    register: int = 0
    type: RegisterType = RegisterType.U16


@dataclass(frozen=True, slots=True)
class Ratios:
    """The transformers before a meter that shows secondary values."""

    by_name: Mapping[str, Ratio]
    evidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Identity:
    """The register in which a meter says what it is; another `value` is another model."""

    block: str
    register: int
    value: int
    evidence: str


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
class CutControl:
    """A control of the meter's own that may open its relay: bit `on_bit` says that it is on, all bits of
    `closed_mask` that it leaves every phase closed."""

    on_bit: int
    closed_mask: int


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where the meter says what it cut for by itself: controls by name (CUTS) in one register."""

    block: str
    register: int
    controls: Mapping[str, CutControl]
    evidence: str
    source: str


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
    """The write that credits the meter. `taken_back`: why no command lowers its money again."""

    function: int
    address: int
    layout: tuple[str, ...]
    evidence: str
    taken_back: str


@dataclass(frozen=True, slots=True)
class SwitchWrite:
    """The write that forces the relay: function 16 or the private 32; `states` has, as register
    values, trip, keep_power and release, and close and allow_close where the model has them."""

    function: int
    address: int
    states: Mapping[str, tuple[int, ...]]
    evidence: str


@dataclass(frozen=True, slots=True, eq=False)
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
    identity: Identity | None = None
    cuts: Cuts | None = None
    ratios: Ratios | None = None
    circuits: Circuits | None = None
    settings: Settings | None = None
    clock_write: ClockWrite | None = None
    calendar: CalendarMap | None = None


def contradictions(tree: _Tree) -> Iterator[str]:
    """What a schema cannot say: names that must meet, registers that must lie inside their block."""
    blocks: dict[str, _Tree] = {}
    for index, block in enumerate(tree["blocks"]):
        if block["name"] in blocks:
            yield f"blocks[{index}].name: {block['name']} is there twice"
        if block["address"] + block["count"] - 1 > _LAST_REGISTER:
            yield f"blocks[{index}].count: {block['name']} ends beyond register 0xffff"
        blocks[block["name"]] = block
    yield from _wrong_fields(tree, blocks)
    yield from _wrong_ratios(tree, blocks)
    for index, flag in enumerate(tree.get("flags", [])):
        yield from _outside(f"flags[{index}]", flag, 1, blocks)
    for part, words in (("identity", 1), ("relay", 1), ("cuts", 1), ("clock", 4)):
        if part in tree:
            yield from _outside(part, tree[part], words, blocks)
    if "cuts" in tree:
        yield from _wrong_cuts(tree)
    if "sale" in tree and "wallet" not in tree:
        yield "sale: a meter that is sold to needs [wallet], or no sale can be read back"
    if "circuits" in tree:
        yield from circuit_rule.contradictions(tree["circuits"])
    if "settings" in tree:
        yield from settings_contradictions(tree["settings"])
    if "clock_write" in tree:
        yield from clock_contradictions(tree)
    if "calendar" in tree:
        yield from calendar_contradictions(tree["calendar"])


def _wrong_cuts(tree: _Tree) -> Iterator[str]:
    """Each bit speaks of one control, and a cut is believed only of a relay that is seen open."""
    if "relay" not in tree:
        yield "cuts: needs [relay], or nobody could see that the relay is open"
    used = 0
    for name in CUTS:
        control = tree["cuts"].get(name)
        if control is None:
            continue
        bits = 1 << control["on_bit"]
        if bits & control["closed_mask"]:
            yield f"cuts.{name}.on_bit: bit {control['on_bit']} is a phase of its closed_mask"
        bits |= control["closed_mask"]
        if used & bits:
            yield f"cuts.{name}: a bit belongs to another control"
        used |= bits


def _wrong_fields(tree: _Tree, blocks: dict[str, _Tree]) -> Iterator[str]:
    optional = {name for name, block in blocks.items() if block["optional"]}
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(tree["fields"]):
        # Blocks that are read by default share their targets: the second could never be used.
        where = (item["block"] if item["block"] in optional else "", item["target"])
        if where in seen:
            yield f"fields[{index}].target: {item['target']} is there twice"
        seen.add(where)
        yield from _outside(f"fields[{index}]", item, RegisterType(item["type"]).words, blocks)
    if ("", "total") not in seen:
        yield "fields: total is missing from the blocks that are read by default"


def _wrong_ratios(tree: _Tree, blocks: dict[str, _Tree]) -> Iterator[str]:
    ratios = tree.get("ratios", {})
    used: set[str] = set()
    for index, item in enumerate(tree["fields"]):
        for name in _RATIOS.get(item.get("ratio", ""), ()):
            used.add(name)
            ratio = ratios.get(name)
            if ratio is None:
                yield f"fields[{index}].ratio: [ratios] has no {name}"
            elif "fixed" not in ratio and ratio.get("block") != item["block"]:
                home = blocks.get(ratio.get("block", ""))
                if home is not None and home["optional"]:
                    yield f"ratios.{name}.block: {home['name']} may not have been read with fields[{index}]"
    for name in ("ct", "pt"):
        ratio = ratios.get(name)
        if ratio is None:
            continue
        if name not in used:
            yield f"ratios.{name}: no field is multiplied by it"
        places = {"block", "register", "type"}
        if set(ratio) == places:
            words = RegisterType(ratio["type"]).words
            yield from _outside(f"ratios.{name}", ratio, words, blocks)
        elif set(ratio) != {"fixed"}:
            yield f"ratios.{name}: either fixed, or block, register and type"


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
    ratios, identity, cuts = tree.get("ratios"), tree.get("identity"), tree.get("cuts")
    return ModbusMap(
        word_order=WordOrder(tree["word_order"]),
        blocks=tuple(Block(**block) for block in tree["blocks"]),
        fields=tuple(Field(**_typed(item)) for item in tree["fields"]),
        relay=RelayField(**tree["relay"]) if "relay" in tree else None,
        flags=tuple(FlagField(**flag) for flag in tree.get("flags", [])),
        clock=ClockField(**tree["clock"]) if "clock" in tree else None,
        wallet=wallet
        and WalletRead(**{**wallet, "remaining_type": RegisterType(wallet["remaining_type"])}),
        sale=sale and SaleWrite(**{**sale, "layout": tuple(sale["layout"])}),
        switch=switch and _switch(switch),
        identity=identity and Identity(**identity),
        cuts=cuts and _cuts(cuts),
        ratios=ratios and _ratios(ratios),
        circuits=circuit_rule.build(tree["circuits"]) if "circuits" in tree else None,
        settings=build_settings(tree["settings"]) if "settings" in tree else None,
        clock_write=build_clock(tree["clock_write"]) if "clock_write" in tree else None,
        calendar=build_calendar(tree["calendar"]) if "calendar" in tree else None,
    )


def _typed(item: _Tree) -> _Tree:
    return {**item, "type": RegisterType(item["type"])} if "type" in item else item


def _switch(tree: _Tree) -> SwitchWrite:
    states = {name: tuple(tree[name]) for name in _STATES if name in tree}
    return SwitchWrite(
        function=tree["function"],
        address=tree["address"],
        states=states,
        evidence=tree["evidence"],
    )


def _cuts(tree: _Tree) -> Cuts:
    return Cuts(
        block=tree["block"],
        register=tree["register"],
        controls={name: CutControl(**tree[name]) for name in CUTS if name in tree},
        evidence=tree["evidence"],
        source=tree["source"],
    )


def _ratios(tree: _Tree) -> Ratios:
    return Ratios(
        by_name={name: Ratio(**_typed(tree[name])) for name in ("ct", "pt") if name in tree},
        evidence=tree["evidence"],
        source=tree["source"],
    )
