"""The life of a gateway's root keys: offered, accepted beside the old one, alone, retired, revoked.

Version n+1 travels in KEYUP under a session of n. Both are accepted until the first frame on n+1, or
24 hours after KEYACK; then n is retired and its row is to be destroyed. An offer that nobody
acknowledged lapses after 24 hours instead: retiring n then would lock an honest gateway out.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from backend.kernel.errors import Conflict

from .errors import KeyRetired, KeyRevoked, KeyUnknown, MessageRefused
from .keys import KEY_SIZE, LAST_VERSION, KeyName, derive

OVERLAP = timedelta(hours=24)
_CHECK_SIZE = 16


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Which versions of one gateway's key are good, as the cloud keeps it (one row).

    `current` is None when every version is revoked. `highest` was the last one given out; numbers
    are never used twice. Versions up to `revoked_through` are revoked.
    """

    gateway: bytes
    current: int | None = 1
    highest: int = 1
    pending: int | None = None
    offered_at: datetime | None = None
    acknowledged_at: datetime | None = None
    revoked_through: int = 0

    def check(self, version: int, *, at: datetime) -> None:
        """Raises KeyRevoked (to be alarmed), KeyUnknown, KeyRetired unless `version` is good."""
        if version <= self.revoked_through:
            raise KeyRevoked(f"key {version} of this gateway is revoked")
        settled = self.settled(at=at)
        if version in (settled.current, settled.pending):
            return
        if version > self.highest:
            raise KeyUnknown(f"key {version} was never given out")
        raise KeyRetired(f"key {version} is not in use any more")

    def settled(self, *, at: datetime) -> KeyRing:
        """The ring after what time alone decides: 24 hours after KEYACK or after an unheard offer."""
        if self.pending is None or self.offered_at is None:
            return self
        if at - (self.acknowledged_at or self.offered_at) < OVERLAP:
            return self
        current = self.pending if self.acknowledged_at else self.current
        return self._with_current(current)

    def offered(self, *, at: datetime) -> KeyRing:
        """With version `highest + 1` pending. Raises Conflict when an offer is open, the gateway is
        revoked, or the versions are used up."""
        settled = self.settled(at=at)
        if settled.current is None or settled.pending is not None:
            raise Conflict("a key is offered already, or the gateway is revoked")
        return settled._next_version(pending=True, at=at)

    def acknowledged(self, version: int, *, at: datetime) -> KeyRing:
        """After KEYACK or a genuine HELLO for the pending version; any other changes nothing."""
        settled = self.settled(at=at)
        if version != settled.pending or settled.acknowledged_at is not None:
            return settled
        return replace(settled, acknowledged_at=at)

    def used(self, version: int) -> KeyRing:
        """After a genuine frame on `version`: the first one on the pending version retires the old."""
        return self if version != self.pending else self._with_current(version)

    def revoked(self) -> KeyRing:
        """With every version given out so far revoked, the pending one too."""
        return replace(self._with_current(None), revoked_through=self.highest)

    def enrolled_again(self, *, at: datetime) -> KeyRing:
        """After a new claim: version `highest + 1` is current. Raises Conflict unless revoked."""
        if self.current is not None:
            raise Conflict("a gateway in use is revoked before it is enrolled again")
        return self._next_version(pending=False, at=at)

    def _with_current(self, current: int | None) -> KeyRing:
        return replace(self, current=current, pending=None, offered_at=None, acknowledged_at=None)

    def _next_version(self, *, pending: bool, at: datetime) -> KeyRing:
        if self.highest >= LAST_VERSION:
            raise Conflict("the key versions of this gateway are used up")
        version = self.highest + 1
        if pending:
            return replace(self, highest=version, pending=version, offered_at=at)
        return replace(self, highest=version, current=version)


def keyup(key: KeyName, root: bytes) -> bytes:
    """The payload of KEYUP: version 2 | root key 32. Only ever sealed in a frame."""
    return key.version.to_bytes(2, "big") + root


def keyack(key: KeyName, root: bytes) -> bytes:
    """The payload of KEYACK: version 2 | a value that only a holder of the new key can name."""
    proof = derive(secret=root, salt=b"", info=b"keyack1|" + key.encoded, length=_CHECK_SIZE)
    return key.version.to_bytes(2, "big") + proof


def read_keyack(payload: bytes, *, gateway: bytes, version: int, root: bytes) -> int:
    """The version acknowledged. Raises MessageRefused when it is not the offered key."""
    if not hmac.compare_digest(payload, keyack(KeyName(gateway, version), root)):
        raise MessageRefused("KEYACK is not for the key that was offered")
    return version


@dataclass(frozen=True, slots=True)
class GatewayKeys:
    """The gateway's own keys: the one that works, and a newer one not yet proven by a WELCOME.

    It says HELLO with `pending` first and falls back to `current` when that is refused.
    """

    gateway: bytes
    version: int
    root: bytes = field(repr=False)
    pending: tuple[int, bytes] | None = field(default=None, repr=False)

    def took(self, payload: bytes) -> tuple[GatewayKeys, bytes]:
        """After KEYUP: the keys to store durably, then the KEYACK to send. Raises MessageRefused.

        The same KEYUP twice changes nothing; an older version is refused.
        """
        if len(payload) != 2 + KEY_SIZE:
            raise MessageRefused("KEYUP has a version and a key")
        version, root = int.from_bytes(payload[:2], "big"), payload[2:]
        if version <= self.version or (self.pending and version < self.pending[0]):
            raise MessageRefused("KEYUP offers a version that is not newer")
        return replace(self, pending=(version, root)), keyack(KeyName(self.gateway, version), root)

    def proven(self, version: int) -> GatewayKeys:
        """After a WELCOME under `version`: when it is the pending one, the old key is forgotten."""
        if self.pending is None or version != self.pending[0]:
            return self
        return GatewayKeys(self.gateway, version, self.pending[1])
