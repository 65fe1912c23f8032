"""DL/T 645-2007 and -1997, whole: one frame to the fields a person reads.

The parts: dlt645_frame (bytes and stream), dlt645_requests (what is asked), dlt645_answers (what
answers it, long answers), dlt645_items (the table of identifiers), dlt645_values and dlt645_data
(numbers and fields). Facts: reference/meter-protocols.md 1 and 2; proof: the public vectors.
"""

from __future__ import annotations

from collections.abc import Callable

from .dlt645_answers import answer_to
from .dlt645_data import Fields, decode_data
from .dlt645_frame import MAX_WRITE, Edition, Frame, parse
from .dlt645_functions import (
    BAUD_CODES,
    DI_SIZE,
    MAY_HAVE_MORE,
    REFUSALS,
    SECURITY,
    SECURITY_REFUSALS,
    WRITES,
    Action,
    function_name,
    refusal_bits,
)
from .dlt645_items import Kind, layout
from .dlt645_values import bcd_digits, decode_moment, spaced
from .errors import BadValue, LongAnswer, ShortAnswer, WrongFunction

__all__ = ["Edition", "decode_frame"]

_VENDOR_SECURITY = "vendor one-byte security error; do not map it with the plain ERR table"
_CIPHERED_LEVELS = (0x98, 0x99)
_PASSWORDS = "04000C"  # identifiers whose written data are passwords: never shown
_Decoder = Callable[[bytes, Edition], Fields]


def decode_frame(
    frame: bytes, *, request: bytes | None = None, edition: Edition = "2007"
) -> dict[str, object]:
    """The fields of one whole frame, FE bytes before it allowed, in the shape of `decoded` in
    tests/vectors/meter-vectors.json. Values are decimal strings; passwords are left out.

    With `request`, the frame must be its answer. Raises FrameError: ShortAnswer, LongAnswer,
    CrcError, WrongFunction, BadValue; with `request` also WrongUnit, WrongItem, WrongSequence; and
    InvalidInput for a request that nothing answers.
    """
    parsed = parse(frame)
    name = _checked_name(parsed, edition)
    if request is not None:
        answer_to(parse(request), edition=edition).check(parsed)
    fields: Fields = {
        "address": parsed.address,
        "control": f"{parsed.control:02X}",
        "direction": "answer" if parsed.is_answer else "request",
        "error": parsed.is_error,
        "more_frames": parsed.has_more,
        "function": name,
        "wake_up_bytes": parsed.wake_up,
    }
    if parsed.is_error:
        return fields | _refusal(parsed, edition)
    if parsed.is_answer:
        if parsed.has_more and edition == "2007" and name == "read":
            return fields | _first_part(parsed.data, edition)
        return fields | _ANSWERS.get(name, _plain)(parsed.data, edition)
    if parsed.function in WRITES[edition] and len(parsed.data) > MAX_WRITE:
        raise LongAnswer(f"{len(parsed.data)} bytes in a write, {MAX_WRITE} are the most")
    return fields | _REQUESTS.get(name, _plain)(parsed.data, edition)


def _checked_name(frame: Frame, edition: Edition) -> str:
    name = function_name(frame.function, edition=edition)
    if name is None:
        raise WrongFunction(f"function {frame.function:02X} is not known in {edition}")
    more_allowed = frame.function in MAY_HAVE_MORE[edition] and not frame.is_error
    if (frame.is_error and not frame.is_answer) or (
        frame.has_more and not (frame.is_answer and more_allowed)
    ):
        raise WrongFunction(f"control {frame.control:02X} means nothing")
    return name


def _refusal(frame: Frame, edition: Edition) -> Fields:
    secure = edition == "2007" and frame.function == SECURITY
    _sized(frame.data, least=1, most=2 if secure else 1)
    code = int.from_bytes(frame.data, "little")
    fields: Fields = {"error_code": frame.data[::-1].hex().upper()}
    if not secure:
        return fields | {"error_bits": refusal_bits(code, names=REFUSALS[edition])}
    if len(frame.data) == 1:
        return fields | {"error_meaning": _VENDOR_SECURITY}
    return fields | {"error_bits": refusal_bits(code, names=SECURITY_REFUSALS)}


def _sized(data: bytes, *, least: int, most: int | None = None) -> bytes:
    if len(data) < least:
        raise ShortAnswer(f"{len(data)} data bytes, {least} are the least")
    if most is not None and len(data) > most:
        raise LongAnswer(f"{len(data)} data bytes, {most} are the most")
    return data


def _item(data: bytes, edition: Edition) -> tuple[str, bytes]:
    size = DI_SIZE[edition]
    _sized(data, least=size)
    return data[:size][::-1].hex().upper(), data[size:]


def _read_answer(data: bytes, edition: Edition) -> Fields:
    di, rest = _item(data, edition)
    return {"di": di} | decode_data(rest, di=di, edition=edition)


def _first_part(data: bytes, edition: Edition) -> Fields:
    """Of a long answer: values when the cut lies between two of them, else the bytes."""
    di, rest = _item(data, edition)
    what = layout(di, edition=edition)
    whole = what is not None and what.row.kind is Kind.NUMBER and len(rest) % what.row.length == 0
    if whole and rest:
        return {"di": di} | decode_data(rest, di=di, edition=edition)
    return {"di": di, "data": spaced(rest)}


def _next_answer(data: bytes, edition: Edition) -> Fields:
    """A later part: which values it holds depends on the parts before it (LongRead joins them)."""
    di, rest = _item(data, edition)
    if edition == "1997":
        return {"di": di, "data": spaced(rest)}
    _sized(rest, least=1)
    return {"di": di, "seq": f"{rest[-1]:02X}", "data": spaced(rest[:-1])}


def _bare_item(data: bytes, edition: Edition) -> Fields:
    di, rest = _item(data, edition)
    return {"di": di} | _plain(rest, edition)


def _read_request(data: bytes, edition: Edition) -> Fields:
    di, rest = _item(data, edition)
    fields: Fields = {"di": di}
    if not rest:
        return fields
    if edition == "1997" or len(rest) not in (1, 6):
        raise LongAnswer(f"{len(rest)} bytes after the identifier of a read")
    fields["blocks"] = int(bcd_digits(rest[:1]))
    return fields | ({"since": decode_moment(rest[1:])} if len(rest) > 1 else {})


def _next_request(data: bytes, edition: Edition) -> Fields:
    di, rest = _item(data, edition)
    numbered = edition == "2007"
    _sized(rest, least=int(numbered), most=int(numbered))
    fields: Fields = {"di": di}
    return fields | ({"seq": f"{rest[0]:02X}"} if numbered else {})


def _own_address(data: bytes, _: Edition) -> str:
    return bcd_digits(_sized(data, least=6, most=6))


def _authority(data: bytes) -> Fields:
    """PA P0 P1 P2 C0 .. C3, without the password."""
    _sized(data, least=8)
    return {"password_level": f"{data[0]:02X}", "operator": spaced(data[4:8])}


def _write_request(data: bytes, edition: Edition) -> Fields:
    di, rest = _item(data, edition)
    if edition == "1997":
        _sized(rest, least=4)
        fields: Fields = {"di": di, "password_level": f"{rest[0]:02X}"}
        written = rest[4:]
    else:
        fields = {"di": di} | _authority(rest)
        written = rest[8:]
    if di.startswith(_PASSWORDS):
        return fields
    if rest[0] in _CIPHERED_LEVELS:
        return fields | {"data": spaced(written)}
    return fields | (decode_data(written, di=di, edition=edition) if written else {})


def _security_request(data: bytes, edition: Edition) -> Fields:
    di, rest = _item(data, edition)
    _sized(rest, least=4)
    fields: Fields = {"di": di, "operator_bytes_on_wire_order": spaced(rest[:4])}
    return fields | ({"payload": spaced(rest[4:])} if rest[4:] else {})


def _remote_control(data: bytes, _: Edition) -> Fields:
    _sized(data, least=16, most=16)
    known = {action.value: action.word for action in Action}
    return _authority(data) | {
        "n1": f"{data[8]:02X}",
        "n2": f"{data[9]:02X}",
        "valid_until": decode_moment(data[10:]),
        "action": known.get(data[8], "unknown"),
    }


def _freeze_request(data: bytes, _: Edition) -> Fields:
    digits = bcd_digits(_sized(data, least=4, most=4))
    return {"freeze_at": f"{digits[:2]}-{digits[2:4]} {digits[4:6]}:{digits[6:]}"}


def _baud(data: bytes, _: Edition) -> Fields:
    code = _sized(data, least=1, most=1)[0]
    for baud, known in BAUD_CODES.items():
        if known == code:
            return {"baud": baud}
    raise BadValue(f"{code:02X} is no code of a speed")


def _clear_events(data: bytes, _: Edition) -> Fields:
    fields = _authority(_sized(data, least=12, most=12))
    return fields | {"di": data[8:][::-1].hex().upper()}


def _change_password(data: bytes, edition: Edition) -> Fields:
    di, rest = _item(data, edition)
    _sized(rest, least=8, most=8)
    return {"di": di, "password_level": f"{rest[0]:02X}", "new_password_level": f"{rest[4]:02X}"}


def _plain(data: bytes, _: Edition) -> Fields:
    return {"data": spaced(data)} if data else {}


def _nothing_shown(_: bytes, __: Edition) -> Fields:
    """Data that are, or may be, a password."""
    return {}


_REQUESTS: dict[str, _Decoder] = {
    "security": _security_request,
    "broadcast-time": lambda data, _: {"time": decode_moment(_sized(data, least=6, most=6))},
    "read": _read_request,
    "read-follow-up": _next_request,
    "write": _write_request,
    "write-address": lambda data, edition: {"new_address": _own_address(data, edition)},
    "freeze": _freeze_request,
    "change-baud": _baud,
    "change-password": _change_password,
    "clear-demand": lambda data, _: _authority(_sized(data, least=8, most=8)),
    "clear-meter": lambda data, _: _authority(_sized(data, least=8, most=8)),
    "clear-events": _clear_events,
    "remote-control": _remote_control,
    "read(1997)": _read_request,
    "read-follow-up(1997)": _next_request,
    "write(1997)": _write_request,
    "write-address(1997)": lambda data, edition: {"new_address": _own_address(data, edition)},
    "change-password(1997)": _nothing_shown,
    "clear-demand(1997)": _nothing_shown,
}
_ANSWERS: dict[str, _Decoder] = {
    "security": _bare_item,
    "read": _read_answer,
    "read-follow-up": _next_answer,
    "read-address": lambda data, edition: {"read_address": _own_address(data, edition)},
    "change-baud": _baud,
    "change-password": _nothing_shown,
    "read(1997)": _read_answer,
    "read-follow-up(1997)": _next_answer,
    "re-read(1997)": _read_answer,
    "change-password(1997)": _nothing_shown,
}
