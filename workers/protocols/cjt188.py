"""CJ/T 188-2004/-2018 frames (water, gas, heat meters): bytes to fields and back, and out of a stream.

    FE x n | 68 | T | A0..A6 | C | L | DATA | CS | 16

T is the meter type, A the address as seven BCD bytes (low first; the last two are the maker), CS the
sum mod 256 from 68 to the last data byte. Nothing is offset (unlike DL/T 645), 68 and 16 may occur
inside, so a frame is found by its length and sum, never by its marks. An address is written here as 14
digits in human order; "AA" x 7 means any meter. Source: reference/meter-protocols.md section 3.1-3.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backend.kernel.errors import InvalidInput

from .errors import (
    CrcError,
    FrameError,
    LongAnswer,
    ShortAnswer,
    WrongFunction,
    WrongItem,
    WrongUnit,
)

READ = 0x01
READ_ADDRESS = 0x03
WRITE = 0x04
ANY_ADDRESS = "AA" * 7
ANY_TYPE = 0xAA

_START, _END, _WAKE_UP = 0x68, 0x16, 0xFE
_HEADER = 11  # start, type, address 7, control, length
_OVERHEAD = _HEADER + 2
_LONGEST_DATA = 0x64  # the standard's limit for an answer; more is noise that looks like a length
_DL645_OVERHEAD = 12
_DL645_LONGEST_DATA = 200
_ANSWER_BIT, _ERROR_BIT = 0x80, 0x40
_MOST_BYTES = 1024  # a bus that said this much without the answer will not say it any more
_ADDRESS = re.compile(r"(?:[0-9]{2}|AA){7}")


@dataclass(frozen=True, slots=True)
class Cjt188Frame:
    """One frame: type and control bytes, 14-digit `address`, `data`, and how many FE came before."""

    kind: int
    address: str
    control: int
    data: bytes
    wake_up: int = 0

    @property
    def is_answer(self) -> bool:
        """Whether it comes from a meter."""
        return bool(self.control & _ANSWER_BIT)

    @property
    def is_error(self) -> bool:
        """Whether the meter refuses (data: SER, two status bytes)."""
        return self.is_answer and bool(self.control & _ERROR_BIT)

    def encode(self) -> bytes:
        """The bytes on the wire. Raises InvalidInput for an address or a size out of range."""
        if not _ADDRESS.fullmatch(self.address):
            raise InvalidInput(f"{self.address!r} is no address of 14 digits")
        if len(self.data) > _LONGEST_DATA:
            raise InvalidInput(f"{len(self.data)} data bytes, at most {_LONGEST_DATA} fit")
        head = bytes([_START, self.kind]) + bytes.fromhex(self.address)[::-1]
        body = head + bytes([self.control, len(self.data)]) + self.data
        return bytes([_WAKE_UP]) * self.wake_up + body + bytes([sum(body) & 0xFF, _END])


def _is_whole(bare: bytes) -> bool:
    """Whether bytes are a right frame of this protocol, whatever else they may be."""
    fits = len(bare) >= _OVERHEAD and len(bare) == _OVERHEAD + bare[10] and bare[-1] == _END
    return fits and sum(bare[:-2]) & 0xFF == bare[-2]


def parse_frame(raw: bytes) -> Cjt188Frame:
    """The one frame that `raw` is, wake-up bytes before it allowed and nothing else.

    Raises ShortAnswer, LongAnswer, CrcError, FrameError (no frame, or a DL/T 645 one).
    """
    bare = raw.lstrip(bytes([_WAKE_UP]))
    if bare and bare[0] != _START:
        raise FrameError(f"a frame starts with 68, not {bare[0]:02X}")
    if _dl645_size(bare, 0) == len(bare) != 0 and not _is_whole(bare):
        raise FrameError("this is a DL/T 645 frame, not CJ/T 188")
    if len(bare) < _OVERHEAD:
        raise ShortAnswer(f"{len(bare)} bytes are no frame")
    size = _OVERHEAD + bare[10]
    if len(bare) < size:
        raise ShortAnswer(f"{len(bare)} of {size} bytes")
    if len(bare) > size:
        raise LongAnswer(f"{len(bare)} bytes where {size} are right")
    right = sum(bare[:-2]) & 0xFF
    if bare[-2] != right:
        raise CrcError(f"checksum error (right value {right:02X}): {bare[-2]:02X} came")
    if bare[-1] != _END:
        raise FrameError(f"a frame ends with 16, not {bare[-1]:02X}")
    return _fields(bare, wake_up=len(raw) - len(bare))


def check_answer(*, request: Cjt188Frame, answer: Cjt188Frame) -> None:
    """Raise unless `answer` can be the answer to `request`: WrongUnit, WrongFunction, WrongItem.

    The address decides, whatever type answers (a meter asked as 20 may say 25). The data identifier
    may come back in either byte order. SER is not compared: some meters always send the same one.
    """
    if request.address not in (ANY_ADDRESS, answer.address):
        raise WrongUnit(f"meter {answer.address} answered, {request.address} was asked")
    if answer.control & ~_ERROR_BIT != request.control | _ANSWER_BIT:
        raise WrongFunction(f"answer {answer.control:02X} to control {request.control:02X}")
    asked, got = request.data[:2], answer.data[:2]
    if answer.is_error or len(asked) < 2 or len(got) < 2:
        return
    if got not in (asked, asked[::-1]):
        raise WrongItem(f"answer for {got.hex(' ').upper()}, asked {asked.hex(' ').upper()}")


@dataclass(frozen=True, slots=True)
class Cjt188Answer:
    """The Framing of the answer to `request`, on a bus that may carry noise, other meters and DL/T 645."""

    request: Cjt188Frame

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """Cut the answer off `buffer`, what came before it with it; see Framing.take.

        Whole frames of others are passed over; the beginning of one never holds up the answer behind
        it. The cut frame has no wake-up bytes. Raises FrameError when too much came without an answer.
        """
        at = 0
        while (at := buffer.find(_START, at)) >= 0:
            alien = _dl645_size(buffer, at)
            size = _size(buffer, at)
            if alien:
                at += alien
            elif size and self._is_ours(buffer[at : at + size]):
                return buffer[at : at + size], buffer[at + size :]
            elif not size and _is_open(buffer, at) and self._begins_ours(buffer[at:]):
                break
            else:
                at += size or 1
        if len(buffer) > _MOST_BYTES:
            raise FrameError(f"{len(buffer)} bytes came, the answer was not among them")
        return None, buffer

    def _is_ours(self, bare: bytes) -> bool:
        try:
            check_answer(request=self.request, answer=_fields(bare))
        except FrameError:
            return False
        return True

    def _begins_ours(self, begun: bytes) -> bool:
        address = bytes.fromhex(self.request.address)[::-1]
        same_address = (
            self.request.address == ANY_ADDRESS or begun[2:9] == address[: len(begun[2:9])]
        )
        return same_address and all(
            control & ~_ERROR_BIT == self.request.control | _ANSWER_BIT for control in begun[9:10]
        )


def take_frame(buffer: bytes) -> tuple[Cjt188Frame | None, bytes]:
    """Cut the first whole CJ/T 188 frame off a receive stream (a meter's ear): (frame, rest).

    (None, rest) when more bytes are needed. Noise and DL/T 645 frames are dropped. Never raises.
    """
    at = 0
    while (at := buffer.find(_START, at)) >= 0:
        alien = _dl645_size(buffer, at)
        if alien:
            at += alien
            continue
        size = _size(buffer, at)
        if size:
            return _fields(buffer[at : at + size]), buffer[at + size :]
        if _is_open(buffer, at):
            return None, buffer[at:]
        at += 1
    return None, b""


def _fields(bare: bytes, *, wake_up: int = 0) -> Cjt188Frame:
    address = bare[2:9][::-1].hex().upper()
    return Cjt188Frame(bare[1], address, bare[9], bare[_HEADER:-2], wake_up)


def _size(buffer: bytes, at: int) -> int:
    """The size of the whole and right frame that starts `at`; 0 when there is none."""
    if len(buffer) < at + _OVERHEAD or buffer[at + 10] > _LONGEST_DATA:
        return 0
    return _checked(buffer, at, _OVERHEAD + buffer[at + 10])


def _dl645_size(buffer: bytes, at: int) -> int:
    """The size of the whole and right DL/T 645 frame that starts `at`; 0 when there is none.

    It wins where both readings hold: its second 68 makes an accident less likely.
    """
    if len(buffer) < at + _DL645_OVERHEAD or buffer[at] != _START or buffer[at + 7] != _START:
        return 0
    if buffer[at + 9] > _DL645_LONGEST_DATA:
        return 0
    return _checked(buffer, at, _DL645_OVERHEAD + buffer[at + 9])


def _checked(buffer: bytes, at: int, size: int) -> int:
    end = at + size
    if len(buffer) < end or buffer[end - 1] != _END:
        return 0
    return size if sum(buffer[at : end - 2]) & 0xFF == buffer[end - 2] else 0


def _is_open(buffer: bytes, at: int) -> bool:
    """Whether what starts `at` may still become a frame of either protocol with more bytes."""
    left = len(buffer) - at
    if left < _HEADER:
        return True
    if buffer[at + 10] <= _LONGEST_DATA and left < _OVERHEAD + buffer[at + 10]:
        return True
    size = _DL645_OVERHEAD + buffer[at + 9]
    return buffer[at + 7] == _START and buffer[at + 9] <= _DL645_LONGEST_DATA and left < size
