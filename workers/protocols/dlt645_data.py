"""The data of one DL/T 645 item as a small dict of texts, and back; keys as in the meter vectors.

Numbers give `values`; dates, tables and status words give keys of their own. An identifier that is
not in the table gives its bytes as `data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.kernel.errors import InvalidInput

from .dlt645_frame import Edition
from .dlt645_items import Kind, Layout, layout
from .dlt645_values import (
    Value,
    bcd_bytes,
    bcd_digits,
    decode_date,
    decode_moment,
    decode_numbers,
    decode_time,
    encode_date,
    encode_moment,
    encode_numbers,
    encode_time,
    is_absent,
    spaced,
)
from .errors import BadValue, LongAnswer, ShortAnswer

Fields = dict[str, object]

_ABSENT = "absent (all FF)"
_LEFT_OUT = "absent (AA)"
_NEVER = "never (all 00)"
_RELAY_WORD = 3
_RELAY_OPEN = 0x10
_COMMANDED_OFF = 0x40


def decode_values(data: bytes, *, di: str, edition: Edition) -> tuple[Value, ...]:
    """The numbers of item `di`. Raises InvalidInput when the table has no number of that name,
    and BadValue, ShortAnswer, LongAnswer."""
    return decode_numbers(data, what=_numbers(di, edition), separators=edition == "1997")


def encode_values(values: Sequence[str | None], *, di: str, edition: Edition = "2007") -> bytes:
    """The data bytes of item `di` with `values`. Raises InvalidInput."""
    return encode_numbers(values, what=_numbers(di, edition))


def decode_data(data: bytes, *, di: str, edition: Edition) -> Fields:
    """The fields of item `di`. Raises BadValue, ShortAnswer, LongAnswer."""
    what = layout(di, edition=edition)
    if what is None:
        return {"data": spaced(data)} if data else {}
    if what.row.kind is Kind.NUMBER:
        values = decode_numbers(data, what=what, separators=edition == "1997")
        return {"values": [_shown(value) for value in values]}
    return _decode_other(data, what)


def encode_data(fields: Mapping[str, object], *, di: str, edition: Edition = "2007") -> bytes:
    """What `decode_data` reads, from the same fields (others are ignored; AA bytes that merely end
    an item of a 1997 block are not written back). Raises InvalidInput."""
    try:
        return _encode(fields, layout(di, edition=edition))
    except ValueError as wrong:
        raise InvalidInput(f"these fields do not make an item {di}", field="fields") from wrong


def _encode(fields: Mapping[str, object], what: Layout | None) -> bytes:
    if what is None:
        return bytes.fromhex(_text(fields, "data")) if "data" in fields else b""
    if what.row.kind is Kind.NUMBER:
        return b"".join(_raw_or_value(entry, what) for entry in _entries(fields, "values"))
    return _encode_other(fields, what)


def _numbers(di: str, edition: Edition) -> Layout:
    what = layout(di, edition=edition)
    if what is None or what.row.kind is not Kind.NUMBER:
        raise InvalidInput(f"{di} is no number of the table ({edition})", field="di")
    return what


def _shown(value: Value) -> Fields:
    shown: Fields = {"name": value.name, "value": value.value, "unit": value.unit}
    if value.value is None:
        shown["raw_le"] = spaced(value.raw)
        shown["meaning"] = _ABSENT if is_absent(value.raw) else _LEFT_OUT
    return shown


def _raw_or_value(entry: Mapping[str, object], what: Layout) -> bytes:
    value = entry.get("value")
    if value is None and "raw_le" in entry:
        return bytes.fromhex(_text(entry, "raw_le"))
    return encode_numbers([None if value is None else str(value)], what=what)


def _decode_other(data: bytes, what: Layout) -> Fields:
    kind, length = what.row.kind, what.row.length
    if kind in (Kind.ZONES, Kind.SLOTS):
        return _decode_table(data, kind)
    if kind is Kind.STATUS:
        return _decode_status(data, what)
    if len(data) < length:
        raise ShortAnswer(f"{len(data)} data bytes, {what.row.name} has {length}")
    if len(data) > length:
        raise LongAnswer(f"{len(data)} data bytes, {what.row.name} has {length}")
    if kind is Kind.TEXT:
        return {"text": _ascii(data)}
    if kind is Kind.MOMENT and not any(data):
        return {"time": None, "meaning": _NEVER}
    absent = is_absent(data)
    fields: Fields = {"meaning": _ABSENT} if absent else {}
    if kind in (Kind.DATE, Kind.DATE_TIME):
        day, weekday = (None, None) if absent else decode_date(data[-4:])
        fields |= {"date": day, "weekday": weekday}
    if kind in (Kind.TIME, Kind.DATE_TIME):
        fields["time"] = None if absent else decode_time(data[:3])
    if kind is Kind.MOMENT:
        fields["time"] = None if absent else decode_moment(data)
    return fields


def _encode_other(fields: Mapping[str, object], what: Layout) -> bytes:
    kind = what.row.kind
    if kind in (Kind.ZONES, Kind.SLOTS):
        return _encode_table(fields, kind)
    if kind is Kind.STATUS:
        words = range(what.first, what.first + what.most)
        found = [_text(fields, f"status_word_{n}") for n in words if f"status_word_{n}" in fields]
        return b"".join(bytes.fromhex(word)[::-1] for word in found)
    if kind is Kind.TEXT:
        return _text(fields, "text").encode("ascii")[::-1]
    if "meaning" in fields:
        return (b"\x00" if fields["meaning"] == _NEVER else b"\xff") * what.row.length
    data = b""
    if kind in (Kind.TIME, Kind.DATE_TIME):
        data += encode_time(_text(fields, "time"))
    if kind in (Kind.DATE, Kind.DATE_TIME):
        weekday = int(_text(fields, "weekday"))
        data += encode_date(_text(fields, "date"), weekday=weekday)
    return data if kind is not Kind.MOMENT else encode_moment(_text(fields, "time"))


def _decode_status(data: bytes, what: Layout) -> Fields:
    if not data or len(data) % 2:
        raise ShortAnswer(f"{len(data)} data bytes, a status word has 2")
    if len(data) > 2 * what.most:
        raise LongAnswer(f"{len(data)} data bytes, {2 * what.most} are the most")
    fields: Fields = {}
    for at in range(0, len(data), 2):
        number, word = what.first + at // 2, int.from_bytes(data[at : at + 2], "little")
        fields[f"status_word_{number}"] = f"{word:04X}"
        if number == _RELAY_WORD:
            fields["relay"] = "off (open)" if word & _RELAY_OPEN else "on (closed)"
            fields["relay_command_state"] = "off" if word & _COMMANDED_OFF else "on"
    return fields


def _decode_table(data: bytes, kind: Kind) -> Fields:
    if not data or len(data) % 3:
        raise ShortAnswer(f"{len(data)} data bytes, an entry of the table has 3")
    mark, target = ("-", "table") if kind is Kind.ZONES else (":", "rate")
    entries: list[Fields] = []
    for at in range(0, len(data), 3):
        digits = bcd_digits(data[at : at + 3])
        entries.append({"from": f"{digits[:2]}{mark}{digits[2:4]}", target: int(digits[4:])})
    return {str(kind): entries}


def _encode_table(fields: Mapping[str, object], kind: Kind) -> bytes:
    target = "table" if kind is Kind.ZONES else "rate"
    data = b""
    for entry in _entries(fields, str(kind)):
        begin = _text(entry, "from").replace("-", "").replace(":", "")
        data += bcd_bytes(f"{begin}{int(_text(entry, target)):02d}")
    return data


def _ascii(data: bytes) -> str:
    try:
        return data[::-1].decode("ascii")
    except UnicodeDecodeError as wrong:
        raise BadValue(f"the bytes {spaced(data)} are no ASCII text") from wrong


def _text(fields: Mapping[str, object], key: str) -> str:
    if fields.get(key) is None:
        raise InvalidInput(f"{key} is missing", field=key)
    return str(fields[key])


def _entries(fields: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    entries = fields.get(key)
    if not isinstance(entries, list) or not all(isinstance(one, Mapping) for one in entries):
        raise InvalidInput(f"{key} is missing", field=key)
    return entries
