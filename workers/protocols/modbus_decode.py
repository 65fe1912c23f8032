"""A Modbus RTU frame as a plain dictionary, in the spelling of tests/vectors/meter-vectors.json.

What a register means is the profile's business: registers are shown as they are and as 16-bit numbers.
"""

from __future__ import annotations

from pymodbus.framer import FramerRTU
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from . import modbus
from .errors import CrcError, FrameError, LongAnswer, ShortAnswer, WrongFunction, WrongUnit

_ERROR_BIT = 0x80
_BIT_READS = (1, 2)
_WORD_READS = (3, 4)
_SINGLE_WRITES = (5, 6)
_COUNTED_WRITES = (15, 16, 0x20)
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
_Fields = dict[str, object]


def decode_frame(raw: bytes, *, request: bytes | None = None) -> _Fields:
    """The fields of one frame: an answer when its `request` is given, and held against it.

    Without one a frame that can be a request is taken for one (a write's echo cannot be told from the
    write), else for an answer. Raises FrameError and its kinds.
    """
    _check(raw)
    if request is not None:
        _check(request)
        return _answer(_held_against(request, raw))
    if raw[1] & _ERROR_BIT:
        return _answer(modbus.parse_answer(raw))
    try:
        asked = modbus.parse_request(raw)
    except FrameError:
        return _answer(modbus.parse_answer(raw))
    return _request(asked, raw)


def _check(raw: bytes) -> None:
    if len(raw) < FramerRTU.MIN_SIZE:
        raise ShortAnswer(f"{len(raw)} bytes are no frame")
    right = FramerRTU.compute_CRC(raw[:-2]).to_bytes(2, "big")
    if raw[-2:] != right:
        calculated, got = right.hex(" ").upper(), raw[-2:].hex(" ").upper()
        raise CrcError(f"CRC error: crc calc {calculated} got {got}")


def _held_against(request: bytes, raw: bytes) -> ModbusPDU:
    """The PDU of `raw` when it can answer `request`. Raises WrongUnit, WrongFunction, ... as RtuAnswer."""
    asked = modbus.parse_request(request)
    try:
        question = modbus.ask(asked)
    except ValueError:  # a function whose answer's length its question does not tell
        return _same_function(asked, modbus.parse_answer(raw))
    whole, rest = question.expected.take(raw)
    if whole is None:
        raise ShortAnswer(f"{len(raw)} bytes are less than the answer asked for")
    if rest:
        raise LongAnswer(f"{len(rest)} bytes too many for the answer asked for")
    return modbus.parse_answer(whole)


def _same_function(asked: ModbusPDU, answer: ModbusPDU) -> ModbusPDU:
    if answer.dev_id != asked.dev_id:
        raise WrongUnit(f"unit {answer.dev_id} answered, unit {asked.dev_id} was asked")
    if answer.function_code & ~_ERROR_BIT != asked.function_code:
        function, other = asked.function_code, answer.function_code
        raise WrongFunction(f"answer to function {other:02X}, asked {function:02X}")
    return answer


def _request(pdu: ModbusPDU, raw: bytes) -> _Fields:
    function = pdu.function_code
    fields: _Fields = {"unit": pdu.dev_id, "fc": function, "pdu": raw[1:-2].hex(" ").upper()}
    if function in (*_BIT_READS, *_WORD_READS, *_SINGLE_WRITES, *_COUNTED_WRITES):
        fields["address"] = f"0x{pdu.address:04X}"
    if function in _SINGLE_WRITES:
        fields["value"] = f"0x{raw[4:6].hex().upper()}"
    elif function in (*_BIT_READS, *_WORD_READS, *_COUNTED_WRITES):
        fields["count"] = int.from_bytes(raw[4:6], "big")
    if function in (16, 0x20):
        fields["registers"] = _words(pdu)
    return fields


def _answer(pdu: ModbusPDU) -> _Fields:
    if isinstance(pdu, ExceptionResponse):
        name = _EXCEPTIONS.get(pdu.exception_code, "unknown")
        code = pdu.function_code | _ERROR_BIT
        fields: _Fields = {"unit": pdu.dev_id, "fc": code, "exception": pdu.exception_code}
        return fields | {"exception_name": name}
    fields = {"unit": pdu.dev_id, "fc": pdu.function_code}
    if pdu.function_code in _WORD_READS:
        fields |= {"registers": _words(pdu), "values": _numbers(pdu)}
    return fields


def _words(pdu: ModbusPDU) -> list[str]:
    return [f"{word:04X}" for word in pdu.registers]


def _numbers(pdu: ModbusPDU) -> list[_Fields]:
    """Each register as a 16-bit number, counted from 1 (one alone is not counted)."""
    alone = len(pdu.registers) == 1
    return [
        {
            "name": "register" if alone else f"register {number}",
            "value": word,
            "unit": "",
            "type": "uint16",
        }
        for number, word in enumerate(pdu.registers, start=1)
    ]
