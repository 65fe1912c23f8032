"""Modbus RTU as a meter hears and speaks it, on bare bytes: nothing here is shared with the drivers'
codec but the check sum, so a mistake there does not hide here."""

from __future__ import annotations

from fastcrc import crc16

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE = 1, 2, 3, 4
READ_HOLDING, READ_INPUT, WRITE_MANY, PRIVATE = 0x03, 0x04, 0x10, 0x20
_READS = (1, 2, 3, 4)
_FIXED_SIZE = 8  # unit, function, address 2, count or value 2, CRC 2
_FIXED = (1, 2, 3, 4, 5, 6)
_COUNTED = (0x0F, WRITE_MANY, PRIVATE)  # a byte count at 6 and the data behind it
_HEAD = 7
_LAST_UNIT = 247
_UNITS = tuple(map(str, range(256)))
_PRIVATE_BODY = 11


class Refused(Exception):
    """The meter answers with a Modbus exception of `code`; nothing has changed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class RtuDialect:
    """The dialect of every Modbus meter; see bus.Dialect."""

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """Cut one request with a right CRC off `buffer`; see bus.Dialect.take."""
        while len(buffer) >= 2:
            size = _size(buffer)
            if size == 0 or len(buffer) < size:
                return None, buffer
            if size > 0 and crc16.modbus(buffer[:size]) == 0:
                return buffer[:size], buffer[size:]
            buffer = buffer[1:]  # noise: hunt for the next start
        return None, buffer

    def address(self, request: bytes, /) -> str | None:
        """The unit; None for 0, which every meter hears and none answers."""
        return _UNITS[request[0]] if request[0] else None

    def writes(self, request: bytes, /) -> bool:
        """Whether the function is none of the reads."""
        return request[1] not in _READS


RTU = RtuDialect()


def _size(buffer: bytes) -> int:
    """Bytes of the request that begins here: 0 not known yet, -1 no request begins here."""
    unit, function = buffer[0], buffer[1]
    if unit > _LAST_UNIT:
        return -1
    if function in _FIXED:
        return _FIXED_SIZE
    if function in _COUNTED:
        return _HEAD + buffer[6] + 2 if len(buffer) >= _HEAD else 0
    return -1


def span_of(request: bytes) -> tuple[int, int]:
    """(address, count) of a read or a write of many."""
    return int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")


def data_of(request: bytes) -> bytes:
    """The register bytes that a write carries. Raises Refused when the counts disagree."""
    data = request[_HEAD:-2]
    if len(data) != 2 * span_of(request)[1]:
        raise Refused(ILLEGAL_VALUE)
    return data


def sealed(body: bytes) -> bytes:
    """`body` with its CRC."""
    return body + crc16.modbus(body).to_bytes(2, "little")


def read_answer(request: bytes, registers: bytes) -> bytes:
    """The answer to a read."""
    return sealed(request[:2] + bytes([len(registers)]) + registers)


def write_answer(request: bytes) -> bytes:
    """The answer to a write of many: its address and count again."""
    return sealed(request[:6])


def private_answer(request: bytes) -> bytes:
    """The answer to function 20h: eleven bytes, of which no public source says what they mean. Ours
    are 0Ah, the address and the first eight data bytes."""
    body = (b"\x0a" + request[2:4] + request[_HEAD:-2]).ljust(_PRIVATE_BODY, b"\0")
    return sealed(request[:2] + body[:_PRIVATE_BODY])


def refusal(request: bytes, code: int) -> bytes:
    """The exception answer."""
    return sealed(bytes([request[0], request[1] | 0x80, code]))
