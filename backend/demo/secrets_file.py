"""The demo's own keys, made at its first start and kept in its data folder (0600)."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from backend.journeys.sign_in import new_password
from backend.kernel.clock import SystemClock
from backend.sandbox.unionpay_keys import issue

from .plan import DemoGroup, Site


@dataclass(frozen=True, slots=True)
class MerchantKeys:
    """A merchant's signing key (PKCS#8 PEM), the serial of its certificate, its APIv3 key."""

    private_key_pem: str = field(repr=False)
    cert_serial_no: str
    apiv3_key: str = field(repr=False)

    @property
    def public_key_pem(self) -> str:
        """What the merchant hands to the channel."""
        key = load_pem_private_key(self.private_key_pem.encode(), password=None)
        return (
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        )


@dataclass(frozen=True, slots=True)
class BankKeys:
    """What UnionPay hands a merchant: its certificate (PEM), and the pfx (base64) with its password."""

    certificate: str
    pfx: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DemoSecrets:
    """Everything secret in a demo: nothing of it is in the repository, or the same twice."""

    key_encryption_key: str = field(repr=False)
    merchants: dict[str, MerchantKeys] = field(repr=False)
    app_secrets: dict[str, dict[str, str]] = field(repr=False)
    sms: dict[str, str] = field(repr=False)
    passwords: dict[str, str] = field(repr=False)
    links_token: str = field(repr=False)
    banks: dict[str, BankKeys] = field(default_factory=dict, repr=False)


def load_or_make(path: Path, groups: Iterable[DemoGroup]) -> DemoSecrets:
    """The secrets kept at `path`, made when there are none."""
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        merchants = {name: MerchantKeys(**keys) for name, keys in kept.pop("merchants").items()}
        banks = {name: BankKeys(**keys) for name, keys in kept.pop("banks", {}).items()}
        return DemoSecrets(merchants=merchants, banks=banks, **kept)
    made = _make(list(groups))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(made), file)
    return made


def _make(groups: list[DemoGroup]) -> DemoSecrets:
    logins = [f"admin@{group.code}" for group in groups]
    logins += [f"{site.code}@{group.code}" for group in groups for site in group.sites]
    return DemoSecrets(
        key_encryption_key="1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        merchants={site.mchid: _merchant() for group in groups for site in group.sites},
        app_secrets={
            group.app_id: {
                "secret": secrets.token_hex(16),
                "token": secrets.token_hex(12),
                "aes_key": base64.b64encode(secrets.token_bytes(32)).decode().rstrip("="),
            }
            for group in groups
        },
        sms={"access_key_id": "demo" + secrets.token_hex(8), "secret": secrets.token_hex(16)},
        passwords={login: new_password() for login in logins},
        links_token=secrets.token_urlsafe(24),
        banks={
            site.unionpay: _bank(site) for group in groups for site in group.sites if site.unionpay
        },
    )


def _merchant() -> MerchantKeys:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return MerchantKeys(pem, secrets.token_hex(16).upper(), secrets.token_hex(16))


def _bank(site: Site) -> BankKeys:
    issued = issue(name=f"041@{site.name}@{site.unionpay}:SIGN@00000001", at=SystemClock().now())
    password = secrets.token_urlsafe(12)
    pfx = serialize_key_and_certificates(
        None, issued.key, issued.certificate, None, BestAvailableEncryption(password.encode())
    )
    return BankKeys(issued.pem, base64.b64encode(pfx).decode(), password)
