"""The open vectors of UnionPay 5.1.0 verify, and their printed certificates move no real money."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate

from backend.integrations.published_keys import refuse_published
from backend.integrations.unionpay_config import UnionpayConfig
from backend.integrations.unionpay_wire import (
    SIGNER,
    Trust,
    Unverified,
    cert_id,
    require_signature,
    signer_name,
)
from backend.kernel.errors import InvalidInput
from backend.sandbox.unionpay_keys import issue

from .bank_tills import CLOCK, UnionpayTill
from .test_public_vectors import VECTORS


def _key(pem: str) -> RSAPublicKey:
    key = load_pem_x509_certificate(pem.encode()).public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def test_the_notice_of_unionpay_verifies_with_the_certificate_it_brings() -> None:
    fields = VECTORS["unionpay-notify"]["params"]
    require_signature(fields, key=_key(fields["signPubKeyCert"]))
    for name in ("txnAmt", "orderId", "respCode", "accNo"):
        with pytest.raises(Unverified):
            require_signature(
                fields | {name: fields[name] + "1"}, key=_key(fields["signPubKeyCert"])
            )


def test_that_certificate_is_unionpays_by_name_but_not_by_issuer() -> None:
    """CFCA's test certificates are not public as a file, so nothing here vouches for the signer."""
    fields = VECTORS["unionpay-notify"]["params"]
    certificate = load_pem_x509_certificate(fields["signPubKeyCert"].encode())
    assert signer_name(certificate) == SIGNER
    merchant = VECTORS["unionpay-request"]["merchant_cert"]
    trust = Trust.of_pem(root=merchant, middle=merchant)
    with pytest.raises(Unverified, match="not issued under"):
        trust.require(fields, at=datetime(2022, 9, 8, 5, 22, tzinfo=UTC))


def test_the_request_of_a_merchant_verifies_and_names_its_certificate() -> None:
    vector = VECTORS["unionpay-request"]
    fields = vector["params"] | {"signature": vector["signature"]}
    require_signature(fields, key=_key(vector["merchant_cert"]))
    certificate = load_pem_x509_certificate(vector["merchant_cert"].encode())
    assert cert_id(certificate) == vector["expected_cert_id"] == fields["certId"]


def test_a_printed_certificate_or_a_test_authority_moves_no_real_money(
    unionpay: UnionpayTill,
) -> None:
    printed = VECTORS["unionpay-request"]["merchant_cert"]
    with pytest.raises(InvalidInput, match="sample key") as refused:
        refuse_published({"certificate_pem": printed})
    assert refused.value.field == "certificate_pem"
    addresses = {name: "https://pay.example" for name in ("base_url", "file_url", "notify_url")}
    good = asdict(unionpay.config) | addresses | {"allow_http": False}
    assert UnionpayConfig(**good)
    authority = issue(name="CFCA TEST OCA1", at=CLOCK.now(), authority=True)
    for name in ("root_pem", "middle_pem"):
        changed = {name: authority.pem}
        assert unionpay.another(**changed), "where no real money moves it may sign"
        with pytest.raises(InvalidInput, match="test authority"):
            UnionpayConfig(**good | changed)
