"""Secrets at rest: AES-256-GCM under a versioned key-encryption key, bound to their place.

The sealed form is `version (2 bytes, big endian) | nonce (12) | ciphertext and tag`. The place
(`group/kind/key`) is authenticated, so a blob copied to another row does not open there.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import DomainError

_SHORTEST = 2 + 12 + 16  # version, nonce, tag


class SealBroken(DomainError):
    """A stored secret does not open: wrong key version, wrong place or changed bytes."""

    code = "SEAL_BROKEN"


class SecretBox:
    """Seals and opens JSON objects of strings with the process's key-encryption keys."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = dict(keys)

    def seal(self, secret: Mapping[str, str], *, place: str) -> bytes:
        """Encrypt `secret` for `place` under the newest key."""
        version = max(self._keys)
        nonce = os.urandom(12)
        plain = json.dumps(dict(secret)).encode()
        return (
            version.to_bytes(2, "big")
            + nonce
            + AESGCM(self._keys[version]).encrypt(nonce, plain, place.encode())
        )

    def open(self, sealed: bytes, *, place: str) -> dict[str, str]:
        """Decrypt. Raises SealBroken."""
        key = self._keys.get(int.from_bytes(sealed[:2], "big"))
        if len(sealed) < _SHORTEST:
            raise SealBroken("a stored secret is cut short")
        if key is None:
            raise SealBroken("a stored secret was sealed with a key that is not configured")
        try:
            plain = AESGCM(key).decrypt(sealed[2:14], sealed[14:], place.encode())
        except InvalidTag as error:
            raise SealBroken("a stored secret does not open at this place") from error
        opened: dict[str, str] = json.loads(plain)
        return opened

    def fingerprint(self, text: str) -> bytes:
        """A keyed SHA-256 of `text`: stable, and nobody without the key can make it."""
        return hmac.new(self._keys[min(self._keys)], text.encode(), hashlib.sha256).digest()

    def keys_for(self, purpose: str) -> dict[int, bytes]:
        """Key-encryption keys (32 bytes each, by version) for a scheme of its own, so that no key
        serves two. HKDF-SHA256 (RFC 5869) of each of the process's keys."""

        def one(key: bytes) -> bytes:
            return HKDF(
                algorithm=SHA256(), length=32, salt=None, info=b"kek|" + purpose.encode()
            ).derive(key)

        return {version: one(key) for version, key in self._keys.items()}


def digest(token: str) -> bytes:
    """SHA-256 of a random token: what the database keeps of it."""
    return hashlib.sha256(token.encode()).digest()
