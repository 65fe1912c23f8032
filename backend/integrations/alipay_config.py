"""What one merchant account at Alipay consists of, checked and brought into one form before it is used."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from cryptography.x509 import Certificate, load_pem_x509_certificate

from backend.integrations.http_session import checked_base_url
from backend.integrations.merchant_key import merchant_key
from backend.kernel.errors import InvalidInput

PRODUCTION = "https://openapi.alipay.com"
OAUTH = "https://openauth.alipay.com"
_APP_ID = re.compile(r"^\d{16}$")
_SELLER_ID = re.compile(r"^2088\d{12}$")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_LEAST_BITS = 2048


@dataclass(frozen=True, slots=True)
class Certificates:
    """Certificate mode (公钥证书): our app's certificate, Alipay's, and Alipay's bundle of roots, as PEM."""

    app_pem: str
    alipay_pem: str
    root_pem: str


@dataclass(frozen=True, slots=True)
class AlipayConfig:
    """One app that collects for `seller_id` (PID). Secrets are kept out of repr, logs, errors.

    Either `alipay_public_key` (key mode: PEM, or bare base64 as Alipay's console shows it) or
    `certificates`. `private_key` is the app's, PKCS#1 or PKCS#8, PEM or bare. `app_auth_token`: the app is
    a service provider's and acts for the seller (ISV). Raises InvalidInput naming the field, never its
    value.
    """

    app_id: str
    seller_id: str
    notify_url: str
    private_key: str = field(repr=False)
    alipay_public_key: str = ""
    certificates: Certificates | None = None
    app_auth_token: str = field(default="", repr=False)
    base_url: str = PRODUCTION
    oauth_base_url: str = OAUTH
    allow_http: bool = False

    def __post_init__(self) -> None:
        for name, good in (
            ("app_id", _APP_ID.match(self.app_id)),
            ("seller_id", _SELLER_ID.match(self.seller_id)),
        ):
            if not good:
                raise _unusable(name)
        for name in ("base_url", "oauth_base_url", "notify_url"):
            checked_base_url(getattr(self, name), allow_http=self.allow_http, field=name)
        own = self._own_key().public_key().public_numbers()
        if self.certificates is None:
            if self._platform_key().public_numbers() == own:
                raise InvalidInput(
                    "Alipay: this is the app's own public key (应用公钥); Alipay's (支付宝公钥) is needed",
                    field="alipay_public_key",
                )
            return
        if self.alipay_public_key:
            raise InvalidInput("Alipay: a key or certificates, not both", field="alipay_public_key")
        if _rsa_of(_first(self.certificates.app_pem, "app_cert"), "app_cert") != own:
            raise InvalidInput("Alipay: the app's certificate is of another key", field="app_cert")
        _rsa_of(_first(self.certificates.alipay_pem, "alipay_cert"), "alipay_cert")
        if not _CERTIFICATE.search(self.certificates.root_pem):
            raise _unusable("root_cert")

    @property
    def private_key_pem(self) -> str:
        """The app's key as PKCS#8 PEM."""
        own = self._own_key()
        return own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def alipay_public_key_pem(self) -> str:
        """Alipay's key (key mode) as PEM."""
        key = self._platform_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def _own_key(self) -> RSAPrivateKey:
        """Raises InvalidInput."""
        text = self.private_key.strip()
        try:
            if text.startswith("-----"):
                key = merchant_key(text.encode())
            else:
                key = merchant_key(_bare(text), der=True)
        except ValueError:
            raise _unusable("private_key") from None
        if key.key_size < _LEAST_BITS:
            raise _unusable("private_key")
        return key

    def _platform_key(self) -> RSAPublicKey:
        """Raises InvalidInput."""
        text = self.alipay_public_key.strip()
        try:
            if text.startswith("-----"):
                key = load_pem_public_key(text.encode())
            else:
                key = load_der_public_key(_bare(text))
        except (ValueError, UnsupportedAlgorithm):
            raise _unusable("alipay_public_key") from None
        if not isinstance(key, RSAPublicKey):
            raise _unusable("alipay_public_key")
        return key


def roots(bundle: str, /) -> str:
    """The certificates of a root bundle as python-alipay-sdk wants them: an empty line between two, no
    carriage returns (with them it finds no serial number at all; channels.md section 3.1)."""
    found = _CERTIFICATE.findall(bundle.replace("\r\n", "\n"))
    return "\n\n".join(found)


def _first(pem: str, field_name: str) -> Certificate:
    """The first certificate of a chain: the one's own. Raises InvalidInput."""
    try:
        return load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise _unusable(field_name) from None


def _rsa_of(certificate: Certificate, field_name: str) -> object:
    """The numbers of a certificate's RSA key. Raises InvalidInput."""
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise _unusable(field_name)
    return key.public_numbers()


def _bare(text: str) -> bytes:
    """The bytes of base64 in one or many lines. Raises ValueError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _unusable(name: str) -> InvalidInput:
    return InvalidInput(f"Alipay: {name} is not usable", field=name)
