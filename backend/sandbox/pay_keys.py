"""Keys and signatures of the WeChat Pay stand-in: it checks the merchant, it signs as the platform."""

from __future__ import annotations

import base64
import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

SCHEME = "WECHATPAY2-SHA256-RSA2048"
_FIELD = re.compile(r'(\w+)="([^"]*)"')
_FRESH_S = 300


class NotAuthorised(Exception):
    """The Authorization header does not prove that this merchant sent the request."""


@dataclass(frozen=True, slots=True)
class Merchant:
    """A merchant as the platform knows it: the public half of its key, and the shared APIv3 key.
    `certificates`: the platform signs for it with certificates, as for merchants of before 2024."""

    mchid: str
    appid: str
    cert_serial_no: str
    public_key_pem: str
    apiv3_key: str
    certificates: bool = False


class Platform:
    """The platform's key pair, made when the stand-in first starts."""

    def __init__(self, private_pem: str, /) -> None:
        key = load_pem_private_key(private_pem.encode(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)  # written by new_private_pem only
        self._key = key
        public = key.public_key()
        self.public_pem: str = public.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ).decode()
        self.public_key_id = f"PUB_KEY_ID_{public.public_numbers().n % 10**24:024d}"

    def headers(self, *, body: bytes, at: datetime) -> dict[str, str]:
        """The headers that sign `body` at `at` with the public key's private half."""
        return signed_headers(self._key, serial=self.public_key_id, body=body, at=at)


def signed_headers(
    key: rsa.RSAPrivateKey, /, *, serial: str, body: bytes, at: datetime
) -> dict[str, str]:
    """The five Wechatpay headers that sign `body` at `at`."""
    stamp, nonce = str(int(at.timestamp())), secrets.token_hex(16)
    signed = f"{stamp}\n{nonce}\n".encode() + body + b"\n"
    signature = key.sign(signed, PKCS1v15(), SHA256())
    return {
        "Wechatpay-Timestamp": stamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": base64.b64encode(signature).decode(),
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature-Type": SCHEME,
    }


def new_private_pem() -> str:
    """A fresh RSA 2048 key, PKCS#8 PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def public_pem_of(private_pem: str, /) -> str:
    """The public half of a private PEM, SubjectPublicKeyInfo PEM."""
    return Platform(private_pem).public_pem


def seal(*, resource: dict[str, Any], apiv3_key: str, kind: str) -> dict[str, str]:
    """`resource` sealed for a notice of its kind."""
    plain = json.dumps(resource, ensure_ascii=False).encode()
    return {"original_type": kind} | sealed(plain, apiv3_key=apiv3_key, aad=kind)


def sealed(plain: bytes, /, *, apiv3_key: str, aad: str) -> dict[str, str]:
    """`plain` as the platform seals it (AEAD_AES_256_GCM, 12-character nonce)."""
    nonce = secrets.token_hex(6)
    cipher = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), plain, aad.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(cipher).decode(),
        "associated_data": aad,
        "nonce": nonce,
    }


def named_merchant(authorization: str, /) -> str:
    """The mchid an Authorization header claims. Raises NotAuthorised."""
    scheme, _, rest = authorization.partition(" ")
    claimed = str(dict(_FIELD.findall(rest)).get("mchid", ""))
    if scheme != SCHEME or not claimed:
        raise NotAuthorised("no Authorization of the right scheme")
    return claimed


def require_authorization(
    *, authorization: str, merchant: Merchant, method: str, target: str, body: bytes, at: datetime
) -> None:
    """Check the merchant's signature over method, target, time, nonce and body. Raises NotAuthorised."""
    given = dict(_FIELD.findall(authorization))
    if given.get("serial_no") != merchant.cert_serial_no:
        raise NotAuthorised("an unknown certificate serial")
    stamp = given.get("timestamp", "")
    if not stamp.isdigit() or abs(at.timestamp() - int(stamp)) > _FRESH_S:
        raise NotAuthorised("the timestamp is off by more than five minutes")
    signed = f"{method}\n{target}\n{stamp}\n{given.get('nonce_str', '')}\n".encode() + body + b"\n"
    key = load_pem_public_key(merchant.public_key_pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)  # checked when the merchant was registered
    try:
        signature = base64.b64decode(given.get("signature", ""), validate=True)
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature):
        raise NotAuthorised("the signature is wrong") from None
