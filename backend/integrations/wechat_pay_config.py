"""What one merchant account at WeChat Pay consists of, checked before it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from backend.integrations.http_session import checked_base_url
from backend.kernel.errors import InvalidInput

PRODUCTION = "https://api.mch.weixin.qq.com"
_MCHID = re.compile(r"^\d{8,32}$")
_SERIAL = re.compile(r"^[0-9A-F]{8,64}$")
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class WechatPayConfig:
    """An own merchant (直连商户) in public-key mode. Secrets are kept out of repr, logs, errors.

    `cert_serial_no` names our certificate (upper-case hex), `public_key_id` the platform's key
    (`PUB_KEY_ID_..`); PEM texts are PKCS#8 and SubjectPublicKeyInfo. `notify_url` carries no query
    string (the channel forbids it). Raises InvalidInput naming the field, never its value.
    """

    mchid: str
    appid: str
    cert_serial_no: str
    public_key_id: str
    public_key_pem: str
    notify_url: str
    private_key_pem: str = field(repr=False)
    apiv3_key: str = field(repr=False)
    base_url: str = PRODUCTION
    allow_http: bool = False

    def __post_init__(self) -> None:
        for name, good in (
            ("mchid", _MCHID.match(self.mchid)),
            ("appid", self.appid),
            ("cert_serial_no", _SERIAL.match(self.cert_serial_no)),
            ("public_key_id", self.public_key_id.startswith("PUB_KEY_ID_")),
            # A shorter key would be taken as AES-128: the public sample keys are 16 bytes.
            ("apiv3_key", len(self.apiv3_key.encode()) == _KEY_BYTES),
            ("private_key_pem", _is_rsa_private(self.private_key_pem)),
            ("public_key_pem", _is_rsa_public(self.public_key_pem)),
        ):
            if not good:
                raise InvalidInput(f"WeChat Pay: {name} is not usable", field=name)
        for name in ("base_url", "notify_url"):
            checked_base_url(getattr(self, name), allow_http=self.allow_http, field=name)


def _is_rsa_private(pem: str) -> bool:
    """Whether `pem` is an RSA private key without password, PKCS#8 (wechatpayv3 takes no other)."""
    if not pem.strip().startswith("-----BEGIN PRIVATE KEY-----"):
        return False
    try:
        return isinstance(load_pem_private_key(pem.encode(), password=None), RSAPrivateKey)
    except (ValueError, TypeError):
        return False


def _is_rsa_public(pem: str) -> bool:
    """Whether `pem` is an RSA public key, SubjectPublicKeyInfo."""
    if not pem.strip().startswith("-----BEGIN PUBLIC KEY-----"):
        return False
    try:
        return isinstance(load_pem_public_key(pem.encode()), RSAPublicKey)
    except ValueError:
        return False
