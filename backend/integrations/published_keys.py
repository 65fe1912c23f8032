"""Keys that are printed in public documents and SDKs: whoever reads them signs as well as their owner.

A deny list for accounts at all providers, looked at when an adapter is built in production.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from cryptography.x509 import load_der_x509_certificate

from backend.kernel.errors import InvalidInput

# SHA-256 of the DER of SubjectPublicKeyInfo, so that a private key, its public half and a certificate of
# it are one entry. Source: reference/payment-vectors.json, by the name of the vector.
KEYS: Mapping[str, str] = {
    "8a5b82f18120806bb2c6b46e1a2f8687ceaa20a45bc2b649e37e6d9878336dc5": "wxpay-v3-notify",
    "d103995e432224087bbb458a9e053aa7f2b6acf0ac2429e594fcd72b73514f7d": "alipay-notify",
    "cb13b37a3fe53f38c44469f4f3f803d585a3d3c996f1dd16ccb4035ba62e63b9": "alipay-notify, issuer",
    "82dbd57c30948fce080f51ca5a3f95f341c9cf108d1554d87186607bebb120b4": "alipay-request",
    "fef9f3285304d5c3f14e459ba08e507a97568603c0d41d92f90678058953d1d2": "unionpay-notify",
    "bb0e5f8138564eea536cd4b63825678b9c53ca5f5b52ccabf5d55906c038f6d0": "unionpay-request",
}
# SHA-256 of shared secrets, from the same file.
SECRETS: Mapping[str, str] = {
    "9e7aba93751cef8168383aed9e1088310106a6aef257880d27d97c422217ed74": "wx-msg-encrypt",
    "4ad1bc7cf3cf09f9293fc2d83eb1b5bf6bd2b4c56191ad89b336a0b2d772fbf7": "wxpay-v2-md5",
    "8e167e9914b2a940d02ce5b6f711e4f79a7ab0b956d2301c92f3f02233ea95ab": "wxpay-v2-refund-notify",
    "849fb1b2ed3c44f5558a2939ec3a2f0f04e957734215d60f0053ce204f076310": "wxpay-v3-notify",
    "39049a9597a5b0377a92cd7e913f8e16c223a8105685abb26f31d134904e7c7f": "wxpay-v3-aes",
    "36f0f4b6056ac4d0a4b7dbb7c94597c1d44c9d6c84dc370121deedbde5049560": "aliyun-rpc-sms",
    "74db05036ddf0c3eebf4daf0afe2516d76e7406b7489061f24e188debdb88284": "aliyun-acs3",
}
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.+?)-----END \1-----", re.DOTALL)
_SHORTEST_KEY = 200  # characters of base64; an RSA key of 1,024 bit has more


def refuse_published(values: Mapping[str, str], /) -> None:
    """Raise InvalidInput, naming the field, when one of the values is or holds a published key."""
    for field, value in values.items():
        text = value.strip()
        found = _sha256(text.encode()) in SECRETS
        if found or any(fingerprint(key) in KEYS for key in _keys_in(text)):
            raise InvalidInput(
                f"{field} is a sample key that everybody can read in public documents", field=field
            )


def fingerprint(key: PublicKeyTypes, /) -> str:
    """The SHA-256 of a public key, as KEYS has it."""
    return _sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _keys_in(text: str) -> Iterator[PublicKeyTypes]:
    """The public halves of the keys and certificates in `text`: PEM blocks, or one bare base64."""
    blocks = [body for _, body in _PEM.findall(text)]
    if not blocks and len(text) >= _SHORTEST_KEY:
        blocks = [text]
    for block in blocks:
        try:
            der = base64.b64decode("".join(block.split()), validate=True)
        except binascii.Error:
            continue
        yield from _public_of(der)


def _of_certificate(der: bytes) -> PublicKeyTypes:
    key: PublicKeyTypes = load_der_x509_certificate(der).public_key()
    return key


def _of_private(der: bytes) -> PublicKeyTypes:
    key: PublicKeyTypes = load_der_private_key(der, password=None).public_key()
    return key


def _public_of(der: bytes) -> Iterator[PublicKeyTypes]:
    for read in (_of_certificate, _of_private, load_der_public_key):
        try:
            yield read(der)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue  # of another kind, encrypted, or of a curve that we do not know (SM2)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
