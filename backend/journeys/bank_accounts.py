"""A project's merchant accounts at the banks' gateways (A2): UnionPay and ChinaPay, checked, kept sealed."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.topups.rules import Channel

from .ports import Ports
from .provider_accounts import keep_merchant


@dataclass(frozen=True, slots=True)
class UnionpayMerchant:
    """What UnionPay gives a merchant: a pfx (base64) with its password, and the certificates (PEM bundles)
    under which UnionPay's own signer is issued (acp_prod_root.cer, acp_prod_middle.cer)."""

    mer_id: str
    root_pem: str
    middle_pem: str
    pfx: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChinapayMerchant:
    """What ChinaPay gives a merchant: its number and ChinaPay's certificate (or public key, PEM); the
    private key is PKCS#8 PEM."""

    mer_id: str
    public_key_pem: str
    private_key_pem: str = field(repr=False)


async def set_unionpay(
    ports: Ports, *, scope: Scope, project_id: UUID, merchant: UnionpayMerchant
) -> UUID:
    """Seal and keep the UnionPay account of a project; returns the credential's id. The pfx is opened
    once, here: its password is not kept.

    Raises NotFound, Forbidden, InvalidInput (the adapter cannot work with it; nothing is kept).
    """
    certificate_pem, private_key_pem = open_pfx(merchant.pfx, merchant.password)
    return await keep_merchant(
        ports,
        scope=scope,
        channel=Channel.UNIONPAY,
        key=merchant.mer_id,
        project_id=project_id,
        public={
            "certificate_pem": certificate_pem,
            "root_pem": merchant.root_pem,
            "middle_pem": merchant.middle_pem,
        },
        secret={"private_key_pem": private_key_pem},
    )


async def set_chinapay(
    ports: Ports, *, scope: Scope, project_id: UUID, merchant: ChinapayMerchant
) -> UUID:
    """Seal and keep the ChinaPay account of a project; returns the credential's id.

    Raises NotFound, Forbidden, InvalidInput (the adapter cannot work with it; nothing is kept).
    """
    return await keep_merchant(
        ports,
        scope=scope,
        channel=Channel.CHINAPAY,
        key=merchant.mer_id,
        project_id=project_id,
        public={"public_key_pem": merchant.public_key_pem},
        secret={"private_key_pem": merchant.private_key_pem},
    )


def open_pfx(pfx: str, password: str, /) -> tuple[str, str]:
    """Certificate and private key (PEM, PKCS#8) in a pfx file (base64).

    Raises InvalidInput: no base64, another password, or no RSA key with its certificate.
    """
    try:
        packed = base64.b64decode(pfx, validate=True)
        key, certificate, _ = load_key_and_certificates(packed, password.encode())
    except (binascii.Error, ValueError):
        raise InvalidInput("the pfx does not open with this password", field="pfx") from None
    if not isinstance(key, RSAPrivateKey) or certificate is None:
        raise InvalidInput("the pfx holds no RSA key with its certificate", field="pfx")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private.decode()
