"""The signed wire of Alipay's gateway: one call, one verified answer, nothing believed otherwise.

python-alipay-sdk builds, signs and verifies; its transport (urlopen, no connect time-out) and its search
for the signed text (it counts braces inside strings too) are replaced, and what it leaves to the caller is
added: the time of the clock instead of the process's zone, `app_auth_token`, the certificate that signed
the answer (reference/channels.md section 3.1).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import requests
from alipay import AliPay, DCAliPay
from alipay.exceptions import AliPayException, AliPayValidationError
from Cryptodome.PublicKey import RSA

from backend.integrations.alipay_config import AlipayConfig, roots
from backend.integrations.http_session import BoundedSession
from backend.integrations.merchant_key import merchant_key
from backend.kernel.clock import CHINA
from backend.topups.ports import ChannelRefused, ChannelUnavailable

_ANSWER_LIMIT = 1024 * 1024
_FILE_LIMIT = 64 * 1024 * 1024
_DONE = "10000"
# 20000: the gateway could not ask the business system. The others: it could, and nothing is known, or
# there were too many calls.
_NOT_NOW = "20000"
_ASK_AGAIN = frozenset({"ACQ.SYSTEM_ERROR", "app-call-limited", "method-call-limited"})


class _TriedKey:
    """Before an SDK class: its own loading would prove anew that the key's factors are prime, 30 ms of a
    standing event loop for each merchant of each process (see merchant_key)."""

    _app_private_key_string: str
    _alipay_public_key_string: str

    def _load_key(self) -> None:
        own = merchant_key(self._app_private_key_string.encode()).private_numbers()
        parts = (own.public_numbers.n, own.public_numbers.e, own.d, own.p, own.q)
        self._app_private_key = RSA.construct(parts, consistency_check=False)
        self._alipay_public_key = RSA.import_key(self._alipay_public_key_string)


class _KeyMode(_TriedKey, AliPay):  # type: ignore[misc] # the SDK has no types
    """Alipay's answers are verified with its public key."""


class _CertificateMode(_TriedKey, DCAliPay):  # type: ignore[misc] # the SDK has no types
    """Alipay's answers are verified with its certificate."""


class AlipayWire:
    """One app's calls, blocking: run them in a thread."""

    def __init__(self, config: AlipayConfig, /) -> None:
        self._config = config
        self._gateway = f"{config.base_url.rstrip('/')}/gateway.do"
        common = {"appid": config.app_id, "app_private_key_string": config.private_key_pem}
        self._cert_sn = ""
        if config.certificates is None:
            self.sdk: Any = _KeyMode(
                alipay_public_key_string=config.alipay_public_key_pem, sign_type="RSA2", **common
            )
        else:
            certificates = config.certificates
            self.sdk = _CertificateMode(
                app_public_key_cert_string=certificates.app_pem,
                alipay_public_key_cert_string=certificates.alipay_pem,
                alipay_root_cert_string=roots(certificates.root_pem),
                sign_type="RSA2",
                **common,
            )
            self._cert_sn = str(DCAliPay.get_cert_sn(certificates.alipay_pem))
        # A private name of the pinned version; tests/contracts holds that it exists.
        self.sdk._get_string_to_be_signed = signed_node

    def signed(
        self, method: str, biz_content: dict[str, Any], /, *, at: datetime, **top: str
    ) -> str:
        """The signed query string of a call, as it is sent or given to a browser."""
        given = {name: value for name, value in top.items() if value}
        if self._config.app_auth_token:
            given["app_auth_token"] = self._config.app_auth_token
        stamp = f"{at.astimezone(CHINA):%Y-%m-%d %H:%M:%S}"
        body = self.sdk.build_body(method, biz_content, timestamp=stamp, **given)
        return str(self.sdk.sign_data(body))

    def page_url(self, signed: str, /) -> str:
        """Where a browser goes with a signed query string."""
        return f"{self._gateway}?{signed}"

    def call(
        self, method: str, biz_content: dict[str, Any], /, *, at: datetime, **top: str
    ) -> dict[str, Any]:
        """One call's verified answer with code 10000.

        Raises ChannelRefused (a signed business error, `code_at_channel` is its sub_code),
        ChannelUnavailable (no answer, none that can be verified, or "try again").
        """
        raw = self._get(self.page_url(self.signed(method, biz_content, at=at, **top)))
        answer = self._verified(raw, method.replace(".", "_") + "_response")
        code, sub_code = str(answer.get("code", "")), str(answer.get("sub_code", ""))
        if code == _DONE:
            return answer
        told = f"{code} {sub_code} {answer.get('sub_msg', '')}".strip()
        if not sub_code or code == _NOT_NOW or sub_code.removeprefix("isv.") in _ASK_AGAIN:
            raise ChannelUnavailable(f"Alipay answered {told}")
        raise ChannelRefused(told, code_at_channel=sub_code)

    def visitor(self, code: str, /, *, at: datetime) -> dict[str, Any] | None:
        """Who granted us the single-use `code` (verified; its node has no code of success), None when
        Alipay refuses it. Raises ChannelUnavailable.

        A refusal comes as `error_response`, of which only the refusal itself is believed.
        """
        method = "alipay.system.oauth.token"
        grant = {"grant_type": "authorization_code", "code": code}
        raw = self._get(self.page_url(self.signed(method, {}, at=at, **grant)))
        try:
            told = json.loads(raw)
        except ValueError:
            raise ChannelUnavailable("Alipay's answer is no JSON") from None
        refusal = told.get("error_response") if isinstance(told, dict) else None
        if isinstance(refusal, dict):
            if str(refusal.get("code", "")) == _NOT_NOW:
                raise ChannelUnavailable("Alipay cannot log in now")
            return None
        return self._verified(raw, method.replace(".", "_") + "_response")

    def download(self, url: str, /) -> bytes:
        """A file from an address that a verified answer named. Raises ChannelUnavailable."""
        if not url.startswith("https://") and not (
            self._config.allow_http and url.startswith("http://")
        ):
            raise ChannelUnavailable("the file has no https address")
        return self._exchange(url, limit=_FILE_LIMIT)

    def verifies(self, params: Mapping[str, str], signature: str, /) -> bool:
        """Whether Alipay signed the parameters of a notice (without sign and sign_type)."""
        try:
            # The SDK's own decoder passes over what is no base64.
            base64.b64decode(signature, validate=True)
            return bool(self.sdk.verify(dict(params), signature))
        except ValueError:
            return False

    def _verified(self, raw: str, node: str) -> dict[str, Any]:
        """The signed node of an answer. Raises ChannelUnavailable."""
        try:
            if self._cert_sn and json.loads(raw).get("alipay_cert_sn", "") != self._cert_sn:
                raise ChannelUnavailable("Alipay signs with another certificate than ours")
            answer = self.sdk._verify_and_return_sync_response(raw, node)
        except (AliPayException, AliPayValidationError, AttributeError, ValueError) as error:
            # AttributeError: an unsigned answer without any node (the SDK looks into None).
            raise ChannelUnavailable(
                f"Alipay's answer could not be verified ({type(error).__name__})"
            ) from None
        if not isinstance(answer, dict):
            raise ChannelUnavailable("Alipay's answer is no object")
        return answer

    def _get(self, url: str) -> str:
        try:
            return self._exchange(url, limit=_ANSWER_LIMIT).decode("utf-8")
        except UnicodeDecodeError:
            raise ChannelUnavailable("Alipay's answer is not UTF-8") from None

    def _exchange(self, url: str, *, limit: int) -> bytes:
        """One GET (3 s / 8 s), at most `limit` bytes. Raises ChannelUnavailable; never tells the URL,
        which is signed and may hold a token."""
        found = bytearray()
        try:
            with BoundedSession() as session, session.get(url, stream=True) as answer:
                if answer.status_code != 200:
                    raise ChannelUnavailable(f"Alipay answered {answer.status_code}")
                for chunk in answer.iter_content(64 * 1024):
                    found += chunk
                    if len(found) > limit:
                        raise ChannelUnavailable("Alipay's answer is too long")
        except requests.RequestException as error:
            kind = type(error).__name__
            raise ChannelUnavailable(f"Alipay did not answer ({kind})") from None
        return bytes(found)


def signed_node(raw: str, node: str, /) -> str:
    """The text of an answer's node, byte for byte: what Alipay signs. Raises ValueError."""
    mark = raw.find(f'"{node}"')
    start = raw.find("{", mark)
    if mark < 0 or start < 0:
        raise ValueError("the answer lacks its node")
    _, end = json.JSONDecoder().raw_decode(raw, start)
    return raw[start:end]
