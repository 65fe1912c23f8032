"""What one merchant account at WeChat Pay consists of, checked before it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from backend.integrations.http_session import checked_base_url
from backend.integrations.merchant_key import merchant_key
from backend.kernel.errors import InvalidInput

PRODUCTION = "https://api.mch.weixin.qq.com"
_MCHID = re.compile(r"^\d{8,32}$")
_SERIAL = re.compile(r"^[0-9A-F]{8,64}$")
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class WechatPayConfig:
    """An own merchant (直连商户), or a service provider (服务商) that collects for `sub_mchid`.
    Secrets are kept out of repr, logs, errors.

    `mchid`, `appid` and `cert_serial_no` (our certificate, upper-case hex) are of the one who signs:
    the merchant, or the provider. The platform is believed by its public key (`PUB_KEY_ID_..`), by its
    `certificates`, or by both while a merchant moves from these to that. With a `sub_appid` the payer's
    openid is of that app, without one of the provider's. PEM texts are PKCS#8 and SubjectPublicKeyInfo.
    `notify_url` carries no query string (the channel forbids it). Raises InvalidInput naming the field,
    never its value.
    """

    mchid: str
    appid: str
    cert_serial_no: str
    notify_url: str
    private_key_pem: str = field(repr=False)
    apiv3_key: str = field(repr=False)
    public_key_id: str = ""
    public_key_pem: str = ""
    certificates: bool = False
    sub_mchid: str = ""
    sub_appid: str = ""
    base_url: str = PRODUCTION
    allow_http: bool = False

    def __post_init__(self) -> None:
        for name, good in (
            ("mchid", _MCHID.match(self.mchid)),
            ("appid", self.appid),
            ("cert_serial_no", _SERIAL.match(self.cert_serial_no)),
            # A shorter key would be taken as AES-128: the public sample keys are 16 bytes.
            ("apiv3_key", len(self.apiv3_key.encode()) == _KEY_BYTES),
            ("private_key_pem", _is_rsa_private(self.private_key_pem)),
        ):
            if not good:
                raise InvalidInput(f"WeChat Pay: {name} is not usable", field=name)
        self._require_platform()
        self._require_partner()
        for name in ("base_url", "notify_url"):
            checked_base_url(getattr(self, name), allow_http=self.allow_http, field=name)

    def _require_platform(self) -> None:
        """By what the platform is believed. Raises InvalidInput."""
        if not (self.public_key_id or self.public_key_pem):
            if not self.certificates:
                raise InvalidInput(
                    "WeChat Pay: give the platform's public key with its id (public_key_id), or choose"
                    " its certificates (platform_certificates), as the merchant's console shows",
                    field="public_key_id",
                )
            return
        if not self.public_key_id.startswith("PUB_KEY_ID_"):
            raise InvalidInput(
                "WeChat Pay: public_key_id is not usable: it begins with PUB_KEY_ID_",
                field="public_key_id",
            )
        if not _is_rsa_public(self.public_key_pem):
            raise InvalidInput("WeChat Pay: public_key_pem is not usable", field="public_key_pem")

    def _require_partner(self) -> None:
        """For whom a provider collects. Raises InvalidInput."""
        if self.sub_appid and not self.sub_mchid:
            raise InvalidInput(
                "WeChat Pay: a sub_appid stands only with the sub_mchid it belongs to",
                field="sub_mchid",
            )
        if self.sub_mchid and _MCHID.match(self.sub_mchid) is None:
            raise InvalidInput("WeChat Pay: sub_mchid is not usable", field="sub_mchid")
        if self.sub_mchid == self.mchid:
            raise InvalidInput(
                "WeChat Pay: sub_mchid is the provider itself; an own merchant has none",
                field="sub_mchid",
            )
        if self.sub_appid and (not self.sub_appid.isalnum() or self.sub_appid == self.appid):
            raise InvalidInput(
                "WeChat Pay: sub_appid is not usable, or is the provider's own", field="sub_appid"
            )


def _is_rsa_private(pem: str) -> bool:
    """Whether `pem` is a working RSA private key without password, PKCS#8 (wechatpayv3 takes no other)."""
    if not pem.strip().startswith("-----BEGIN PRIVATE KEY-----"):
        return False
    try:
        merchant_key(pem.encode())
    except ValueError:
        return False
    return True


def _is_rsa_public(pem: str) -> bool:
    """Whether `pem` is an RSA public key, SubjectPublicKeyInfo."""
    if not pem.strip().startswith("-----BEGIN PUBLIC KEY-----"):
        return False
    try:
        return isinstance(load_pem_public_key(pem.encode()), RSAPublicKey)
    except ValueError:
        return False
