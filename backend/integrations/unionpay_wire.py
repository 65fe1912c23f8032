"""The signed wire of UnionPay 5.1.0: fields in, fields out, nothing believed before its signer is proven.

Signing (channels.md 4.1; yansongda/pay tests, open vectors `unionpay-*`, grade: verified against them):
sort the non-empty fields but `signature`, join `k=v` by `&`, SHA-256 in lower-case hex, then
RSA PKCS#1 v1.5 with SHA-256 over that hex text, base64. Every answer and notice brings the certificate
that signed it (`signPubKeyCert`); it is proven up to the configured certificates, and its name compared,
before its key is used: else anybody could sign with a certificate of his own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    Certificate,
    load_pem_x509_certificate,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import NameOID

VERSION = "5.1.0"
SIGNER = "中国银联股份有限公司"
# A value in braces may hold `&` and `=` of its own (`customerInfo`, `reqReserved`).
_PAIR = re.compile(r"([^=&]+)=((?:\{[^}]*\}|[^&])*)")


class Unverified(ValueError):
    """A message of which nothing proves that UnionPay wrote it."""


def signed_text(fields: Mapping[str, str], /) -> bytes:
    """The hex text that the RSA signature of 5.1.0 is over."""
    text = "&".join(
        f"{name}={value}"
        for name, value in sorted(fields.items())
        if value != "" and name != "signature"
    )
    return hashlib.sha256(text.encode()).hexdigest().encode()


def sign(fields: Mapping[str, str], /, *, key: RSAPrivateKey) -> dict[str, str]:
    """`fields` with their signature. PKCS#1 v1.5 gives the same signature for the same fields."""
    signature = key.sign(signed_text(fields), PKCS1v15(), SHA256())
    return {**fields, "signature": base64.b64encode(signature).decode()}


def require_signature(fields: Mapping[str, str], /, *, key: RSAPublicKey) -> None:
    """Raise Unverified unless `signature` was made over `fields` by the holder of `key`."""
    given = fields.get("signature", "")
    if not given or fields.get("version") != VERSION or fields.get("signMethod") != "01":
        raise Unverified("no signature of version 5.1.0 by certificate")
    try:
        key.verify(
            base64.b64decode(given, validate=True), signed_text(fields), PKCS1v15(), SHA256()
        )
    except (binascii.Error, InvalidSignature):
        raise Unverified("the signature is wrong") from None


def split_answer(text: str, /) -> dict[str, str]:
    """The fields of an answer body `k=v&k=v`. It is not form-encoded: a `+` is a plus, and a value may
    hold `=` (base64), so each pair splits on its first one. Raises ValueError for a name that comes twice.
    """
    pairs: list[tuple[str, str]] = _PAIR.findall(text.strip())
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field comes twice")
    return fields


def cert_id(certificate: Certificate, /) -> str:
    """How UnionPay names a certificate: its serial number in decimal."""
    return str(certificate.serial_number)


@dataclass(frozen=True, slots=True)
class Trust:
    """Which certificates may sign for UnionPay: issued by one of `middle` (or `root`) to `name`."""

    root: tuple[Certificate, ...]
    middle: tuple[Certificate, ...]
    name: str = SIGNER

    @classmethod
    def of_pem(cls, *, root: str, middle: str, name: str = SIGNER) -> Trust:
        """From PEM bundles. Raises ValueError for text that holds no certificate."""
        return cls(
            root=tuple(load_pem_x509_certificates(root.encode())),
            middle=tuple(load_pem_x509_certificates(middle.encode())),
            name=name,
        )

    def key_of(self, pem: str, /, *, at: datetime) -> RSAPublicKey:
        """The key of a signing certificate after it is proven, as of `at`. Raises Unverified."""
        try:
            certificate = load_pem_x509_certificate(pem.encode())
        except ValueError:
            raise Unverified("the signer's certificate cannot be read") from None
        if signer_name(certificate) != self.name:
            raise Unverified("the certificate belongs to somebody else")
        chain = [certificate]
        while (issuer := _issuer(chain[-1], self.root)) is None:
            issuer = _issuer(chain[-1], self.middle)
            if issuer is None or issuer in chain:
                raise Unverified("the certificate was not issued under the configured ones")
            chain.append(issuer)
        for one in [*chain, issuer]:
            if not one.not_valid_before_utc <= at <= one.not_valid_after_utc:
                raise Unverified("a certificate of the chain is not valid now")
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise Unverified("the certificate holds no RSA key")
        return key

    def require(self, fields: Mapping[str, str], /, *, at: datetime) -> None:
        """Raise Unverified unless UnionPay signed `fields`; the certificate first, then the signature."""
        require_signature(fields, key=self.key_of(fields.get("signPubKeyCert", ""), at=at))


def signer_name(certificate: Certificate, /) -> str:
    """The company in a CFCA common name `041@8310000000083040@中国银联股份有限公司@00016495`."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    parts = str(names[0].value).split("@") if names else []
    return parts[2] if len(parts) > 2 else ""


def _issuer(certificate: Certificate, among: Sequence[Certificate]) -> Certificate | None:
    """Which of `among` issued `certificate` (its name and its signature), or None."""
    for issuer in among:
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return issuer
    return None
