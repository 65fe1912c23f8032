"""A merchant's key is taken when it works, and refused when it is none, or does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
    generate_private_key,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from backend.integrations.merchant_key import merchant_key

OPEN = NoEncryption()
KEY = generate_private_key(public_exponent=65537, key_size=2048)
OTHER = generate_private_key(public_exponent=65537, key_size=2048)


def pem(
    key: RSAPrivateKey | ec.EllipticCurvePrivateKey, sealed: KeySerializationEncryption = OPEN
) -> bytes:
    """The key as PKCS#8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)


@dataclass(frozen=True)
class Parts:
    """The parts of KEY, any of which a test may change."""

    p: int = KEY.private_numbers().p
    q: int = KEY.private_numbers().q
    d: int = KEY.private_numbers().d
    n: int = KEY.private_numbers().public_numbers.n

    def key(self) -> RSAPrivateKey:
        """Whatever they make, unchecked."""
        numbers = RSAPrivateNumbers(
            p=self.p,
            q=self.q,
            d=self.d,
            dmp1=rsa_crt_dmp1(self.d, self.p),
            dmq1=rsa_crt_dmq1(self.d, self.q),
            iqmp=pow(self.q, -1, self.p),
            public_numbers=RSAPublicNumbers(e=65537, n=self.n),
        )
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def test_a_key_that_works_is_taken_as_pem_and_as_der() -> None:
    der = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, OPEN)
    old = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, OPEN)
    for taken in (merchant_key(pem(KEY)), merchant_key(der, der=True), merchant_key(old)):
        assert taken.private_numbers() == KEY.private_numbers()


REFUSED = {
    "nothing": b"",
    "no key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "a key with a password": pem(KEY, BestAvailableEncryption(b"secret")),
    "a key of another kind": pem(ec.generate_private_key(ec.SECP256R1())),
    "another key's exponent": pem(Parts(d=OTHER.private_numbers().d).key()),
    "a factor that is no prime": pem(
        Parts(
            q=Parts().q * OTHER.private_numbers().p, n=Parts().n * OTHER.private_numbers().p
        ).key()
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_key_that_does_not_work_is_refused_and_not_shown(what: str) -> None:
    with pytest.raises(ValueError, match=r"key|verify|PEM|deserialize") as refused:
        merchant_key(REFUSED[what])
    assert "MII" not in str(refused.value)
