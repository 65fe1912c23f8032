"""A software stand-in for the security chip of a prepaid DL/T 645 meter, and for its key machine.

Only for virtual meters and tests: the real ones use secret ciphers and keys that nobody outside has.
What is the same is what travels: sizes, order of fields, the session with its two random numbers, a
MAC over each value. Keys are made at run time (`new_master`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from workers.drivers.cipher import Opening, Session

SESSION_S = 300
_MAC_SIZE = 4


def new_master() -> bytes:
    """A fresh master key, shared by a key machine and the chips made with it."""
    return secrets.token_bytes(32)


def _seal(key: bytes, *parts: bytes) -> bytes:
    return hmac.new(key, b"|".join(parts), hashlib.sha256).digest()


def _dispersion(meter: str) -> bytes:
    return bytes(2) + bytes.fromhex(meter)


@dataclass(slots=True)
class _Open:
    challenge: bytes
    until: int


class SoftwareEsam:
    """The chip of the meter with 12 digits `meter`. All bytes high byte first; times in unix seconds."""

    def __init__(self, master: bytes, meter: str) -> None:
        self._key = _seal(master, _dispersion(meter))
        self._dispersion = _dispersion(meter)
        self._open: _Open | None = None
        self._misses = 0
        self.serial = _seal(self._key, b"serial")[:8]

    def authenticate(self, *, cipher: bytes, random: bytes, dispersion: bytes, now: int) -> bytes:
        """The chip's own random number (4 bytes); empty when the other side does not know the key."""
        right = _seal(self._key, b"identity", random)[:8]
        if dispersion != self._dispersion or not hmac.compare_digest(cipher, right):
            return b""
        self._open = _Open(secrets.token_bytes(4), now + SESSION_S)
        self._misses = 0
        return self._open.challenge

    def is_open(self, now: int) -> bool:
        """Whether somebody is authenticated."""
        return self._open is not None and now < self._open.until

    def mac(self, item: str, data: bytes) -> bytes:
        """The proof of `data` in the open session."""
        assert self._open is not None
        return _seal(self._key, self._open.challenge, item.encode(), data)[:_MAC_SIZE]

    def proves(self, item: str, data: bytes, mac: bytes) -> bool:
        """Whether `mac` is right; the third wrong one ends the session."""
        if hmac.compare_digest(self.mac(item, data), mac):
            return True
        self._misses += 1
        if self._misses >= 3:
            self._open = None
        return False


class SoftwareKeyMachine:
    """The other side: a CipherService for every chip made with the same master key."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    async def opening(self, *, meter: str) -> Opening:
        """See CipherService.opening."""
        random, dispersion = secrets.token_bytes(8), _dispersion(meter)
        cipher = _seal(_seal(self._master, dispersion), b"identity", random)[:8]
        return Opening(cipher, random, dispersion)

    async def mac(self, *, session: Session, item: str, data: bytes) -> bytes:
        """See CipherService.mac."""
        key = _seal(self._master, session.opening.dispersion)
        return _seal(key, session.challenge, item.encode(), data)[:_MAC_SIZE]

    async def is_genuine(self, *, session: Session, item: str, data: bytes, mac: bytes) -> bool:
        """See CipherService.is_genuine."""
        right = await self.mac(session=session, item=item, data=data)
        return hmac.compare_digest(right, mac)
