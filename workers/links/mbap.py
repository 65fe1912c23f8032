"""Modbus TCP around RTU frames: drivers speak RTU, a gateway that speaks Modbus TCP hears this.

The header numbers each question, so a late answer is known by its number and passed over, where RTU
over TCP has to give the connection up (Modbus Messaging on TCP/IP V1.0b section 3.1, as given in
reference/meter-protocols.md section 4: the PDU is that of RTU without its CRC).
"""

from __future__ import annotations

import struct

from workers.protocols.errors import FrameError
from workers.protocols.framing import Framing
from workers.protocols.modbus import crc_of

_HEADER = struct.Struct(">HHHB")
_PDU_MOST = 253


class MbapFraming:
    """The numbering of one connection. `dress` a request, then `take` its answer."""

    def __init__(self) -> None:
        self._number = 0
        self._asked = b""

    def dress(self, request: bytes) -> bytes:
        """The Modbus TCP frame of an RTU request, under the next number."""
        self._number = self._number + 1 & 0xFFFF
        frame = _HEADER.pack(self._number, 0, len(request) - 2, request[0]) + request[1:-2]
        self._asked = frame[:4]
        return frame

    def take(self, expected: Framing, buffer: bytes) -> tuple[bytes | None, bytes]:
        """As Framing.take: the RTU answer in `buffer`, or (None, rest) for more bytes. Answers to
        earlier questions are passed over. Raises FrameError and what `expected.take` raises."""
        if buffer.startswith(self._asked) and len(buffer) == 6 + (buffer[4] << 8 | buffer[5]):
            body = buffer[6:]  # the common case: this answer and nothing else
            frame, rest = expected.take(body + crc_of(body))
            if frame is not None and not rest:
                return frame, b""
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
