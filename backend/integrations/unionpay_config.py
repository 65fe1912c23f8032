"""What one merchant account at UnionPay consists of, checked before it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509 import Certificate, load_pem_x509_certificate

from backend.integrations.http_session import checked_base_url
from backend.integrations.merchant_key import merchant_key
from backend.integrations.unionpay_wire import Trust
from backend.kernel.errors import InvalidInput

PRODUCTION = "https://gateway.95516.com"
PRODUCTION_FILES = "https://filedownload.95516.com"
# Who holds a certificate of CFCA's test authority, whose keys come printed in SDKs, signs test money only.
_TEST_AUTHORITY = "CFCA TEST"
_MER_ID = re.compile(r"^[0-9A-Za-z]{15}$")


@dataclass(frozen=True, slots=True)
class UnionpayConfig:
    """A directly connected merchant (accessType 0). The private key is kept out of repr, logs, errors.

    `certificate_pem` and `private_key_pem` are what UnionPay's pfx holds; `root_pem` and
    `middle_pem` are bundles of the certificates under which UnionPay's own signer is issued. `notify_url`
    (backUrl) carries no query string: it would break the signature of notices. With `allow_http` (no real
    money moves) a test authority may sign as well. Raises InvalidInput naming the field, never
    its value.
    """

    mer_id: str
    certificate_pem: str
    root_pem: str
    middle_pem: str
    notify_url: str
    private_key_pem: str = field(repr=False)
    base_url: str = PRODUCTION
    file_url: str = PRODUCTION_FILES
    allow_http: bool = False

    def __post_init__(self) -> None:
        if _MER_ID.match(self.mer_id) is None:
            raise _unusable("mer_id")
        if self.certificate.public_key() != self.private_key.public_key():
            raise _unusable("private_key_pem")
        trusted = (*self.trust.root, *self.trust.middle)
        if not self.allow_http and any(
            _TEST_AUTHORITY in one.subject.rfc4514_string() for one in trusted
        ):
            raise InvalidInput("UnionPay: this is a test authority", field="root_pem")
        for name in ("base_url", "file_url", "notify_url"):
            checked_base_url(getattr(self, name), allow_http=self.allow_http, field=name)

    @property
    def certificate(self) -> Certificate:
        """Our own signing certificate. Raises InvalidInput."""
        try:
            return load_pem_x509_certificate(self.certificate_pem.encode())
        except ValueError:
            raise _unusable("certificate_pem") from None

    @property
    def private_key(self) -> RSAPrivateKey:
        """The key of our certificate. Raises InvalidInput."""
        try:
            return merchant_key(self.private_key_pem.encode())
        except ValueError:
            raise _unusable("private_key_pem") from None

    @property
    def trust(self) -> Trust:
        """Who may sign for UnionPay. Raises InvalidInput."""
        for name in ("root_pem", "middle_pem"):
            try:
                Trust.of_pem(root=getattr(self, name), middle=getattr(self, name))
            except ValueError:
                raise _unusable(name) from None
        return Trust.of_pem(root=self.root_pem, middle=self.middle_pem)


def _unusable(name: str) -> InvalidInput:
    return InvalidInput(f"UnionPay: {name} is not usable", field=name)
