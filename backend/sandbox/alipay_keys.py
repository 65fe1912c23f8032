"""Keys, certificates and signatures of the Alipay stand-in: it checks the app, it signs as Alipay."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import NameOID

from backend.sandbox.pay_keys import public_pem_of

_LIFE = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class App:
    """An app as Alipay knows it. `root_sn` and `app_sn` are empty in key mode; `auth_token` is what a
    service provider must show to act for `seller_id`."""

    app_id: str
    seller_id: str
    public_key_pem: str
    app_sn: str = ""
    root_sn: str = ""
    auth_token: str = ""


class Alipay:
    """The platform's key pair and its authority, made anew with every start but for the key."""

    def __init__(self, private_pem: str, /, *, at: datetime) -> None:
        key = load_pem_private_key(private_pem.encode(), password=None)
        assert isinstance(key, RSAPrivateKey)  # written by new_private_pem only
        self._key = key
        self._at = at
        # One key plays root and signer: what is tested is our reading of certificates, not a real PKI.
        self.root = self._certificate(self._key.public_key(), "Stand-in Alipay Root R1")
        self.certificate = self._certificate(self._key.public_key(), "Stand-in Alipay")
        self.public_pem = public_pem_of(private_pem)

    def issue(self, public_key_pem: str, /) -> x509.Certificate:
        """A certificate for an app's key."""
        key = load_pem_public_key(public_key_pem.encode())
        assert isinstance(key, RSAPublicKey)  # checked when the app was registered
        return self._certificate(key, "an app of the stand-in")

    def sign(self, text: str, /, *, charset: str = "utf-8") -> str:
        """RSA2 over a text, base64."""
        return base64.b64encode(self._key.sign(text.encode(charset), PKCS1v15(), SHA256())).decode()

    def _certificate(self, key: RSAPublicKey, name: str) -> x509.Certificate:
        issuer = _name("Stand-in Alipay Root R1")
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._at - timedelta(days=1))
            .not_valid_after(self._at + _LIFE)
            .sign(self._key, SHA256())
        )


def serial_of(certificate: x509.Certificate, /) -> str:
    """Alipay's certificate number (SN): md5 of the issuer's name, last part first, and the serial."""
    issuer = certificate.issuer
    parts = (
        ("CN", NameOID.COMMON_NAME),
        ("OU", NameOID.ORGANIZATIONAL_UNIT_NAME),
        ("O", NameOID.ORGANIZATION_NAME),
        ("C", NameOID.COUNTRY_NAME),
    )
    name = ",".join(f"{tag}={issuer.get_attributes_for_oid(oid)[0].value!s}" for tag, oid in parts)
    text = f"{name}{certificate.serial_number}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def is_signed(params: Mapping[str, str], /, *, by: App) -> bool:
    """Whether the app signed these parameters: all but `sign`, sorted, empty ones left out."""
    text = "&".join(
        f"{name}={params[name]}" for name in sorted(params) if name != "sign" and params[name]
    )
    key = load_pem_public_key(by.public_key_pem.encode())
    assert isinstance(key, RSAPublicKey)  # checked when the app was registered
    try:
        signature = base64.b64decode(params.get("sign", ""), validate=True)
        key.verify(signature, text.encode(), PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True


def certificate_pem(certificate: x509.Certificate, /) -> str:
    """A certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Stand-in"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Sandbox"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
