"""Keys that public documents print open nothing in production, whatever their shape (deny list)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from backend.integrations.published_keys import refuse_published
from backend.kernel.errors import InvalidInput
from backend.sandbox.pay_keys import new_private_pem, public_pem_of

from .test_public_vectors import VECTORS

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SECRETS = ("apiv3_key", "key", "api_key", "secret", "encoding_aes_key")


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield name, value


CERTIFICATES = sorted(
    {
        (id_, pem)
        for id_, vector in VECTORS.items()
        for _, text in _texts(vector)
        for pem in _CERTIFICATE.findall(text)
    }
)
SHARED = sorted(
    {(id_, text) for id_, v in VECTORS.items() for name, text in _texts(v) if name in _SECRETS}
)


def test_the_vectors_have_keys_to_refuse() -> None:
    assert {id_ for id_, _ in CERTIFICATES} >= {"wxpay-v3-notify", "alipay-notify"}
    assert len(SHARED) >= 6


@pytest.mark.parametrize("pem", [pem for _, pem in CERTIFICATES], ids=[i for i, _ in CERTIFICATES])
def test_a_certificate_and_its_bare_key_are_refused(pem: str) -> None:
    key = load_pem_x509_certificate(pem.encode()).public_key()
    as_pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    bare = "".join(as_pem.splitlines()[1:-1])
    for text in (pem, pem.replace("\n", "\r\n"), as_pem, bare, f"{public()}\n\n{pem}"):
        with pytest.raises(InvalidInput) as refused:
            refuse_published({"fine": "wx0001", "wrong": text})
        assert refused.value.field == "wrong"
        assert text not in str(refused.value)


@pytest.mark.parametrize("secret", [text for _, text in SHARED], ids=[i for i, _ in SHARED])
def test_a_shared_secret_is_refused(secret: str) -> None:
    with pytest.raises(InvalidInput):
        refuse_published({"apiv3_key": secret})


def test_keys_of_ones_own_pass() -> None:
    private = new_private_pem()
    values = {"private": private, "public": public_pem_of(private), "apiv3": secrets.token_hex(16)}
    broken = {"broken": "-----BEGIN X-----!-----END X-----"}
    refuse_published(values | broken)
    with pytest.raises(InvalidInput):
        refuse_published(values | broken | {"apiv3": SHARED[0][1]})


def public() -> str:
    """A public key of this run."""
    return public_pem_of(new_private_pem())
