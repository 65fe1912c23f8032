"""With what the WeChat Pay stand-in signs: its public key, or its certificates and their rotation."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from backend.kernel.clock import CHINA
from backend.sandbox.faults import Faults
from backend.sandbox.pay_book import PayBook
from backend.sandbox.pay_keys import Merchant, Platform, sealed, signed_headers
from backend.sandbox.unionpay_keys import Issued, issue

SIGNING_FAULTS = ("unlisted_serial", "bad_certificate_seal")
_NAME = "Tenpay.com sign"


class Signing:
    """The platform's signatures, for each merchant by what it has. Certificates are made when the first
    merchant with certificates needs one: a key takes longer than a test."""

    def __init__(self, *, book: PayBook, platform: Platform, faults: Faults) -> None:
        self._book = book
        self._platform = platform
        self._faults = faults

    def headers(
        self, merchant: Merchant | None, *, body: bytes, at: datetime, by_key: bool = False
    ) -> dict[str, str]:
        """The headers that sign `body`: with the newest certificate for a merchant that has certificates,
        unless it asked for the public key (`by_key`)."""
        if merchant is None or not merchant.certificates or by_key:
            return self._platform.headers(body=body, at=at)
        newest = self.listed(at=at)[-1]
        serial = serial_of(newest)
        if self._faults.take("unlisted_serial"):
            serial = f"{secrets.randbits(120):030X}"
        return signed_headers(newest.key, serial=serial, body=body, at=at)

    def listed(self, *, at: datetime) -> list[Issued]:
        """The certificates of now, oldest first; the last one signs."""
        kept = [
            Issued(key_pem=key_pem, certificate_pem=pem)
            for key_pem, pem in self._book.certificates()
        ]
        return kept or [self.rotate(at=at)]

    def rotate(self, *, at: datetime, drop_old: bool = False) -> Issued:
        """A new certificate signs from now on; the others stay listed unless they are dropped."""
        made = issue(name=_NAME, at=at)
        if drop_old:
            self._book.drop_certificates()
        self._book.put_certificate(key_pem=made.key_pem, pem=made.pem)
        return made

    def download(self, merchant: Merchant, *, at: datetime) -> dict[str, Any]:
        """What `/v3/certificates` answers to a merchant that has certificates."""
        key = merchant.apiv3_key
        if self._faults.take("bad_certificate_seal"):
            key = secrets.token_hex(16)
        return {"data": [_shown(one, key) for one in self.listed(at=at)]}


def serial_of(issued: Issued, /) -> str:
    """A certificate's serial as WeChat Pay writes it: upper-case hex."""
    return f"{issued.certificate.serial_number:X}"


def _shown(issued: Issued, apiv3_key: str) -> dict[str, Any]:
    certificate = issued.certificate
    return {
        "serial_no": serial_of(issued),
        "effective_time": certificate.not_valid_before_utc.astimezone(CHINA).isoformat(),
        "expire_time": certificate.not_valid_after_utc.astimezone(CHINA).isoformat(),
        "encrypt_certificate": sealed(issued.pem.encode(), apiv3_key=apiv3_key, aad="certificate"),
    }
