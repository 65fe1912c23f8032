"""The signed daily statement of a project: one form of it to the byte, its arithmetic, its signature (A2).

Ed25519 (RFC 8032) over the canonical text. The signing keys are made of the process's key-encryption keys
for this purpose alone, so a statement names its key and older ones stay verifiable after a rotation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backend.kernel.errors import InvalidInput
from backend.kernel.money import ZERO, Money
from backend.kernel.secrets import SecretBox

FORMAT = "shuidian-statement-1"
_PURPOSE = "statement signing"


class StatementBroken(InvalidInput):
    """A statement that is not what was signed, or does not add up."""

    code = "STATEMENT_BROKEN"


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement: its canonical text, the SHA-256 of that, and who signed it."""

    body: str
    hash: bytes
    key_name: str
    signature: bytes

    @property
    def file(self) -> str:
        """The statement as a file: what `shuidian statement verify` takes."""
        signature = base64.b64encode(self.signature).decode()
        return canonical(
            {
                "body": json.loads(self.body),
                "hash": self.hash.hex(),
                "key": self.key_name,
                "signature": signature,
            }
        )


def canonical(value: object) -> str:
    """JSON in one form only: sorted names, no spaces, no numbers but integers."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


class StatementKeys:
    """The keys that sign statements, by name; the newest signs."""

    def __init__(self, box: SecretBox) -> None:
        seeds = box.keys_for(_PURPOSE)
        keys = {v: Ed25519PrivateKey.from_private_bytes(seed) for v, seed in seeds.items()}
        self._newest = keys[max(keys)]
        self._public = {name_of(raw_public(key)): raw_public(key) for key in keys.values()}

    @property
    def public(self) -> Mapping[str, bytes]:
        """Public keys (32 bytes) by name: what an auditor is given."""
        return self._public

    def sign(self, body: str) -> Signed:
        """Sign a canonical text."""
        signature = self._newest.sign(body.encode())
        name = name_of(raw_public(self._newest))
        return Signed(body, hashlib.sha256(body.encode()).digest(), name, signature)


def raw_public(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of a key's public half."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def name_of(public: bytes) -> str:
    """A key's name: the first 16 hex digits of the SHA-256 of its public half."""
    return hashlib.sha256(public).hexdigest()[:16]


def read_file(text: str) -> Signed:
    """A statement out of its file, unverified. Raises StatementBroken."""
    try:
        told = json.loads(text)
        body = canonical(told["body"])
        signature = base64.b64decode(told["signature"], validate=True)
        digest = bytes.fromhex(told["hash"])
        name = str(told["key"])
        day, form = told["body"]["day"], told["body"]["format"]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise StatementBroken("this is no statement file") from error
    if form != FORMAT or not isinstance(day, str):
        raise StatementBroken(f"this is no {FORMAT} file")
    return Signed(body, digest, name, signature)


def verify(signed: Signed, *, keys: Mapping[str, bytes]) -> Mapping[str, Any]:
    """The body of a statement whose hash, signature and arithmetic hold. Raises StatementBroken that says
    what does not."""
    if hashlib.sha256(signed.body.encode()).digest() != signed.hash:
        raise StatementBroken("the statement is not the one that was hashed")
    public = keys.get(signed.key_name)
    if public is None or name_of(public) != signed.key_name:
        raise StatementBroken(f"the key {signed.key_name} is not known here")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signed.signature, signed.body.encode())
    except (InvalidSignature, ValueError) as error:
        raise StatementBroken("the signature is not of this statement and key") from error
    body: Mapping[str, Any] = json.loads(signed.body)
    fault = next(iter(_faults(body)), None)
    if fault is not None:
        raise StatementBroken(fault)
    return body


def verify_chain(signed: Signed, *, previous: Signed) -> None:
    """Raise StatementBroken unless `signed` follows `previous`: names its hash, opens as it closed."""
    body, before = json.loads(signed.body), json.loads(previous.body)
    if body["project"] != before["project"] or body["previous"] != previous.hash.hex():
        raise StatementBroken("the statement does not follow the one before it")
    closed = {one["kind"]: one["closing"] for one in before["accounts"]}
    opened = {one["kind"]: one["opening"] for one in body["accounts"]}
    zero = str(ZERO)
    for kind in {*closed, *opened}:
        if closed.get(kind, zero) != opened.get(kind, zero):
            raise StatementBroken(f"{kind} opens with another balance than it closed with")


def _faults(body: Mapping[str, Any]) -> Iterable[str]:
    """What does not add up: each account, the book over all of them, the channels."""
    try:
        accounts = [
            (str(one["kind"]), [Money.parse(one[name]) for name in _COLUMNS])
            for one in body["accounts"]
        ]
        channels = [[Money.parse(one[name]) for name in _COLUMNS[:3]] for one in body["channels"]]
    except (ValueError, KeyError, TypeError) as error:
        yield f"the statement has another shape: {error}"
        return
    for kind, (opening, came, went, closing) in accounts:
        if opening + came - went != closing:
            yield f"{kind}: opening + in - out is not closing"
    for place, name in enumerate(_COLUMNS):
        total = sum((figures[place].hao for _, figures in accounts), 0)
        if name in ("opening", "closing") and total:
            yield f"the book does not balance: all {name}s together are {Money(total)}"
    turned = [sum(figures[place].hao for _, figures in accounts) for place in (1, 2)]
    if turned[0] != turned[1]:
        yield "the book does not balance: what came in is not what went out"
    by_kind = dict(accounts)
    for place in range(3):
        total = sum(channel[place].hao for channel in channels)
        if total != by_kind.get("CHANNEL", [ZERO] * 4)[place].hao:
            yield "the channels together are not the account CHANNEL"


_COLUMNS = ("opening", "in", "out", "closing")
