"""DL/T 645 frames, 2007 and 1997 alike: build, parse, and hunt for them in a stream.

Layout (reference/meter-protocols.md 1.2): FE.. | 68 | address 6, low byte first | 68 | control |
length | data, each byte + 33h | sum of everything from the first 68 | 16. A frame is found by its
length: 68h and 16h are also ordinary data and sum bytes, so no byte alone is a border.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backend.kernel.errors import InvalidInput

from .errors import CrcError, FrameError, LongAnswer, ShortAnswer

Edition = Literal["2007", "1997"]

START = 0x68
END = 0x16
WAKE_UP = 0xFE
OFFSET = 0x33
HEADER_SIZE = 10  # 68, address 6, 68, control, length
SHORTEST = HEADER_SIZE + 2
MAX_READ = 200
MAX_WRITE = 50
# A real meter sends 0 to 5; a longer run is noise, and keeping it would let a buffer grow for ever.
MAX_WAKE_UP = 16

ANSWER_BIT = 0x80
ERROR_BIT = 0x40
MORE_BIT = 0x20
FUNCTION_MASK = 0x1F

ANY_METER = "A" * 12
ALL_METERS = "9" * 12

_ADDRESS = re.compile(r"(AA)*([0-9]{2})*")
_PLUS = bytes((byte + OFFSET) & 0xFF for byte in range(256))
_MINUS = bytes((byte - OFFSET) & 0xFF for byte in range(256))


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `address`: 12 characters in human order; `data`: after - 33h; `wake_up`: FE count.

    The address is kept as it came, even with A-F in it: it names a meter, nobody counts with it.
    """

    address: str
    control: int
    data: bytes
    wake_up: int = 0

    @property
    def function(self) -> int:
        """The function, bits 0 to 4 of the control byte."""
        return self.control & FUNCTION_MASK

    @property
    def is_answer(self) -> bool:
        """Whether it comes from a meter."""
        return bool(self.control & ANSWER_BIT)

    @property
    def is_error(self) -> bool:
        """Whether the meter refused."""
        return bool(self.control & ERROR_BIT)

    @property
    def has_more(self) -> bool:
        """Whether the rest of the data waits to be asked for (follow-up frames)."""
        return bool(self.control & MORE_BIT)

    def encode(self) -> bytes:
        """The bytes on the wire, wake-up included. Raises InvalidInput over 200 data bytes."""
        if len(self.data) > MAX_READ:
            raise InvalidInput(f"{len(self.data)} data bytes, 200 are the most", field="data")
        head = bytes([START]) + address_to_wire(self.address) + bytes([START])
        body = head + bytes([self.control, len(self.data)]) + self.data.translate(_PLUS)
        return bytes([WAKE_UP]) * self.wake_up + body + bytes([_sum(body), END])


def check_address(address: str) -> str:
    """`address` if it may be asked: 12 digits, or AA pairs (any) before the low digits known.

    Raises InvalidInput.
    """
    if len(address) != 12 or not _ADDRESS.fullmatch(address):
        raise InvalidInput(f"{address!r} is no meter address of 12 digits", field="address")
    return address


def address_to_wire(address: str) -> bytes:
    """The six address bytes, low byte first. Raises InvalidInput unless 12 hexadecimal digits."""
    if not re.fullmatch(r"[0-9A-Fa-f]{12}", address):
        raise InvalidInput(f"{address!r} is no meter address of 12 digits", field="address")
    return bytes.fromhex(address)[::-1]


def address_matches(*, asked: str, answered: str) -> bool:
    """Whether `answered` may answer `asked`, in which an AA pair stands for any two digits (1.4)."""
    pairs = range(0, 12, 2)
    return all(asked[at : at + 2] in ("AA", answered[at : at + 2]) for at in pairs)


def is_broadcast(address: str) -> bool:
    """Whether all meters hear it and none answers."""
    return address == ALL_METERS


def parse(frame: bytes) -> Frame:
    """The one whole frame that `frame` is, FE bytes before it allowed.

    Raises FrameError (no frame), ShortAnswer, LongAnswer (more bytes than its length says, or a
    length over 200), CrcError.
    """
    body = frame.lstrip(bytes([WAKE_UP]))
    if len(body) < SHORTEST:
        raise ShortAnswer(f"{len(body)} bytes are no frame, the shortest has {SHORTEST}")
    if body[0] != START or body[7] != START:
        raise FrameError("no frame: the two start bytes 68 are not in their places")
    length = body[9]
    if length > MAX_READ:
        raise LongAnswer(f"length {length}, {MAX_READ} is the most")
    size = SHORTEST + length
    if len(body) < size:
        raise ShortAnswer(f"{len(body)} of {size} bytes")
    if len(body) > size:
        raise LongAnswer(f"{len(body)} bytes where {size} are right")
    right = _sum(body[:-2])
    if body[-2] != right:
        raise CrcError(f"checksum error (right value {right:02X}): {body[-2]:02X} came")
    if body[-1] != END:
        raise FrameError(f"no frame: it ends with {body[-1]:02X}, not 16")
    return Frame(
        address=body[6:0:-1].hex().upper(),
        control=body[8],
        data=body[HEADER_SIZE:-2].translate(_MINUS),
        wake_up=len(frame) - len(body),
    )


def hunt(
    buffer: bytes, *, fits_head: Callable[[bytes], bool], fits: Callable[[Frame], bool]
) -> tuple[bytes | None, bytes]:
    """Cut the first wanted frame off a stream: (frame with its FE bytes, rest); see Framing.take.

    `fits_head` looks at the up to 10 header bytes and then the data that came so far (on the wire,
    from the first 68 on) and may say no early, so that a cut-off frame of another meter does not
    hold up the answer; `fits` looks at the whole frame. A no moves on by one byte. Without a frame the
    rest begins where one may still begin: what can be none is dropped, so a caller that keeps the
    rest never scans a byte twice in vain. Never raises; at most 212 steps a byte.
    """
    at = 0
    while (at := buffer.find(START, at)) >= 0:
        seen = buffer[at : at + SHORTEST + MAX_READ]
        if _may_begin(seen) and fits_head(seen):
            size = SHORTEST + seen[9] if len(seen) >= HEADER_SIZE else SHORTEST + MAX_READ
            begin = _wake_up_before(buffer, at)
            if len(seen) < size:
                return None, buffer[begin:]
            if _is_whole(seen[:size]) and fits(parse(seen[:size])):
                return buffer[begin : at + size], buffer[at + size :]
        at += 1
    return None, buffer[_wake_up_before(buffer, len(buffer)) :]


def _may_begin(seen: bytes) -> bool:
    if len(seen) > 7 and seen[7] != START:
        return False
    return len(seen) < HEADER_SIZE or seen[9] <= MAX_READ


def _is_whole(body: bytes) -> bool:
    return body[-1] == END and body[-2] == _sum(body[:-2])


def _wake_up_before(buffer: bytes, at: int) -> int:
    """Where the run of FE bytes before `at` begins, MAX_WAKE_UP at the most."""
    begin = at
    while begin > max(0, at - MAX_WAKE_UP) and buffer[begin - 1] == WAKE_UP:
        begin -= 1
    return begin


def _sum(body: bytes) -> int:
    return sum(body) & 0xFF
