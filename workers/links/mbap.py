"""Modbus TCP around RTU frames: drivers speak RTU, a gateway that speaks Modbus TCP hears this.

The header numbers each question, so a late answer is known by its number and passed over, where RTU
over TCP has to give the connection up (Modbus Messaging on TCP/IP V1.0b section 3.1, as given in
reference/meter-protocols.md section 4: the PDU is that of RTU without its CRC).
"""

from __future__ import annotations

import struct
from functools import lru_cache

from workers.protocols.errors import FrameError
from workers.protocols.framing import Framing
from workers.protocols.modbus import RtuAnswer, crc_of

_HEADER = struct.Struct(">HHHB")
_PDU_MOST = 253


class MbapFraming:
    """The numbering of one connection. `dress` a request, then `take` its answer."""

    __slots__ = ("_number", "_right", "_size")

    def __init__(self) -> None:
        self._number = 0
        self._right = b""
        self._size = 0

    def dress(self, request: bytes, expected: Framing) -> bytes:
        """The Modbus TCP frame of an RTU request, under the next number."""
        self._number = self._number + 1 & 0xFFFF
        number = self._number.to_bytes(2, "big")
        if type(expected) is RtuAnswer:
            self._right, self._size = number + expected.numbered, expected.size + 4
        else:
            self._size = 0
        return number + _tail(request)

    def take(self, expected: Framing, buffer: bytes) -> tuple[bytes | None, bytes]:
        """As Framing.take: the RTU answer in `buffer`, or (None, rest) for more bytes. Answers to
        earlier questions are passed over. Raises FrameError and what `expected.take` raises."""
        # The common case at once: this question's right answer and nothing else.
        if len(buffer) == self._size and buffer.startswith(self._right):
            body = buffer[6:]
            return body + crc_of(body), b""
        while len(buffer) >= 8:
            number, protocol, size, unit = _HEADER.unpack_from(buffer)
            if protocol or not 2 < size <= _PDU_MOST + 1:
                raise FrameError(f"not Modbus TCP: {buffer[:8].hex(' ')}")
            end = 6 + size
            if len(buffer) < end:
                break
            body, buffer = buffer[6:end], buffer[end:]
            if number != self._number:
                continue
            frame, rest = expected.take(body + crc_of(body))
            if frame is None or rest:
                raise FrameError(f"{len(body)} bytes of unit {unit} are not the answer")
            return frame, buffer
        return None, buffer


@lru_cache(maxsize=65_536)
def _tail(request: bytes) -> bytes:
    """A question without its number; the same few go to every meter of a model, sweep after sweep."""
    return _HEADER.pack(0, 0, len(request) - 2, request[0])[2:] + request[1:-2]
