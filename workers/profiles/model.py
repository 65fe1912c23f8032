"""A meter profile as Python values; what each key means stands in schema.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.protocols.values import RegisterType, WordOrder


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
class Profile:
    """One meter model. A part that a model has not is None or empty."""

    model: str
    maker: str
    kind: str
    phases: int
    protocol: str
    word_order: WordOrder
    blocks: tuple[Block, ...]
    fields: tuple[Field, ...]
    relay: RelayField | None
    flags: tuple[FlagField, ...]
    clock: ClockField | None
    wallet: WalletRead | None
    sale: SaleWrite | None
    switch: SwitchWrite | None
