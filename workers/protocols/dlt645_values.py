"""DL/T 645 numbers, dates and tables: data bytes (after - 33h, low byte first) to text and back.

Numbers are decimal strings with every digit the meter sent, made of integers only (C2). All FF is
"no data" (None); any other nibble A-F in a number is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from backend.kernel.errors import InvalidInput

from .dlt645_items import Layout, Row
from .errors import BadValue, LongAnswer, ShortAnswer

SEPARATOR = 0xAA  # 1997: ends an item of a block, or stands for an absent one; never BCD
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")
_SIGN_BIT = 0x80
_CENTURY = 2000


@dataclass(frozen=True, slots=True)
class Value:
    """One number of an answer: `value` an exact decimal string, None when the meter has none; `raw`
    its bytes in wire order."""

    name: str
    value: str | None
    unit: str
    raw: bytes


def spaced(data: bytes) -> str:
    """Bytes as upper-case hexadecimal with spaces."""
    return data.hex(" ").upper()


def bcd_digits(data: bytes) -> str:
    """The digits of BCD bytes, high byte first. Raises BadValue."""
    text = data[::-1].hex()
    if not text.isdecimal():
        raise BadValue(
            f"checksum is right but the value bytes {spaced(data)} are not BCD: reject the value"
        )
    return text


def bcd_bytes(digits: str) -> bytes:
    """The BCD bytes of an even number of digits, low byte first."""
    return bytes.fromhex(digits)[::-1]


def is_absent(data: bytes) -> bool:
    """Whether the meter sent all FF: no data."""
    return data.count(0xFF) == len(data)


def decode_number(data: bytes, *, row: Row) -> str | None:
    """The number in `data` by the scale and sign of `row`. Raises BadValue."""
    if is_absent(data):
        return None
    minus = row.signed and bool(data[-1] & _SIGN_BIT)
    digits = bcd_digits(data[:-1] + bytes([data[-1] & ~_SIGN_BIT]) if minus else data)
    whole = digits[: len(digits) - row.decimals].lstrip("0") or "0"
    sign = "-" if minus and digits.strip("0") else ""
    return f"{sign}{whole}.{digits[-row.decimals :]}" if row.decimals else f"{sign}{whole}"


def encode_number(value: str | None, *, row: Row) -> bytes:
    """The bytes of a decimal string; None gives all FF. Never rounds.

    Raises InvalidInput when it is no number, has more digits than the item or a sign it cannot hold.
    """
    if value is None:
        return b"\xff" * row.length
    found = _NUMBER.fullmatch(value)
    if found is None:
        raise InvalidInput(f"{value!r} is no decimal number", field="value")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    digits = (whole + fraction.ljust(row.decimals, "0")).lstrip("0").rjust(2 * row.length, "0")
    too_fine = len(fraction) > row.decimals
    too_big = len(digits) > 2 * row.length or (row.signed and digits[0] > "7")
    if too_fine or too_big or (sign and not row.signed):
        raise InvalidInput(f"{value} does not fit {row.name}", field="value")
    data = bcd_bytes(digits)
    return data[:-1] + bytes([data[-1] | _SIGN_BIT]) if sign and digits.strip("0") else data


def decode_numbers(data: bytes, *, what: Layout, separators: bool = False) -> tuple[Value, ...]:
    """All numbers of an answer to `what`. `separators`: the block may hold AA bytes (1997).

    Raises BadValue, ShortAnswer and LongAnswer when the bytes do not fill whole items.
    """
    pieces = _pieces(data, what, separators=separators and what.block)
    return tuple(
        Value(
            name=what.name(index),
            value=None if piece == bytes([SEPARATOR]) else decode_number(piece, row=what.row),
            unit=what.row.unit,
            raw=piece,
        )
        for index, piece in enumerate(pieces)
    )


def _pieces(data: bytes, what: Layout, *, separators: bool) -> list[bytes]:
    length, pieces, at, closed = what.row.length, list[bytes](), 0, True
    while at < len(data):
        if separators and data[at] == SEPARATOR and length > 1:
            if closed:
                pieces.append(data[at : at + 1])
            closed = True
            at += 1
            continue
        pieces.append(data[at : at + length])
        closed = False
        at += length
    if at > len(data) or not pieces:
        raise ShortAnswer(f"{len(data)} data bytes, {length} make one {what.row.name}")
    if len(pieces) > what.most:
        raise LongAnswer(f"{len(data)} data bytes, {what.most} x {length} are the most")
    return pieces


def encode_numbers(values: Sequence[str | None], *, what: Layout) -> bytes:
    """The data bytes of `values`, the parts of `what` in order. Raises InvalidInput."""
    if not 1 <= len(values) <= what.most:
        raise InvalidInput(f"{len(values)} values, {what.most} are the most", field="values")
    return b"".join(encode_number(value, row=what.row) for value in values)


def decode_date(data: bytes) -> tuple[str, int]:
    """(YYYY-MM-DD, weekday with 0 = Sunday) of WW DD MM YY. Raises BadValue."""
    year, month, day, weekday = _pairs(data)
    return _day(data, year, month, day), weekday


def encode_date(day: str, *, weekday: int) -> bytes:
    """WW DD MM YY of YYYY-MM-DD in 2000 to 2099. Raises InvalidInput."""
    if not 0 <= weekday <= 7:
        raise InvalidInput(f"{weekday} is no weekday", field="weekday")
    return bcd_bytes(_day_digits(day) + f"{weekday:02d}")


def decode_time(data: bytes) -> str:
    """HH:MM:SS of ss mm hh, HH:MM of mm hh. Raises BadValue."""
    return _clock(data, *_pairs(data))


def encode_time(clock: str) -> bytes:
    """What `decode_time` reads, from the same text. Raises InvalidInput."""
    return bcd_bytes(_clock_digits(clock))


def decode_moment(data: bytes) -> str:
    """`YYYY-MM-DD HH:MM:SS` of ss mm hh DD MM YY, or `YYYY-MM-DD HH:MM` of mm hh DD MM YY.

    The clock is the meter's own (C24). Raises BadValue.
    """
    year, month, day, *clock = _pairs(data)
    return f"{_day(data, year, month, day)} {_clock(data, *clock)}"


def encode_moment(moment: str) -> bytes:
    """What `decode_moment` reads, from the same text. Raises InvalidInput."""
    day, _, clock = moment.partition(" ")
    return bcd_bytes(_day_digits(day) + _clock_digits(clock))


def _pairs(data: bytes) -> list[int]:
    """The two-digit numbers of BCD bytes, high byte first."""
    digits = bcd_digits(data)
    return [int(digits[at : at + 2]) for at in range(0, len(digits), 2)]


def _day(data: bytes, year: int, month: int, day: int) -> str:
    try:
        return date(_CENTURY + year, month, day).isoformat()
    except ValueError as impossible:
        raise BadValue(f"the bytes {spaced(data)} hold no possible date") from impossible


def _clock(data: bytes, hour: int, minute: int, second: int | None = None) -> str:
    if hour > 23 or minute > 59 or (second or 0) > 59:
        raise BadValue(f"the bytes {spaced(data)} hold no possible time of day")
    return f"{hour:02d}:{minute:02d}" + ("" if second is None else f":{second:02d}")


def _day_digits(day: str) -> str:
    try:
        if date.fromisoformat(day).isoformat() == day and day.startswith("20"):
            return day[2:].replace("-", "")
    except ValueError:
        pass
    raise InvalidInput(f"{day!r} is no date YYYY-MM-DD of 2000 to 2099", field="date")


def _clock_digits(clock: str) -> str:
    if not _CLOCK.fullmatch(clock):
        raise InvalidInput(f"{clock!r} is no time HH:MM or HH:MM:SS", field="time")
    return clock.replace(":", "")
