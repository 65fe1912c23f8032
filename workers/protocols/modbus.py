"""Modbus RTU: bytes to PDUs and back, on pymodbus's framer and PDUs (3.16).

RTU over TCP has no frame borders and no transaction number, so the length of an answer is known
from its question and the frame is cut here before pymodbus sees it: pymodbus's own RTU decoder
takes a whole buffer as one frame (reference/meter-protocols.md section 9).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from fastcrc import crc16
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
)

from .acrel import SALE_ANSWER_SIZE, SALE_FUNCTION, PrivateWriteAnswer, PrivateWriteRequest
from .errors import (
    CrcError,
    FrameError,
    LongAnswer,
    MeterRefused,
    ShortAnswer,
    WrongEcho,
    WrongFunction,
    WrongUnit,
)

_EXCEPTION_SIZE = 5
_ERROR_BIT = 0x80
_BIT_READS = (1, 2)
_WORD_READS = (3, 4)
_ECHOED_WRITES = (5, 6, 15, 16)
_REFUSALS = {
    1: "function not known",
    2: "no such register",
    3: "value refused",
    4: "device failure",
    5: "accepted, still working",
    6: "busy",
}

_answers = DecodePDU(False)
_answers.register(PrivateWriteAnswer)
_requests = DecodePDU(True)
_requests.register(PrivateWriteRequest)
_answer_framer = FramerRTU(_answers)
_request_framer = FramerRTU(_requests)


@dataclass(frozen=True, slots=True)
class RtuAnswer:
    """The answer a question must get: `size` bytes, and `prefix` right after the function byte.

    `numbered`: what Modbus TCP sends of it before its data, but for the number (links/mbap.py)."""

    unit: int
    function: int
    size: int
    prefix: bytes
    numbered: bytes = field(init=False, repr=False)
    _head: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        head = bytes([self.unit, self.function]) + self.prefix
        object.__setattr__(self, "_head", head)
        object.__setattr__(self, "numbered", struct.pack(">HH", 0, self.size - 2) + head)

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """Cut the answer (or the 5-byte exception) off `buffer`; see Framing.take.

        Raises WrongUnit, WrongFunction, ShortAnswer, LongAnswer, WrongEcho, CrcError.
        """
        # The common case at once: the whole right answer and nothing else (its CRC over all is 0).
        if len(buffer) == self.size and buffer.startswith(self._head) and crc16.modbus(buffer) == 0:
            return buffer, b""
        return self._take(buffer)

    def _take(self, buffer: bytes) -> tuple[bytes | None, bytes]:
        if buffer and buffer[0] != self.unit:
            raise WrongUnit(f"unit {buffer[0]} answered, unit {self.unit} was asked")
        if len(buffer) < 2:
            return None, buffer
        size = self._size_by_function(buffer[1])
        if size == self.size:
            self._check_prefix(buffer[2 : 2 + len(self.prefix)])
        if len(buffer) < size:
            return None, buffer
        frame, rest = buffer[:size], buffer[size:]
        check_crc(frame)
        return frame, rest

    def _size_by_function(self, function: int) -> int:
        if function == self.function:
            return self.size
        if function == self.function | _ERROR_BIT:
            return _EXCEPTION_SIZE
        raise WrongFunction(f"answer to function {function:02X}, asked {self.function:02X}")

    def _check_prefix(self, got: bytes) -> None:
        wanted = self.prefix[: len(got)]
        if got == wanted:
            return
        if self.function in _ECHOED_WRITES:
            raise WrongEcho(f"the write was echoed as {got.hex(' ')}, not {wanted.hex(' ')}")
        if got[0] < wanted[0]:
            raise ShortAnswer(f"{got[0]} data bytes, asked for {wanted[0]}")
        raise LongAnswer(f"{got[0]} data bytes, asked for {wanted[0]}")


class Question(NamedTuple):
    """A request frame ready for the wire and what its answer must look like; asked as it is."""

    request: bytes
    expected: RtuAnswer


def crc_of(data: bytes) -> bytes:
    """The two CRC bytes that follow `data` on the wire (low byte first)."""
    return crc16.modbus(data).to_bytes(2, "little")


def check_crc(frame: bytes) -> None:
    """Raise CrcError unless the last two bytes of `frame` are the CRC of the rest."""
    right = crc_of(frame[:-2])
    if frame[-2:] != right:
        raise CrcError(f"CRC {frame[-2:].hex(' ')}, right would be {right.hex(' ')}")


def frame_of(pdu: ModbusPDU) -> bytes:
    """The RTU frame of a request or an answer; the unit is `pdu.dev_id`."""
    return _answer_framer.buildFrame(pdu)


def ask(pdu: ModbusPDU) -> Question:
    """The question of a request PDU. Raises ValueError for a function whose answer is not known."""
    request = frame_of(pdu)
    function = pdu.function_code
    if function in _BIT_READS:
        size, prefix = 5 + (pdu.count + 7) // 8, bytes([(pdu.count + 7) // 8])
    elif function in _WORD_READS:
        size, prefix = 5 + 2 * pdu.count, bytes([2 * pdu.count])
    elif function in _ECHOED_WRITES:
        size, prefix = 8, request[2:6]
    elif function == SALE_FUNCTION:
        size, prefix = SALE_ANSWER_SIZE, b""
    else:
        raise ValueError(f"no answer layout for function {function:02X}")
    return Question(request, RtuAnswer(pdu.dev_id, function, size, prefix))


@lru_cache(maxsize=65_536)
def read_registers(*, unit: int, address: int, count: int, function: int = 3) -> Question:
    """Ask `unit` for `count` (1 to 125) registers; `function` 3 holding or 4 input.

    Made once: the same few questions go to every meter of a model, sweep after sweep.
    """
    kind = ReadHoldingRegistersRequest if function == 3 else ReadInputRegistersRequest
    return ask(kind(dev_id=unit, address=address, count=count))


def write_registers(*, unit: int, address: int, values: Sequence[int]) -> Question:
    """Write 16-bit `values` from `address` on (function 10h)."""
    return ask(WriteMultipleRegistersRequest(dev_id=unit, address=address, registers=list(values)))


@lru_cache(maxsize=65_536)
def forcing_write(*, function: int, unit: int, address: int, values: tuple[int, ...]) -> Question:
    """The write that forces a relay, by `function` 10h or 20h. Made once, as `read_registers`: it has the
    same few words each time."""
    write = private_write if function == SALE_FUNCTION else write_registers
    return write(unit=unit, address=address, values=values)


def private_write(*, unit: int, address: int, values: Sequence[int]) -> Question:
    """Acrel's private write (function 20h), used for the sale; see acrel.py for its evidence."""
    return ask(PrivateWriteRequest(dev_id=unit, address=address, registers=list(values)))


def parse_answer(frame: bytes) -> ModbusPDU:
    """The PDU of one whole answer frame; an exception answer comes as ExceptionResponse.

    Raises CrcError, WrongFunction (function not known), ShortAnswer, LongAnswer, FrameError.
    """
    return _parse(frame, _answer_framer)


def parse_request(frame: bytes) -> ModbusPDU:
    """The PDU of one whole request frame. Raises as `parse_answer`."""
    return _parse(frame, _request_framer)


def _parse(frame: bytes, framer: FramerRTU) -> ModbusPDU:
    if len(frame) < FramerRTU.MIN_SIZE:
        raise ShortAnswer(f"{len(frame)} bytes are no frame")
    check_crc(frame)
    kind = framer.decoder.lookupPduClass(frame)
    if kind is None:
        raise WrongFunction(f"function {frame[1]:02X} is not known")
    size = kind.calculateRtuFrameSize(frame)
    if len(frame) < size:
        raise ShortAnswer(f"{len(frame)} of {size} bytes")
    if len(frame) > size:
        raise LongAnswer(f"{len(frame)} bytes where {size} are right")
    try:
        _, pdu = framer.handleFrame(frame, 0, 0)
    except ModbusException as broken:
        raise FrameError(f"frame cannot be decoded: {frame.hex(' ')}") from broken
    if pdu is None:
        raise FrameError(f"frame cannot be decoded: {frame.hex(' ')}")
    return pdu


def accepted(frame: bytes) -> ModbusPDU:
    """The PDU of a whole answer frame that is not an exception. Raises MeterRefused, FrameError."""
    pdu = parse_answer(frame)
    if isinstance(pdu, ExceptionResponse):
        why = _REFUSALS.get(pdu.exception_code, "unknown reason")
        raise MeterRefused(
            f"unit {pdu.dev_id} refused function {pdu.function_code & 0x7F:02X}: {why}",
            refusal=pdu.exception_code,
        )
    return pdu


def check_taken(frame: bytes) -> None:
    """Raise as `accepted` unless a whole answer, as an exchange gave it, says that its write was taken. One
    that echoes its question was compared with it where it was cut."""
    if frame[1] not in _ECHOED_WRITES:
        accepted(frame)


def registers_of(frame: bytes) -> bytes:
    """The register bytes (two each, big endian) of a read answer. Raises as `accepted`.

    Cut out by position: pymodbus unpacks and logs each register singly (baselines.md section 1).
    """
    if len(frame) > 5 and frame[1] in _WORD_READS and frame[2] == len(frame) - 5:
        if crc16.modbus(frame):
            check_crc(frame)
        return frame[3:-2]
    registers = accepted(frame).registers
    return struct.pack(f">{len(registers)}H", *registers)


def take_request(buffer: bytes) -> tuple[ModbusPDU | None, bytes]:
    """Cut the first whole request off a meter's receive stream: (request, rest).

    (None, rest) when more bytes are needed; bytes that begin no frame are dropped one by one, as a
    meter on a noisy line hunts for its start. Never raises.
    """
    while len(buffer) >= FramerRTU.MIN_SIZE:
        kind = _requests.lookupPduClass(buffer)
        if kind is not None and not buffer[1] & _ERROR_BIT:
            size = kind.calculateRtuFrameSize(buffer)
            if size == 0 or len(buffer) < size:
                return None, buffer
            try:
                return parse_request(buffer[:size]), buffer[size:]
            except FrameError:
                pass
        buffer = buffer[1:]
    return None, buffer
