"""Keys: what they are derived from and how a gateway's root key rests in a database row.

HKDF-SHA256 is RFC 5869, HMAC-SHA256 RFC 2104, AES-KW RFC 3394 (reference/trust.md section 7).
The key-encryption key (KEK) comes from a file or a KMS and never enters the database.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from .errors import HandshakeForged, KeyBlobBroken

KEY_SIZE = 32
SALT_SIZE = 4
GATEWAY_SIZE = 8
SESSION_SIZE = 8
NONCE_SIZE = 16
MAC_SIZE = 32
LAST_VERSION = 0xFFFF


@dataclass(frozen=True, slots=True)
class KeyName:
    """Which root key: the gateway's 8-byte uplink id and the key version, 1 to 65,535."""

    gateway: bytes
    version: int

    def __post_init__(self) -> None:
        if len(self.gateway) != GATEWAY_SIZE:
            raise ValueError("a gateway's uplink id has 8 bytes")
        if not 1 <= self.version <= LAST_VERSION:
            raise ValueError("a key version is 1 to 65535")

    @property
    def encoded(self) -> bytes:
        """10 bytes: id and version, big endian."""
        return self.gateway + self.version.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class DirectionKeys:
    """Key (32 bytes) and nonce salt (4 bytes) of one direction of one session."""

    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """`up` seals what the gateway sends, `down` what the cloud sends."""

    up: DirectionKeys
    down: DirectionKeys


def derive(*, secret: bytes, salt: bytes, info: bytes, length: int = KEY_SIZE) -> bytes:
    """HKDF-SHA256 of `secret`; an empty `salt` is the RFC's default of 32 zero bytes."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt or None, info=info).derive(secret)


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over the parts joined. Every part but one must have a fixed length."""
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def agree(private: X25519PrivateKey, public: bytes) -> bytes:
    """The X25519 shared secret. Raises HandshakeForged for a public key of low order or wrong length."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise HandshakeForged("a public key that no honest side would send") from error


def session_keys(
    *, root: bytes, shared: bytes, nonces: bytes, key: KeyName, session: bytes
) -> SessionKeys:
    """Both directions' keys: HKDF(root + shared, nonceG + nonceS, "uplink1|" + gw + ver + session + dir).

    `shared` is the X25519 secret of this handshake: who gets the root key later cannot open what was
    recorded before.
    """

    def one(direction: bytes) -> DirectionKeys:
        info = b"uplink1|" + key.encoded + session + direction
        okm = derive(secret=root + shared, salt=nonces, info=info, length=KEY_SIZE + SALT_SIZE)
        return DirectionKeys(okm[:KEY_SIZE], okm[KEY_SIZE:])

    return SessionKeys(up=one(b"U"), down=one(b"D"))


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A 32-byte key at rest: the KEK's version and the AES-KW blob of 40 bytes."""

    kek_version: int
    blob: bytes


class KeyWrapper:
    """Wraps keys for one place each under the process's KEKs (32 bytes each, by version)."""

    def __init__(self, keks: Mapping[int, bytes]) -> None:
        if not keks or any(len(kek) != KEY_SIZE for kek in keks.values()):
            raise ValueError("a key-encryption key has 32 bytes, and one is needed")
        self._keks = dict(keks)

    def wrap(self, secret: bytes, *, place: bytes) -> WrappedKey:
        """Wrap a 32-byte key for `place` under the newest KEK."""
        if len(secret) != KEY_SIZE:
            raise ValueError("only keys of 32 bytes are wrapped")
        newest = max(self._keks)
        return WrappedKey(newest, aes_key_wrap(self._place_key(newest, place), secret))

    def unwrap(self, wrapped: WrappedKey, *, place: bytes) -> bytes:
        """The key that rests at `place`. Raises KeyBlobBroken (other place, other KEK, changed)."""
        if wrapped.kek_version not in self._keks:
            raise KeyBlobBroken("a stored key was wrapped under a KEK that is not configured")
        try:
            return aes_key_unwrap(self._place_key(wrapped.kek_version, place), wrapped.blob)
        except (InvalidUnwrap, ValueError) as error:
            raise KeyBlobBroken("a stored key does not unwrap at this place") from error

    def rewrap(self, wrapped: WrappedKey, *, place: bytes) -> WrappedKey:
        """The same key under the newest KEK; a blob that is already there comes back unchanged, so
        that a batch may be run again. Raises KeyBlobBroken."""
        if wrapped.kek_version == max(self._keks):
            return wrapped
        return self.wrap(self.unwrap(wrapped, place=place), place=place)

    def _place_key(self, version: int, place: bytes) -> bytes:
        return derive(secret=self._keks[version], salt=b"", info=place)


def root_place(key: KeyName) -> bytes:
    """Where a gateway's root key rests: "wrap|" + gw + ver. A blob of another row fails there."""
    return b"wrap|" + key.encoded


def new_root() -> bytes:
    """A fresh gateway root key (GRK): 32 random bytes."""
    return os.urandom(KEY_SIZE)


def new_gateway() -> bytes:
    """A fresh uplink id: 8 random bytes, so that it tells nothing of how many gateways there are."""
    return os.urandom(GATEWAY_SIZE)
