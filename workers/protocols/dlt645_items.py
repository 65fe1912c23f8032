"""What the data identifiers of DL/T 645 mean: a table, no code per meter.

A frame holds no units, so every name, length, scale and sign comes from here. Source:
reference/meter-protocols.md 1.9 (2007) and 2 (1997) with their evidence grades; names with a
public frame are spelled as that frame's source is in the vectors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from .dlt645_frame import Edition


class Kind(StrEnum):
    """How the bytes of an item are read. All numbers are BCD, low byte first."""

    NUMBER = "number"
    DATE = "date"  # WW DD MM YY
    TIME = "time"  # ss mm hh
    DATE_TIME = "date-time"  # ss mm hh WW DD MM YY
    MOMENT = "moment"  # mm hh DD MM YY
    STATUS = "status"  # 16 bits, not BCD
    ZONES = "zones"  # entries NN DD MM: from that day on day table NN
    SLOTS = "slots"  # entries NN mm hh: from that time on rate NN
    TEXT = "text"  # ASCII, last character first


class Parts(StrEnum):
    """What the `n` of an identifier counts; F or FF asks for all of them in one block."""

    NONE = "none"
    RATES = "rates"  # 0 the sum of all rates, then each rate
    PHASES = "phases"  # 1 to 3
    SUM_AND_PHASES = "sum and phases"  # 0 the sum, then 1 to 3
    NUMBERED = "numbered"  # 1, 2, ..


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `di`: hexadecimal digits in human order, `n`/`nn` the part, `dd` the
    settlement day (00 now, 01 to 0C ago); `length` bytes of one part; `decimals` digits after the
    point; `signed`: the top bit of the top byte is the sign; `name` may hold {part} and {di}."""

    di: str
    name: str
    length: int
    decimals: int = 0
    unit: str = ""
    signed: bool = False
    parts: Parts = Parts.NONE
    kind: Kind = Kind.NUMBER
    always_block: bool = False

    @property
    def width(self) -> int:
        """How many digits of `di` name the part: 2, 1 (1997) or none."""
        return self.di.count("n")


@dataclass(frozen=True, slots=True)
class Layout:
    """What an identifier asks for: parts `first`, first + 1, .. of `row` (one unless `block`)."""

    row: Row
    first: int
    block: bool
    days_ago: int

    @property
    def most(self) -> int:
        """How many parts it can hold at the most."""
        return _LAST[self.row.parts] - self.first + 1 if self.block else 1

    def name(self, index: int) -> str:
        """The name of part number `index` (0 is the first one in the data)."""
        number = self.first + index
        width = self.row.width
        di = self.row.di.replace("n" * width, f"{number:0{width}X}") if width else self.row.di
        name = self.row.name.format(part=_part(self.row.parts, number), di=di)
        return f"{name}, settlement day {self.days_ago} ago" if self.days_ago else name


_LAST = {
    Parts.NONE: 0,
    Parts.RATES: 63,
    Parts.PHASES: 3,
    Parts.SUM_AND_PHASES: 3,
    Parts.NUMBERED: 0xFE,
}
_BLOCK_FIRST = {Parts.PHASES: 1, Parts.NUMBERED: 1}
_RATES, _PHASES, _SUM = Parts.RATES, Parts.PHASES, Parts.SUM_AND_PHASES
_NUMBERED = Parts.NUMBERED


def _part(parts: Parts, number: int) -> str:
    if parts is Parts.RATES:
        return f"rate {number}" if number else "total"
    if parts in (Parts.PHASES, Parts.SUM_AND_PHASES):
        return "ABC"[number - 1] if number else "total"
    return str(number)


ITEMS_2007 = (
    Row("0000nndd", "combined active energy {part}", 4, 2, "kWh", True, _RATES),
    Row("0001nndd", "forward active energy {part}", 4, 2, "kWh", False, _RATES),
    Row("0002nndd", "reverse active energy {part}", 4, 2, "kWh", False, _RATES),
    Row("0003nndd", "combined reactive energy 1 {part}", 4, 2, "kvarh", True, _RATES),
    Row("0004nndd", "combined reactive energy 2 {part}", 4, 2, "kvarh", True, _RATES),
    Row("00900100", "remaining energy", 4, 2, "kWh"),
    Row("00900101", "overdraft energy", 4, 2, "kWh"),
    Row("00900200", "remaining amount", 4, 2, "CNY"),
    Row("00900201", "overdraft amount", 4, 2, "CNY"),
    Row("0201nn00", "voltage {part}", 2, 1, "V", False, _PHASES),
    Row("0202nn00", "current {part}", 3, 3, "A", True, _PHASES),
    Row("0203nn00", "active power {part}", 3, 4, "kW", True, _SUM),
    Row("0204nn00", "reactive power {part}", 3, 4, "kvar", True, _SUM),
    Row("0205nn00", "apparent power {part}", 3, 4, "kVA", True, _SUM),
    Row("0206nn00", "power factor {part}", 2, 3, "", True, _SUM),
    Row("02800001", "neutral current", 3, 3, "A", True),
    Row("02800002", "frequency", 2, 2, "Hz"),
    Row("03300D00", "cover-open count {di}", 3, 0, "times"),
    Row("03330201", "purchase count", 2, 0, "times"),
    Row("03330601", "cumulative purchase amount", 4, 2, "CNY"),
    Row("04000101", "date", 4, kind=Kind.DATE),
    Row("04000102", "time", 3, kind=Kind.TIME),
    Row("0400010C", "date and time", 7, kind=Kind.DATE_TIME),
    Row("04000106", "zone table switch", 5, kind=Kind.MOMENT),
    Row("04000107", "slot table switch", 5, kind=Kind.MOMENT),
    Row("04000108", "rate price switch", 5, kind=Kind.MOMENT),
    Row("04000109", "step price switch", 5, kind=Kind.MOMENT),
    Row("04000201", "year zones", 1),
    Row("04000202", "day tables", 1),
    Row("04000203", "day slots", 1),
    Row("04000204", "rates", 1),
    Row("04000401", "address {di}", 6),
    Row("04000402", "meter number {di}", 6),
    Row("04000403", "asset number", 32, kind=Kind.TEXT),
    Row("040005nn", "status word {part}", 2, parts=_NUMBERED, kind=Kind.STATUS),
    Row("04001001", "alarm amount 1", 4, 2, "CNY"),
    Row("04001002", "alarm amount 2", 4, 2, "CNY"),
    Row("04001003", "overdraft limit", 4, 2, "CNY"),
    Row("04001004", "hoarding limit", 4, 2, "CNY"),
    Row("04001005", "close-allowed amount", 4, 2, "CNY"),
    Row("04010000", "zone table, set 1", 3, kind=Kind.ZONES),
    Row("040100nn", "day table {part}, set 1", 3, parts=_NUMBERED, kind=Kind.SLOTS),
    Row("04020000", "zone table, set 2", 3, kind=Kind.ZONES),
    Row("040200nn", "day table {part}, set 2", 3, parts=_NUMBERED, kind=Kind.SLOTS),
    Row("040501nn", "current price of rate {part}", 4, 4, "CNY/kWh", False, _NUMBERED),
    Row("040502nn", "spare price of rate {part}", 4, 4, "CNY/kWh", False, _NUMBERED),
    Row("040600nn", "current limit of step {part}", 4, 2, "kWh", False, _NUMBERED),
    Row("040601nn", "current price of step {part}", 4, 4, "CNY/kWh", False, _NUMBERED),
    Row("040602nn", "spare limit of step {part}", 4, 2, "kWh", False, _NUMBERED),
    Row("040603nn", "spare price of step {part}", 4, 4, "CNY/kWh", False, _NUMBERED),
    Row("05060001", "last daily freeze", 5, kind=Kind.MOMENT),
    Row(
        "05060101",
        "last daily freeze, forward active energy {part}",
        *(4, 2, "kWh", False, _RATES),
        always_block=True,
    ),
    Row("1D000001", "trip count {di}", 3, 0, "times"),
    Row("1E000001", "close count {di}", 3, 0, "times"),
)

ITEMS_1997 = (
    Row("901n", "forward active energy {part} ({di})", 4, 2, "kWh", False, _RATES),
    Row("902n", "reverse active energy {part} ({di})", 4, 2, "kWh", False, _RATES),
    Row("B61n", "voltage {part} ({di})", 2, 0, "V", False, _PHASES),
    Row("B62n", "current {part} ({di})", 2, 2, "A", False, _PHASES),
    Row("B63n", "active power {part} ({di})", 3, 4, "kW", False, _SUM),
    Row("B64n", "reactive power {part} ({di})", 2, 2, "kvar", False, _SUM),
    Row("B65n", "power factor {part} ({di})", 2, 3, "", False, _SUM),
    Row("C010", "date", 4, kind=Kind.DATE),
    Row("C011", "time", 3, kind=Kind.TIME),
    Row("C032", "meter number ({di})", 6),
)


def _pattern(row: Row) -> re.Pattern[str]:
    text = row.di.replace("dd", "(?P<days>0[0-9A-C])")
    if row.width:
        text = text.replace("n" * row.width, f"(?P<number>[0-9A-F]{{{row.width}}})")
    return re.compile(text)


_TABLES: dict[Edition, list[tuple[re.Pattern[str], Row]]] = {
    "2007": [(_pattern(row), row) for row in ITEMS_2007],
    "1997": [(_pattern(row), row) for row in ITEMS_1997],
}


@lru_cache(maxsize=1024)
def layout(di: str, *, edition: Edition) -> Layout | None:
    """What `di` (8 or, 1997, 4 upper-case hexadecimal digits) asks for; None when not in the table."""
    for pattern, row in _TABLES[edition]:
        if found := pattern.fullmatch(di):
            groups = found.groupdict("0")
            return _layout(row, groups.get("number", "0"), int(groups.get("days", "0"), 16))
    return None


def _layout(row: Row, number: str, days_ago: int) -> Layout | None:
    lowest = _BLOCK_FIRST.get(row.parts, 0)
    block = row.always_block or (row.width > 0 and number == "F" * row.width)
    first = lowest if block else int(number, 16)
    if not lowest <= first <= _LAST[row.parts] or (block and row.kind is Kind.SLOTS):
        return None
    return Layout(row, first, block, days_ago)
