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
from functools import lru_cache
from operator import itemgetter, mul
from typing import Any

from backend.kernel.money import Money
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
# The numbers that a snapshot has a place for, in the order in which `snapshot` takes them.
_TARGETS = ("total", "remaining_fen", "purchase_count", "voltage_mv", "current_ma", "power_w")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one value lies: `code` of struct, `offset` in bytes from the start of `block`. `scale`
    is what it is multiplied by at once; `key` tells it apart."""

    key: tuple[str, ...]
    block: str
    code: str
    offset: int
    scale: int = 1


class _Plan:
    """How a snapshot is made from one set of blocks."""

    def __init__(self, layout: ModbusMap, blocks: Sequence[Block], model: str) -> None:
        first = {block.name: block.address for block in blocks}
        fields: dict[str, Field] = {}
        for field in layout.fields:
            if field.block in first:
                fields.setdefault(field.target, field)  # the first one that was read counts
        flags = [flag for flag in layout.flags if flag.block in first]
        self._layout, self._model = layout, model
        self._names = [block.name for block in blocks]
        self._passes, places = _lay_out(list(_places(layout, fields, first)), blocks)
        self._scales = [place.scale for place in places]
        at = {place.key: index for index, place in enumerate(places)}
        absent, relay = len(places), layout.relay
        self._bits = [
            (flag.name, at["word", flag.block, str(flag.register)], flag.bit) for flag in flags
        ]
        self._words = sorted({word for _, word, _ in self._bits})
        self._one_word = len(self._words) == 1
        self._pick = itemgetter(
            *[at.get(("field", target), absent) for target in _TARGETS],
            absent if relay is None else at.get(("word", relay.block, str(relay.register)), absent),
            at.get(("clock",), absent),
            self._words[0] if self._one_word else absent,
        )
        self._single = self._passes[0][1] if len(self._passes) == 1 else None
        self._sold = layout.wallet is not None
        # The same few status words come again and again.
        self._flags = lru_cache(maxsize=1024)(self._flags_of)
        self._relay = lru_cache(maxsize=1024)(self._relay_of)
        self._bands = [
            (target.removeprefix(_BAND), at["field", target])
            for target in fields
            if target.startswith(_BAND)
        ]
        self._odd = [
            (at["field", target], field)
            for target, field in fields.items()
            if _is_odd(field, layout.word_order)
        ]
        self._identity = at.get(("identity",))
        self._type = layout.identity.value if layout.identity is not None else 0
        self._ratios = {key[1]: index for key, index in at.items() if key[0] == "ratio"}

    def snapshot(self, registers: Sequence[bytes]) -> MeterSnapshot:
        """The snapshot in the blocks' bytes, in their order. Raises struct.error for a short one."""
        if self._single is not None:
            values = self._single(registers[0])
        else:
            values = tuple([v for block, unpack in self._passes for v in unpack(registers[block])])
        if self._identity is not None and values[self._identity] != self._type:
            self._refuse(registers)
        numbers: list[Any] = [*map(mul, values, self._scales), None]
        if self._ratios and not all(values[at] for at in self._ratios.values()):
            self._refuse(registers)
        for at, field in self._odd:
            numbers[at] = self._put_right(field, values[at], values)
        total, remaining, count, voltage, current, power, relay, clock, flags = self._pick(numbers)
        if not self._sold:
            remaining = count = None
        return MeterSnapshot(
            total,
            registers[0] if len(registers) == 1 else b"".join(registers),
            {name: numbers[at] for name, at in self._bands},
            None if remaining is None else Money.of_fen(remaining),
            count,
            Relay.UNKNOWN if relay is None else self._relay(relay),
            self._flags(flags if self._one_word else tuple([values[at] for at in self._words])),
            voltage,
            current,
            power,
            None if clock is None else _clock(clock),
        )

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

    def _flags_of(self, words: int | tuple[int, ...]) -> MeterFlags:
        seen = dict(zip(self._words, [words] if isinstance(words, int) else words, strict=True))
        return MeterFlags(**{name: bool(seen[at] >> bit & 1) for name, at, bit in self._bits})

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

    def read(self, registers: Sequence[bytes]) -> MeterSnapshot:
        """The snapshot in the answers' register bytes, in the order of `questions`."""
        return self._default.snapshot(registers)

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
        yield _Place(("field", target), field.block, code, offset, field.multiply)
    words = {(flag.block, flag.register) for flag in layout.flags if flag.block in first}
    if layout.relay is not None and layout.relay.block in first:
        words.add((layout.relay.block, layout.relay.register))
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
