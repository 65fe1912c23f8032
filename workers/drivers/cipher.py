"""The key machine behind a prepaid DL/T 645 meter's security function 03, as a port.

A meter of this kind believes a sale only with a MAC that its ESAM (a security chip) can check. The
keys live in a key machine of whoever had the meters made; this product holds none and cannot make
them, so it asks. Source: reference/meter-protocols.md 1.11, and public firmware of three makers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from backend.kernel.errors import Unavailable
from workers.protocols.errors import FrameError


class CipherNotConfigured(Unavailable):
    """The meter's money moves only by a key machine, and none is configured."""

    code = "CIPHER_NOT_CONFIGURED"


class CipherUnavailable(Unavailable):
    """The key machine does not answer. Nothing was sent to the meter."""

    code = "CIPHER_UNAVAILABLE"


class ForgedAnswer(FrameError):
    """The MAC in an answer is wrong: it is not from this meter's ESAM, or from another session."""

    code = "FRAME_FORGED"


@dataclass(frozen=True, slots=True)
class Opening:
    """What the key machine says first: `cipher` (8 bytes) is `random` (8) under the meter's key, which
    it derives with `dispersion` (8). Like all bytes of this port high byte first, as an ESAM counts
    them; the driver turns them round for the wire."""

    cipher: bytes
    random: bytes
    dispersion: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """An identity authentication that the meter took: `challenge` (4 bytes) is its own random number,
    `esam` (8) the serial number of its chip. It lasts about five minutes."""

    opening: Opening
    challenge: bytes
    esam: bytes


class CipherService(Protocol):
    """A key machine. Every method raises CipherUnavailable."""

    async def opening(self, *, meter: str) -> Opening:
        """Begin an identity authentication with the meter of 12 digits."""
        ...

    async def mac(self, *, session: Session, item: str, data: bytes) -> bytes:
        """The four bytes that prove `data` (clear) of order `item` (8 digits: `070102FF`)."""
        ...

    async def is_genuine(self, *, session: Session, item: str, data: bytes, mac: bytes) -> bool:
        """Whether `mac` (4 bytes) proves `data` of the answer to `item` in this session."""
        ...
