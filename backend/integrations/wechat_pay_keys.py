"""By which keys a message of WeChat Pay is believed: its public key, its certificates, or both of them.

A merchant of before 2024 has platform certificates (平台证书), which the platform replaces while we run;
a newer one has the platform's public key (微信支付公钥) and no certificates; during a move from one to
the other both serials arrive (reference/channels.md section 2.2 [doc]).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate
from wechatpayv3.utils import aes_decrypt

from backend.kernel.clock import Clock
from backend.topups.ports import ChannelUnavailable

# The platform asks merchants to look for new certificates at least twice a day; general knowledge of the
# APIv3 documents, not re-checked.
RENEW_AFTER = timedelta(hours=12)
# Anybody can send us a serial that nobody has: that costs the platform one question in this time.
PAUSE = timedelta(seconds=10)
_SERIAL = re.compile(r"^[0-9A-F]{8,64}$")
_ALGORITHM = "AEAD_AES_256_GCM"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A platform certificate: its key, and from when until when it may be used (aware UTC)."""

    key: RSAPublicKey
    begins: datetime
    ends: datetime


class PlatformKeys:
    """The platform's keys for one merchant by serial, renewed while the process runs.

    `fetch` downloads the certificates (blocking, raises ChannelUnavailable); None: there are none to
    fetch, only the `fixed` key. Shared by the threads of the adapter.
    """

    def __init__(
        self,
        *,
        fixed: Mapping[str, Any],
        fetch: Callable[[], Mapping[str, Certificate]] | None,
        clock: Clock,
    ) -> None:
        self._fixed = dict(fixed)
        self._fetch = fetch
        self._clock = clock
        self._certificates: Mapping[str, Certificate] = {}
        self._asked_at: datetime | None = None
        self._lock = threading.Lock()

    def of(self, serial: str, /) -> Any | None:
        """The key a message names, None for one that the platform does not have now.

        A serial unknown so far is asked for once (blocking) and then refused; a failed question leaves
        what is known in use until it runs out.
        """
        if serial in self._fixed or self._fetch is None or _SERIAL.match(serial) is None:
            return self._fixed.get(serial)
        if self._usable(serial) is None or self._old(RENEW_AFTER):
            self._renew(serial)
        return self._usable(serial)

    def _usable(self, serial: str) -> RSAPublicKey | None:
        found = self._certificates.get(serial)
        now = self._clock.now()
        return found.key if found is not None and found.begins <= now <= found.ends else None

    def _old(self, age: timedelta) -> bool:
        return self._asked_at is None or self._clock.now() - self._asked_at >= age

    def _renew(self, serial: str) -> None:
        """Ask for the certificates, unless another thread did or the last question is too fresh."""
        assert self._fetch is not None  # `of` asks only then
        with self._lock:
            if not self._old(PAUSE):
                return
            try:
                self._certificates = self._fetch()
            except ChannelUnavailable:
                if self._usable(serial) is None:
                    raise
            finally:
                # From its end: whoever waited for a question that took long does not ask it once more.
                self._asked_at = self._clock.now()


def open_certificates(body: bytes, *, apiv3_key: str) -> dict[str, Certificate]:
    """The certificates in an answer of `/v3/certificates`, unsealed with the APIv3 key, by serial.

    The seal (AEAD) proves who made them: nobody else has the key. Raises ValueError: not of this
    shape, sealed with another key, or a certificate under another's serial.
    """
    told = json.loads(body)
    listed = told.get("data") if isinstance(told, dict) else None
    if not isinstance(listed, list) or not listed:
        raise ValueError("no certificates")
    return dict(_opened(one, apiv3_key) for one in listed)


def _opened(item: Any, apiv3_key: str) -> tuple[str, Certificate]:
    sealed = item.get("encrypt_certificate") if isinstance(item, dict) else None
    if not isinstance(sealed, dict) or sealed.get("algorithm") != _ALGORITHM:
        raise ValueError("a certificate is not sealed as agreed")
    plain = aes_decrypt(
        nonce=str(sealed.get("nonce", "")),
        ciphertext=str(sealed.get("ciphertext", "")),
        associated_data=str(sealed.get("associated_data") or ""),
        apiv3_key=apiv3_key,
    )
    if plain is None:
        raise ValueError("the certificates do not open with this APIv3 key")
    certificate = load_pem_x509_certificate(plain.encode())
    serial, key = str(item.get("serial_no", "")), certificate.public_key()
    if _SERIAL.match(serial) is None or int(serial, 16) != certificate.serial_number:
        raise ValueError("a certificate has another serial than its name")
    if not isinstance(key, RSAPublicKey):
        raise ValueError("a certificate is not of RSA")
    return serial, Certificate(
        key, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )
