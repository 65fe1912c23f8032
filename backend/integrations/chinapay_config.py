"""What one merchant account at ChinaPay (银联电子支付) consists of, checked before it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from backend.integrations.http_session import checked_base_url
from backend.integrations.merchant_key import merchant_key
from backend.kernel.errors import InvalidInput

PRODUCTION = "https://payment.chinapay.com"
_MER_ID = re.compile(r"^\d{15}$")


@dataclass(frozen=True, slots=True)
class ChinapayConfig:
    """A merchant of 15 digits. `public_key_pem` is ChinaPay's own (a certificate or a public key), by
    which it signs; the private key is kept out of repr, logs, errors. Raises InvalidInput naming the
    field, never its value.
    """

    mer_id: str
    public_key_pem: str
    notify_url: str
    private_key_pem: str = field(repr=False)
    base_url: str = PRODUCTION
    allow_http: bool = False

    def __post_init__(self) -> None:
        if _MER_ID.match(self.mer_id) is None:
            raise _unusable("mer_id")
        if self.private_key.public_key() == self.public_key:
            raise InvalidInput(
                "ChinaPay: this is the merchant's own key, not ChinaPay's", field="public_key_pem"
            )
        for name in ("base_url", "notify_url"):
            checked_base_url(getattr(self, name), allow_http=self.allow_http, field=name)

    @property
    def private_key(self) -> RSAPrivateKey:
        """The merchant's key. Raises InvalidInput."""
        try:
            return merchant_key(self.private_key_pem.encode())
        except ValueError:
            raise _unusable("private_key_pem") from None

    @property
    def public_key(self) -> RSAPublicKey:
        """ChinaPay's key. Raises InvalidInput."""
        pem = self.public_key_pem.encode()
        try:
            is_certificate = b"BEGIN CERTIFICATE" in pem
            key: object = (
                load_pem_x509_certificate(pem).public_key()
                if is_certificate
                else load_pem_public_key(pem)
            )
        except ValueError:
            raise _unusable("public_key_pem") from None
        if not isinstance(key, RSAPublicKey):
            raise _unusable("public_key_pem")
        return key


def _unusable(name: str) -> InvalidInput:
    return InvalidInput(f"ChinaPay: {name} is not usable", field=name)
