"""Register bytes to a snapshot: one struct call a block, laid out once for a model.

A profile names up to thirty numbers in a block of registers. Unpacking and scaling them one by one
costs more than the whole exchange (reference/baselines.md section 1), so the places are laid out when
a model is first read, and each reading goes through a few calls that loop in C.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, NamedTuple

from backend.kernel.money import HAO_PER_FEN
from workers.profiles.modbus_map import Block, Field, ModbusMap
from workers.protocols.modbus import Question, read_registers
from workers.protocols.values import RegisterType, WordOrder

from .modbus_reading import blocks_to_read, check_reading
from .ports import MeterFlags, MeterSnapshot, Relay

_CODES = {
    RegisterType.U16: "H",
    RegisterType.S16: "h",
    RegisterType.U32: "I",
    RegisterType.S32: "i",
}
_BAND = "bands."
_CHINA_OFFSET = timedelta(hours=8)  # no summer time since 1991; meters never had it
_Unpack = Callable[[bytes], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one value lies: `code` of struct, `offset` in bytes from the start of `block`; `key` tells
    it apart."""

    key: tuple[str, ...]
    block: str
    code: str
    offset: int


class _Plan:
    """How a snapshot is made from one set of blocks.

    `snapshot` is one expression, written out for the model and compiled once, as NamedTuple and
    dataclass write their methods: taken step by step in a loop it costs three times as much.
    """

    def __init__(self, layout: ModbusMap, blocks: Sequence[Block], model: str) -> None:
        self._layout, self._model = layout, model
        self._names = [block.name for block in blocks]
        first = {block.name: block.address for block in blocks}
        self._fields: dict[str, Field] = {}
        for field in layout.fields:
            if field.block in first:
                self._fields.setdefault(field.target, field)  # the first one that was read counts
        self._passes, places = _lay_out(list(_places(layout, self._fields, first)), blocks)
        self._at = {place.key: index for index, place in enumerate(places)}
        self._ratios = {key[1]: index for key, index in self._at.items() if key[0] == "ratio"}
        flags = [flag for flag in layout.flags if flag.block in first]
        self._bits = [
            (flag.name, self._word(flag.block, flag.register), flag.bit, 0) for flag in flags
        ]
        if (cuts := layout.cuts) is not None and cuts.block in first:
            word = self._word(cuts.block, cuts.register)
            self._bits += [
                (f"{name}_cut", word, control.on_bit, control.closed_mask)
                for name, control in cuts.controls.items()
            ]
        self._words = sorted({word for _, word, _, _ in self._bits})
        self.snapshot: Callable[[Sequence[bytes]], MeterSnapshot] = self._compiled(first)
        """The snapshot in the blocks' bytes, in their order. Raises WrongModel, BadValue, and
        struct.error for a short one."""

    def _compiled(self, first: Mapping[str, int]) -> Callable[[Sequence[bytes]], MeterSnapshot]:
        relay, sold = self._layout.relay, self._layout.wallet is not None
        has_relay = relay is not None and relay.block in first
        bands = [target for target in self._fields if target.startswith(_BAND)]
        shown = ", ".join(
            f"{target.removeprefix(_BAND)!r}: {self._number(target)}" for target in bands
        )
        money = self._number("remaining_fen") if sold else "None"
        clock = self._at.get(("clock",))
        words = ", ".join(f"v[{word}]" for word in self._words)
        snapshot = {
            "total": self._number("total"),
            "raw": "r[0]" if len(self._names) == 1 else "b''.join(r)",
            "bands": f"{{{shown}}}",
            "remaining_hao": "None" if money == "None" else f"({money}) * {HAO_PER_FEN}",
            "purchase_count": self._number("purchase_count") if sold else "None",
            "relay": f"relay(v[{self._word(relay.block, relay.register)}])"
            if relay is not None and has_relay
            else "UNKNOWN",
            "flags": f"flags({words})",
            "meter_clock": "None" if clock is None else f"clock(v[{clock}])",
        } | {name: self._number(name) for name in ("voltage_mv", "current_ma", "power_w")}
        shows = ", ".join(snapshot.get(name, "None") for name in MeterSnapshot._fields)
        lines = ["def snapshot(r):", f" v = {self._unpacking()}"]
        wrong = [f"not v[{index}]" for index in self._ratios.values()]
        if self._layout.identity is not None and ("identity",) in self._at:
            wrong.append(f"v[{self._at['identity',]}] != {self._layout.identity.value}")
        if wrong:
            lines += [f" if {' or '.join(wrong)}:", "  refuse(r)"]
        lines.append(f" return new(MeterSnapshot, ({shows},))")
        names: dict[str, Any] = {
            "MeterSnapshot": MeterSnapshot,
            "new": tuple.__new__,  # as NamedTuple's own, which takes its time for names and defaults
            "UNKNOWN": Relay.UNKNOWN,
            "clock": _clock,
            "refuse": self._refuse,
            # The same few status words come again and again.
            "flags": lru_cache(maxsize=1024)(self._flags_of),
            "relay": lru_cache(maxsize=1024)(self._relay_of),
            "odd": {target: partial(self._put_right, f) for target, f in self._fields.items()},
        } | {f"unpack{index}": unpack for index, (_, unpack) in enumerate(self._passes)}
        # Of integers and quoted names only, out of a profile that its JSON Schema has passed.
        exec("\n".join(lines), names)
        made: Callable[[Sequence[bytes]], MeterSnapshot] = names["snapshot"]
        return made

    def _unpacking(self) -> str:
        calls = [f"unpack{index}(r[{block}])" for index, (block, _) in enumerate(self._passes)]
        return calls[0] if len(calls) == 1 else f"({', '.join('*' + call for call in calls)},)"

    def _number(self, target: str) -> str:
        """The expression of a number; None for one that the model has not."""
        field = self._fields.get(target)
        if field is None:
            return "None"
        value = f"v[{self._at['field', target]}]"
        if _is_odd(field, self._layout.word_order):
            return f"odd[{target!r}]({value}, v)"
        return value if field.multiply == 1 else f"{value} * {field.multiply}"

    def _word(self, block: str, register: int) -> int:
        return self._at["word", block, str(register)]

    def _refuse(self, registers: Sequence[bytes]) -> None:
        check_reading(
            self._layout, dict(zip(self._names, registers, strict=True)), model=self._model
        )

    def _relay_of(self, word: int) -> Relay:
        """All bits of the mask: closed; none: open; else the phases differ."""
        place = self._layout.relay
        assert place is not None, "a word is there only where the layout has a relay"
        seen = word & place.closed_mask
        if seen == place.closed_mask:
            return Relay.CLOSED
        return Relay.UNKNOWN if seen else Relay.OPEN

    def _flags_of(self, *words: int) -> MeterFlags:
        """A control of the meter's own is told by its bit as well, but only while it holds a phase open."""
        seen = dict(zip(self._words, words, strict=True))
        return MeterFlags(
            **{
                name: bool(seen[at] >> bit & 1) and (not closed or seen[at] & closed != closed)
                for name, at, bit, closed in self._bits
            }
        )

    def _put_right(self, field: Field, value: int, values: Sequence[Any]) -> int:
        """A number with its low half first, transformers before it, or a part of its unit."""
        if field.type.words == 2 and self._layout.word_order is WordOrder.LITTLE:
            value = (value & 0xFFFF) << 16 | value >> 16
            if field.type.signed and value >> 31:
                value -= 1 << 32
        value *= field.multiply
        for name in field.ratios:
            fixed = self._layout.ratios and self._layout.ratios.by_name[name].fixed
            value *= fixed or values[self._ratios[name]]
        return value // field.divide


class SnapshotReader:
    """Makes snapshots of one model; made once for a model by `reader_of`."""

    def __init__(self, layout: ModbusMap, model: str) -> None:
        self._layout, self._model = layout, model
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._blocks = blocks_to_read(layout)
        ends = list(accumulate(2 * block.count for block in self._blocks))
        self._parts = [
            slice(end - 2 * b.count, end) for end, b in zip(ends, self._blocks, strict=True)
        ]
        self._default = _Plan(layout, self._blocks, model)
        self._questions: dict[int, tuple[Question, ...]] = {}

    def questions(self, unit: int) -> tuple[Question, ...]:
        """What `unit` is asked for one reading: a question for each block that is not optional."""
        asked = self._questions.get(unit)
        if asked is None:
            asked = self._questions[unit] = tuple(
                read_registers(
                    unit=unit, address=block.address, count=block.count, function=block.function
                )
                for block in self._blocks
            )
        return asked

    def read(self, registers: bytes) -> MeterSnapshot:
        """The snapshot in the answers' register bytes, joined in the order of `questions`."""
        if len(self._parts) == 1:
            return self._default.snapshot((registers,))
        return self._default.snapshot([registers[part] for part in self._parts])

    def snapshot(self, blocks: Mapping[str, bytes]) -> MeterSnapshot:
        """The snapshot in the register bytes of `blocks` (name to bytes): pure, also for stored bytes.

        Raises WrongModel, BadValue (see check_reading), KeyError when a block is not of the profile,
        struct.error when one is short.
        """
        names = tuple(blocks)
        plan = self._plans.get(names)
        if plan is None:
            by_name = {block.name: block for block in self._layout.blocks}
            plan = self._plans[names] = _Plan(
                self._layout, [by_name[name] for name in names], self._model
            )
        return plan.snapshot(list(blocks.values()))


class RegistersTaken(NamedTuple):
    """The register bytes of one reading, joined in the order of `SnapshotReader.questions`."""

    reader: SnapshotReader
    registers: bytes

    def snapshot(self) -> MeterSnapshot:
        """See Taken.snapshot."""
        return self.reader.read(self.registers)


@lru_cache(maxsize=256)
def reader_of(layout: ModbusMap, model: str) -> SnapshotReader:
    """The reader of a model's map; maps are compared by identity."""
    return SnapshotReader(layout, model)


def _places(
    layout: ModbusMap, fields: Mapping[str, Field], first: Mapping[str, int]
) -> Iterator[_Place]:
    """Everything of a layout that lies in the blocks of `first` (name to address)."""

    def at(block: str, register: int) -> int:
        return 2 * (register - first[block])

    for target, field in fields.items():
        little = field.type.words == 2 and layout.word_order is WordOrder.LITTLE
        code = "I" if little else _CODES[field.type]  # the halves are put right before the sign
        offset = at(field.block, field.register)
        yield _Place(("field", target), field.block, code, offset)
    words = {(flag.block, flag.register) for flag in layout.flags if flag.block in first}
    for part in (layout.relay, layout.cuts):
        if part is not None and part.block in first:
            words.add((part.block, part.register))
    for block, register in words:
        yield _Place(("word", block, str(register)), block, "H", at(block, register))
    if layout.identity is not None and layout.identity.block in first:
        identity = layout.identity
        yield _Place(("identity",), identity.block, "H", at(identity.block, identity.register))
    for name, ratio in (layout.ratios.by_name if layout.ratios else {}).items():
        if ratio.block is not None and ratio.block in first:
            offset = at(ratio.block, ratio.register)
            yield _Place(("ratio", name), ratio.block, _CODES[ratio.type], offset)
    if layout.clock is not None and layout.clock.block in first:
        yield _Place(
            ("clock",), layout.clock.block, "7s", at(layout.clock.block, layout.clock.register)
        )


def _lay_out(
    places: Sequence[_Place], blocks: Sequence[Block]
) -> tuple[list[tuple[int, _Unpack]], list[_Place]]:
    """The passes over the blocks (index of the block, what unpacks it) and the places in the order in
    which they come out. Places that lie over each other need a second pass over their block."""
    passes: list[tuple[int, _Unpack]] = []
    ordered: list[_Place] = []
    for index, block in enumerate(blocks):
        mine = (place for place in places if place.block == block.name)
        left = sorted(mine, key=lambda place: place.offset)
        while left:
            over, layout, end = [], ">", 0
            for place in left:
                if place.offset < end:
                    over.append(place)
                    continue
                layout += f"{place.offset - end}x{place.code}"
                end = place.offset + struct.calcsize(">" + place.code)
                ordered.append(place)
            passes.append((index, struct.Struct(f"{layout}{2 * block.count - end}x").unpack))
            left = over
    return passes, ordered


def _is_odd(field: Field, order: WordOrder) -> bool:
    little = field.type.words == 2 and order is WordOrder.LITTLE
    return little or field.divide != 1 or bool(field.ratios)


def _clock(data: bytes | None) -> datetime | None:
    if data is None:
        return None
    year, month, day, _, hour, minute, second = data
    if not month:
        return None
    try:
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC) - _CHINA_OFFSET
    except ValueError:
        return None  # a meter whose clock was never set shows zeros
