"""A merchant's own RSA key, as a person pasted it: read, and shown to work.

OpenSSL would prove anew that its factors are prime, 40 ms a key. Every process reads the key of every
merchant that it serves, and a worker that was just killed has no time for that. So the key is tried
instead: it signs, and its public half must agree. A key of which that is true is all we need.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
)

_TRIED = b"whose key is this"


def merchant_key(text: bytes, *, der: bool = False) -> RSAPrivateKey:
    """The key without password in `text`, PEM or DER. Raises ValueError when it is not one, or does not
    work; the message shows nothing of it."""
    load = load_der_private_key if der else load_pem_private_key
    try:
        key = load(text, password=None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("not a key that we can read") from error
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("not an RSA key")
    try:
        signed = key.sign(_TRIED, PKCS1v15(), SHA256())
        key.public_key().verify(signed, _TRIED, PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise ValueError("what it signs its public half does not verify") from error
    return key
