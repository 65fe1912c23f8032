"""The UnionPay stand-in's certificates: root, middle and signer like CFCA's, made when it first starts."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    CertificateBuilder,
    Name,
    NameAttribute,
    load_pem_x509_certificate,
    random_serial_number,
)
from cryptography.x509.oid import NameOID

_LIFE = timedelta(days=3650)
SIGNER_CN = "041@8310000000083040@中国银联股份有限公司@00016495"


class Issued:
    """A key with its certificate."""

    def __init__(self, *, key_pem: str, certificate_pem: str) -> None:
        key = load_pem_private_key(key_pem.encode(), password=None)
        assert isinstance(key, RSAPrivateKey)  # written by `issue` only
        self.key = key
        self.key_pem = key_pem
        self.pem = certificate_pem
        self.certificate: Certificate = load_pem_x509_certificate(certificate_pem.encode())


def issue(
    *,
    name: str,
    at: datetime,
    by: Issued | None = None,
    authority: bool = False,
    life: timedelta = _LIFE,
) -> Issued:
    """A fresh RSA 2048 key with a certificate for the common name `name`, signed by `by` (or itself)."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    subject = Name([NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        # A serial of 16 digits like CFCA's: certId is its decimal form.
        .serial_number(random_serial_number() % 10**16 + 1)
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + life)
        .add_extension(BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(by.key if by else key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Issued(key_pem=pem, certificate_pem=certificate.public_bytes(Encoding.PEM).decode())


def make_chain(*, at: datetime) -> dict[str, str]:
    """PEM texts of `root`, `middle` and `signer`, each with `.key`."""
    root = issue(name="Sandbox Root CA", at=at, authority=True)
    middle = issue(name="Sandbox OCA1", at=at, by=root, authority=True)
    signer = issue(name=SIGNER_CN, at=at, by=middle)
    made = {"root": root, "middle": middle, "signer": signer}
    texts = {name: one.pem for name, one in made.items()}
    return texts | {f"{name}.key": one.key_pem for name, one in made.items()}
