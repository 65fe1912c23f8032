"""Enrolment: a claim code, used once, gives a gateway its root key and can do nothing else.

The installer types the code into the gateway. REQUEST and ANSWER may cross any network:
REQUEST: version 1 | claim id 8 | serial length 1 | serial | X25519 32 | HMAC(claim key, all before) 32
ANSWER:  X25519 32 | AES-256-GCM(gateway 8 | key version 2 | root key 32) under HKDF(ECDH, claim key)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import (
    ClaimExpired,
    ClaimLocked,
    ClaimRefused,
    ClaimSpent,
    FrameMalformed,
    HandshakeForged,
)
from .keys import (
    GATEWAY_SIZE,
    KEY_SIZE,
    MAC_SIZE,
    KeyName,
    KeyWrapper,
    WrappedKey,
    agree,
    derive,
    mac,
    new_root,
    root_place,
)

CLAIM_LIFE = timedelta(hours=72)
WRONG_TRIES = 5
SECRET_SIZE = 16  # 128 bits: nobody guesses it, so a fast one-way function at rest is enough
CLAIM_ID_SIZE = 8

_SERIAL = re.compile(r"[0-9A-Za-z_-]{1,32}")
_VERSION = b"\x01"
_GRANT_SIZE = GATEWAY_SIZE + 2 + KEY_SIZE
# The answer's key comes from two fresh X25519 keys and seals this one message.
_ONLY_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as it rests in the database. `verifier` is a one-way image of the code, wrapped for
    this id, group and serial: moved to another group's row or with the serial edited it is dead."""

    claim_id: bytes
    group_id: int
    serial: str
    expires_at: datetime
    verifier: WrappedKey
    wrong_tries: int = 0
    spent_at: datetime | None = None

    @property
    def place(self) -> bytes:
        """Where the verifier rests, for KeyWrapper."""
        return _place(claim_id=self.claim_id, group_id=self.group_id, serial=self.serial)


class ClaimStore(Protocol):
    """Where claims rest. All three are atomic; `find` sees every group, as a gateway has none yet."""

    async def find(self, claim_id: bytes) -> Claim | None:
        """The claim, or None."""
        ...

    async def count_wrong(self, claim_id: bytes) -> int:
        """Add one wrong try and return how many there are. It stays when the caller's work fails."""
        ...

    async def spend(self, claim_id: bytes, *, at: datetime) -> bool:
        """Mark as used at `at`, in the transaction that stores the new key. False, and nothing
        done, when it is spent, locked (`WRONG_TRIES`) or expired by now."""
        ...


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What to store for the new gateway, and the answer to send once it is committed."""

    group_id: int
    serial: str
    key: KeyName
    wrapped: WrappedKey
    answer: bytes


def new_claim(
    *,
    group_id: int,
    serial: str,
    wrapper: KeyWrapper,
    at: datetime,
    life: timedelta = CLAIM_LIFE,
) -> tuple[str, Claim]:
    """The code to show once (8 times 5 letters and digits) and the claim to store.

    Raises ValueError for a serial that is not 1 to 32 letters, digits, `_`, `-`, or a life of more
    than 72 hours.
    """
    if not _SERIAL.fullmatch(serial) or not timedelta(0) < life <= CLAIM_LIFE:
        raise ValueError("a claim needs a plain serial and a life of at most 72 hours")
    claim_id, secret = os.urandom(CLAIM_ID_SIZE), os.urandom(SECRET_SIZE)
    verifier = wrapper.wrap(
        _claim_key(claim_id, secret),
        place=_place(claim_id=claim_id, group_id=group_id, serial=serial),
    )
    text = base64.b32encode(claim_id + secret + _checksum(claim_id + secret)).decode()
    code = "-".join(text[start : start + 5] for start in range(0, len(text), 5))
    return code, Claim(claim_id, group_id, serial, at + life, verifier)


async def enrol(
    request: bytes, *, key: KeyName, store: ClaimStore, wrapper: KeyWrapper, at: datetime
) -> Enrolment:
    """The cloud's side: spend the claim and make root key `key` for the gateway.

    The edge tells the peer one and the same thing for every refusal; the code is for our own log
    and alarm. Raises FrameMalformed, ClaimRefused (and counts it), ClaimLocked, ClaimSpent,
    ClaimExpired, KeyBlobBroken (the row was tampered with).
    """
    asked = _read_request(request)
    claim = await store.find(asked.claim_id)
    if claim is None:
        raise ClaimRefused("no such claim")
    _refuse_dead(claim, at)
    claim_key = wrapper.unwrap(claim.verifier, place=claim.place)
    genuine = hmac.compare_digest(asked.proof, mac(claim_key, asked.signed))
    if not genuine or asked.serial != claim.serial:
        tries = await store.count_wrong(claim.claim_id)
        if tries >= WRONG_TRIES:
            raise ClaimLocked("the claim is locked after five wrong tries")
        raise ClaimRefused("the code or the serial is wrong")
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    sealing = _answer_key(private, asked.public, claim_key, asked.signed, public)
    if not await store.spend(claim.claim_id, at=at):
        raise ClaimSpent("the claim was used by another request just now")
    root = new_root()
    grant = key.encoded + root
    answer = public + AESGCM(sealing).encrypt(_ONLY_NONCE, grant, asked.signed)
    wrapped = wrapper.wrap(root, place=root_place(key))
    return Enrolment(claim.group_id, claim.serial, key, wrapped, answer)


class GatewayEnrolment:
    """The gateway's side: one request and the answer to it."""

    def __init__(self, *, code: str, serial: str) -> None:
        """Raises ClaimRefused for a mistyped code (found by its checksum, costs no try)."""
        claim_id, secret = _read_code(code)
        if not _SERIAL.fullmatch(serial):
            raise ClaimRefused("a serial is 1 to 32 letters, digits, _ or -")
        self._private = X25519PrivateKey.generate()
        self._claim_key = _claim_key(claim_id, secret)
        public = self._private.public_key().public_bytes_raw()
        name = serial.encode()
        self._signed = _VERSION + claim_id + bytes([len(name)]) + name + public
        self.request = self._signed + mac(self._claim_key, self._signed)

    def finish(self, answer: bytes) -> tuple[KeyName, bytes]:
        """The gateway's key name and root key, to be stored durably. Raises FrameMalformed,
        HandshakeForged (the answer is not from who knows the claim, or was changed)."""
        if len(answer) != KEY_SIZE + _GRANT_SIZE + 16:
            raise FrameMalformed(f"an answer of {len(answer)} bytes")
        public, sealed = answer[:KEY_SIZE], answer[KEY_SIZE:]
        sealing = _answer_key(self._private, public, self._claim_key, self._signed, public)
        try:
            grant = AESGCM(sealing).decrypt(_ONLY_NONCE, sealed, self._signed)
        except InvalidTag as error:
            raise HandshakeForged("the answer was not made for this claim and request") from error
        version = int.from_bytes(grant[GATEWAY_SIZE : GATEWAY_SIZE + 2], "big")
        return KeyName(grant[:GATEWAY_SIZE], version), grant[-KEY_SIZE:]


@dataclass(frozen=True, slots=True)
class _Request:
    claim_id: bytes
    serial: str
    public: bytes
    signed: bytes
    proof: bytes = field(repr=False)


def _read_request(wire: bytes) -> _Request:
    start = len(_VERSION) + CLAIM_ID_SIZE
    if len(wire) <= start or wire[:1] != _VERSION:
        raise FrameMalformed("not an enrolment request")
    serial_end = start + 1 + wire[start]
    if len(wire) != serial_end + KEY_SIZE + MAC_SIZE:
        raise FrameMalformed(f"an enrolment request of {len(wire)} bytes")
    try:
        serial = wire[start + 1 : serial_end].decode("ascii")
    except UnicodeDecodeError as error:
        raise FrameMalformed("a serial that is not plain text") from error
    signed, proof = wire[:-MAC_SIZE], wire[-MAC_SIZE:]
    return _Request(wire[1:start], serial, signed[serial_end:], signed, proof)


def _refuse_dead(claim: Claim, at: datetime) -> None:
    if claim.wrong_tries >= WRONG_TRIES:
        raise ClaimLocked("the claim is locked after five wrong tries")
    if claim.spent_at is not None:
        raise ClaimSpent("the claim has been used")
    if at >= claim.expires_at:
        raise ClaimExpired("the claim has expired")


def _read_code(code: str) -> tuple[bytes, bytes]:
    try:
        raw = base64.b32decode(re.sub(r"[\s-]", "", code).upper())
    except binascii.Error as error:
        raise ClaimRefused("the code has a letter that no code has") from error
    body, check = raw[:-1], raw[-1:]
    if len(body) != CLAIM_ID_SIZE + SECRET_SIZE or check != _checksum(body):
        raise ClaimRefused("the code is mistyped")
    return body[:CLAIM_ID_SIZE], body[CLAIM_ID_SIZE:]


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"claim code" + body).digest()[:1]


def _claim_key(claim_id: bytes, secret: bytes) -> bytes:
    return derive(secret=secret, salt=b"", info=b"claim1|" + claim_id)


def _place(*, claim_id: bytes, group_id: int, serial: str) -> bytes:
    return b"claim|" + claim_id + group_id.to_bytes(8, "big") + serial.encode()


def _answer_key(
    private: X25519PrivateKey, peer: bytes, claim_key: bytes, signed: bytes, public: bytes
) -> bytes:
    """HKDF(ECDH, claim): `signed` holds the gateway's public key, `public` is the cloud's."""
    return derive(secret=agree(private, peer), salt=claim_key, info=b"enrol1|" + signed + public)
