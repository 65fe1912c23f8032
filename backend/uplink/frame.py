"""The sealed frame: header 32 bytes (authenticated, not hidden) | ciphertext | tag 16.

Header, big endian: magic 2 | version 1 | type 1 | gateway 8 | session 8 | key version 2 | flags 2 | seq 8.
AES-256-GCM with nonce = salt 4 | seq 8. The flags name the cipher suite (low byte) and the mode.
A stream transport puts a length of 4 bytes before each frame; MQTT needs none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import (
    FrameForged,
    FrameMalformed,
    FrameOutOfOrder,
    FrameReplayed,
    SessionSpent,
    WrongSession,
)
from .keys import DirectionKeys, KeyName

MAGIC = b"SD"
VERSION = 1
HEADER_SIZE = 32
TAG_SIZE = 16
MAX_FRAME = 64 * 1024
MAX_PLAIN = MAX_FRAME - HEADER_SIZE - TAG_SIZE
FRAME_LIMIT = 2**32
WINDOW = 64
SUITE_AES256_GCM_SHA256 = 1

_HEADER = struct.Struct(">2sBB8s8sHHQ")


class FrameType(IntEnum):
    """What a sealed frame carries. 1 and 2 are HELLO and WELCOME, which are not sealed."""

    READ = 3
    CMD = 4
    RES = 5
    KEYUP = 6
    KEYACK = 7
    PING = 8
    BYE = 9
    ALARM = 10


class Mode(IntEnum):
    """ORDERED: every frame follows the last one (TCP). DATAGRAM: a window of 64 (MQTT, which may
    repeat and reorder). Agreed in the handshake and part of every header."""

    ORDERED = 0
    DATAGRAM = 1

    @property
    def flags(self) -> int:
        """The header's flags: mode in the high byte, suite in the low one."""
        return self << 8 | SUITE_AES256_GCM_SHA256


@dataclass(frozen=True, slots=True)
class Header:
    """A header as it stands on the wire. Nothing of it is believed before the tag has passed."""

    type: FrameType
    key: KeyName
    session: bytes
    flags: int
    seq: int

    @property
    def encoded(self) -> bytes:
        """The 32 bytes."""
        return _HEADER.pack(
            MAGIC,
            VERSION,
            self.type,
            self.key.gateway,
            self.session,
            self.key.version,
            self.flags,
            self.seq,
        )


def read_header(frame: bytes) -> Header:
    """The header of `frame`. Raises FrameMalformed."""
    if not HEADER_SIZE + TAG_SIZE <= len(frame) <= MAX_FRAME:
        raise FrameMalformed(f"a frame of {len(frame)} bytes")
    magic, version, kind, gateway, session, key_version, flags, seq = _HEADER.unpack_from(frame)
    if magic != MAGIC or version != VERSION:
        raise FrameMalformed("not a frame of this protocol")
    if not 1 <= seq <= FRAME_LIMIT:
        raise FrameMalformed("a frame number outside 1 to 2^32")
    try:
        return Header(FrameType(kind), KeyName(gateway, key_version), session, flags, seq)
    except ValueError as error:
        raise FrameMalformed("a frame of unknown type or key version 0") from error


class Sealer:
    """Numbers and seals the frames of one direction of one session. Not for two threads.

    It cannot be copied or pickled: a copy would count from the same number and use nonces twice.
    """

    def __init__(
        self,
        *,
        keys: DirectionKeys,
        key: KeyName,
        session: bytes,
        mode: Mode,
        limit: int = FRAME_LIMIT,
    ) -> None:
        self._cipher = AESGCM(keys.key)
        self._salt = keys.salt
        self._key = key
        self._session = session
        self._flags = mode.flags
        self._limit = min(limit, FRAME_LIMIT)
        self._last = 0

    @property
    def sealed(self) -> int:
        """How many frames were sealed."""
        return self._last

    def seal(self, kind: FrameType, plain: bytes) -> bytes:
        """The next frame. Raises SessionSpent (no numbers left), FrameMalformed (too long)."""
        if len(plain) > MAX_PLAIN:
            raise FrameMalformed(f"a payload of {len(plain)} bytes does not fit a frame")
        if self._last >= self._limit:
            raise SessionSpent("the session has no frame numbers left")
        self._last += 1  # before sealing: whatever happens next, this number is used up
        header = Header(kind, self._key, self._session, self._flags, self._last).encoded
        nonce = self._salt + self._last.to_bytes(8, "big")
        return header + self._cipher.encrypt(nonce, plain, header)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sealer is never copied: its numbers would be used twice")


class Window:
    """Which frame numbers were taken: the last 64 in datagram mode, only the last in ordered mode."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._last = 0
        self._taken = 0  # bit i: number `last - i` was taken

    def check(self, seq: int) -> None:
        """Raises FrameReplayed or FrameOutOfOrder. Changes nothing."""
        if seq > self._last:
            if self._mode is Mode.ORDERED and seq != self._last + 1:
                raise FrameOutOfOrder(f"frame {seq} came after {self._last}")
            return
        behind = self._last - seq
        if self._mode is Mode.ORDERED or behind >= WINDOW or self._taken >> behind & 1:
            raise FrameReplayed(f"frame {seq} was taken before or is too old")

    def take(self, seq: int) -> None:
        """Mark a number that `check` let through and whose tag has passed."""
        if seq > self._last:
            shift = min(seq - self._last, WINDOW)  # a far jump must not build a giant number
            self._taken = (self._taken << shift | 1) & ((1 << WINDOW) - 1)
            self._last = seq
        else:
            self._taken |= 1 << (self._last - seq)


class Opener:
    """Opens the frames of one direction of one session, each once."""

    def __init__(self, *, keys: DirectionKeys, key: KeyName, session: bytes, mode: Mode) -> None:
        self._cipher = AESGCM(keys.key)
        self._salt = keys.salt
        self._key = key
        self._session = session
        self._flags = mode.flags
        self._window = Window(mode)

    def open(self, frame: bytes) -> tuple[FrameType, bytes]:
        """Type and payload. Raises FrameMalformed, WrongSession, FrameForged, FrameReplayed,
        FrameOutOfOrder; after each of them this opener is as it was before."""
        header = read_header(frame)
        if header.flags != self._flags:
            raise FrameMalformed("a frame of another suite or mode")
        if header.key != self._key or header.session != self._session:
            raise WrongSession("a frame of another gateway, key or session")
        nonce = self._salt + header.seq.to_bytes(8, "big")
        try:
            plain = self._cipher.decrypt(nonce, frame[HEADER_SIZE:], frame[:HEADER_SIZE])
        except InvalidTag as error:
            raise FrameForged("the frame's tag does not fit") from error
        # After the tag, so that only genuine frames are called replays and only they move the window.
        self._window.check(header.seq)
        self._window.take(header.seq)
        return header.type, plain
