"""Frames of Acrel's 4G meters over TCP: 7B 7B | command | body | CRC-16 (Modbus, low first) | 7D 7D.

A body may hold 7D7D, so an end is believed only where the CRC holds. The login carries no secret: a
serial number proves nothing, whoever accepts such meters needs an allow-list and a private network.
Source: reference/meter-protocols.md section 6.1. Register, time and heartbeat are backed by the
vendor's sample page; data sections and the transparent answer by one open system that runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum

from backend.kernel.errors import InvalidInput

from .errors import BadValue, CrcError, FrameError, LongAnswer, ShortAnswer

_START, _END = b"\x7b\x7b", b"\x7d\x7d"
_MOST_BYTES = 1024
_SERIAL, _ICCID = 20, 30
_REGISTRATION_SIZE, _TIME_SIZE = 58, 7
_SHORTEST_RTU = 5
_TEXT = re.compile(rb"[\x20-\x7e]*\x00*")
_SECTION_ADDRESS = re.compile(r"[0-9A-Za-z_.:-]{0,32}")
_SECTION = re.compile(rb"\[\[(?P<address>[0-9A-Za-z_.:\- \x00]{0,32})\(\(", re.DOTALL)
_SECTION_END = b"))]]"


class Cmd(IntEnum):
    """The command byte. 84, 93, 94 and 91 start at the meter, the others at the server."""

    SETTINGS = 0x82
    REGISTER = 0x84
    SERVER_ADDRESS = 0x88
    ALARM = 0x89
    TRANSPARENT = 0x90
    DATA = 0x91
    TIME = 0x93
    HEARTBEAT = 0x94


def _table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = (row >> 1) ^ 0xA001 if row & 1 else row >> 1
        rows.append(row)
    return tuple(rows)


_CRC = _table()


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame: its command byte (see Cmd; others occur) and its body."""

    command: int
    body: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the wire. Raises InvalidInput for a body that is too long to be found again."""
        inside = bytes([self.command]) + self.body
        raw = _START + inside + crc16(inside).to_bytes(2, "little") + _END
        if len(raw) > _MOST_BYTES:
            raise InvalidInput(f"a frame of {len(raw)} bytes, at most {_MOST_BYTES} are cut")
        return raw


@dataclass(frozen=True, slots=True)
class Registration:
    """Body of 84 from a meter: who it is, its signal, three firmware versions, minutes between data."""

    serial: str
    iccid: str
    signal: int
    firmware: tuple[str, str, str]
    upload_interval_min: int

    def encode(self) -> bytes:
        """The 58 body bytes. Raises InvalidInput when a text or number does not fit."""
        head = _padded(self.serial, _SERIAL) + _padded(self.iccid, _ICCID)
        if not all(re.fullmatch("[0-9]{4}", version) for version in self.firmware):
            raise InvalidInput("a firmware version is four digits")
        if not (0 <= self.signal <= 255 and 0 <= self.upload_interval_min <= 255):
            raise InvalidInput("signal and interval are 0 to 255")
        versions = bytes.fromhex("".join(self.firmware))
        return head + bytes([self.signal]) + versions + bytes([self.upload_interval_min])


@dataclass(frozen=True, slots=True)
class Section:
    """One meter's part of 91: its address as text and the Modbus RTU answer, CRC and all."""

    address: str
    answer: bytes


@dataclass(frozen=True, slots=True)
class DataUpload:
    """Body of 91: the sender's serial (None: not sent) and its sections."""

    serial: str | None
    sections: tuple[Section, ...]

    def encode(self) -> bytes:
        """The body bytes. Raises InvalidInput when a text does not fit."""
        head = b"" if self.serial is None else _padded(self.serial, _SERIAL)
        parts = (
            b"[[" + _address(part.address) + b"((" + part.answer + _SECTION_END
            for part in self.sections
        )
        return head + b"".join(parts)


@dataclass(frozen=True, slots=True)
class Transparent:
    """Body of 90 from the meter: the RTU answer, or only the serial as a receipt (`frame` None)."""

    serial: str | None
    frame: bytes | None


def crc16(data: bytes, crc: int = 0xFFFF) -> int:
    """The Modbus CRC of `data`, continuing from `crc`; over data and its CRC together it is 0."""
    for byte in data:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def parse_packet(raw: bytes) -> Packet:
    """The one frame that `raw` is. Raises ShortAnswer, LongAnswer, CrcError, FrameError."""
    if raw[:2] != _START:
        raise FrameError(f"a frame starts with 7B 7B, not {raw[:2].hex(' ').upper() or 'nothing'}")
    if len(raw) < 7:
        raise ShortAnswer(f"{len(raw)} bytes are no frame")
    if len(raw) > _MOST_BYTES:
        raise LongAnswer(f"{len(raw)} bytes, at most {_MOST_BYTES} are cut")
    if raw[-2:] != _END:
        raise FrameError(f"a frame ends with 7D 7D, not {raw[-2:].hex(' ').upper()}")
    inside, got = raw[2:-4], raw[-4:-2]
    right = crc16(inside).to_bytes(2, "little")
    if got != right:
        raise CrcError(f"CRC error: crc calc {right.hex(' ').upper()} got {got.hex(' ').upper()}")
    return Packet(inside[0], inside[1:])


def take_packet(buffer: bytes) -> tuple[Packet | None, bytes]:
    """Cut the first whole frame off a receive stream, noise before it too: (frame, rest).

    (None, rest) when more bytes are needed; what can no longer begin a frame is dropped. Never raises.
    """
    window = buffer[-_MOST_BYTES:]
    at = window.find(_START)
    while at >= 0:
        end = _end(window, at)
        if end:
            packet = Packet(window[at + 2], window[at + 3 : end - 4])
            return packet, window[end:]
        at = window.find(_START, at + 1)
    at = window.find(_START)
    if at >= 0:
        return None, window[at:]
    return None, window[-1:] if window[-1:] == _START[:1] else b""


def _end(window: bytes, at: int) -> int:
    """Where the frame that starts `at` ends: the first 7D7D before which the CRC holds; 0: nowhere.

    The CRC runs on from end to end, so a stream full of false ends costs one pass.
    """
    crc, done = 0xFFFF, at + 2
    end = window.find(_END, at + 5)
    while end >= 0:
        crc, done = crc16(window[done:end], crc), end
        if crc == 0:
            return end + 2
        end = window.find(_END, end + 1)
    return 0


def parse_registration(body: bytes) -> Registration:
    """The body of 84 from a meter. Raises ShortAnswer, LongAnswer, FrameError (text not ASCII)."""
    _check_size(body, _REGISTRATION_SIZE)
    return Registration(
        serial=_text(body[:20]),
        iccid=_text(body[20:50]),
        signal=body[50],
        firmware=(body[51:53].hex(), body[53:55].hex(), body[55:57].hex()),
        upload_interval_min=body[57],
    )


def parse_serial(body: bytes) -> str:
    """The body of 93 from a meter: its serial. Raises ShortAnswer, LongAnswer, FrameError."""
    _check_size(body, _SERIAL)
    return _text(body)


def time_answer(at: datetime, *, sunday: int) -> Packet:
    """The answer to 93: `at` in the meter's local time. `sunday` is 1 (vendor's sample) or 0.

    Sources disagree on the weekday's count, so it is a setting of the model. Raises InvalidInput for
    a year outside 2000-2099.
    """
    if not 2000 <= at.year <= 2099:
        raise InvalidInput(f"the year {at.year} does not fit")
    weekday = at.isoweekday() % 7 + sunday
    body = bytes([at.year - 2000, at.month, at.day, weekday, at.hour, at.minute, at.second])
    return Packet(Cmd.TIME, body)


def parse_time(body: bytes) -> tuple[str, int]:
    """The body of the answer to 93: ("YYYY-MM-DD hh:mm:ss", weekday byte). Raises FrameError."""
    _check_size(body, _TIME_SIZE)
    year, month, day, weekday, hour, minute, second = body
    try:
        written = date(2000 + year, month, day).isoformat()
    except ValueError as wrong:
        raise BadValue(f"no date: {body[:3].hex(' ').upper()}") from wrong
    if hour > 23 or minute > 59 or second > 59:
        raise BadValue(f"no time of day: {body[4:].hex(' ').upper()}")
    return f"{written} {hour:02d}:{minute:02d}:{second:02d}", weekday


def parse_data(body: bytes) -> DataUpload:
    """The body of 91. A section ends where the CRC of its Modbus answer holds, not at the first mark.

    Raises FrameError for what is no section, CrcError for one whose answer is damaged.
    """
    serial, at = None, 0
    if not body.startswith(b"[["):
        if len(body) < _SERIAL:
            raise ShortAnswer(f"{len(body)} bytes hold neither a serial nor a section")
        serial, at = _text(body[:_SERIAL]), _SERIAL
    sections: list[Section] = []
    while at < len(body):
        head = _SECTION.match(body, at)
        if head is None:
            raise FrameError(f"no section begins at byte {at} of the body")
        end = _answer_end(body, head.end())
        address = head["address"].decode("ascii").strip("\0 ")
        sections.append(Section(address, body[head.end() : end]))
        at = end + len(_SECTION_END)
    return DataUpload(serial, tuple(sections))


def parse_transparent(body: bytes) -> Transparent:
    """The body of 90: an RTU frame with or without the serial before it, or the serial alone.

    Raises FrameError for anything else.
    """
    for serial_size in (0, _SERIAL):
        frame = body[serial_size:]
        if len(frame) >= _SHORTEST_RTU and crc16(frame) == 0:
            return Transparent(_text(body[:serial_size]) or None, frame)
    if len(body) == _SERIAL:
        return Transparent(_text(body), None)
    raise FrameError(f"{len(body)} bytes are neither a Modbus frame nor a serial")


def transparent(frame: bytes, *, serials: Iterable[str] = ()) -> Packet:
    """A 90 that carries `frame` (RTU with its CRC); a meter may put its serial before it."""
    head = b"".join(_padded(serial, _SERIAL) for serial in serials)
    return Packet(Cmd.TRANSPARENT, head + frame)


def _answer_end(body: bytes, start: int) -> int:
    crc, done = 0xFFFF, start
    end = body.find(_SECTION_END, start)
    if end < 0:
        raise ShortAnswer("the section has no end")
    while end >= 0:
        crc, done = crc16(body[done:end], crc), end
        if crc == 0 and end - start >= _SHORTEST_RTU:
            return end
        end = body.find(_SECTION_END, end + 1)
    raise CrcError("CRC error in the Modbus answer of a section")


def _check_size(body: bytes, size: int) -> None:
    if len(body) < size:
        raise ShortAnswer(f"{len(body)} body bytes, {size} are right")
    if len(body) > size:
        raise LongAnswer(f"{len(body)} body bytes, {size} are right")


def _padded(text: str, size: int) -> bytes:
    if len(text) > size or not re.fullmatch("[ -~]*", text):
        raise InvalidInput(f"{text!r} is not ASCII of at most {size} characters")
    return text.encode("ascii").ljust(size, b"\0")


def _address(text: str) -> bytes:
    if not _SECTION_ADDRESS.fullmatch(text):
        raise InvalidInput(f"{text!r} is no address of a section")
    return text.encode("ascii")


def _text(raw: bytes) -> str:
    if not _TEXT.fullmatch(raw):
        raise BadValue(f"no text: {raw.hex(' ').upper()}")
    return raw.rstrip(b"\0").decode("ascii").strip()
