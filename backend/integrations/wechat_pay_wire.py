"""The signed wire of WeChat Pay APIv3: one request, one verified answer, nothing believed otherwise.

wechatpayv3 builds paths, parameters and signatures; its own transport is replaced here because it
verifies no answer outside 2xx, fetches certificates for an unknown serial and raises bare
`Exception` (reference/channels.md section 2.4).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from wechatpayv3 import WeChatPay, WeChatPayType
from wechatpayv3.type import RequestType
from wechatpayv3.utils import build_authorization, load_public_key, rsa_verify

from backend.integrations.http_session import CONNECT_S, READ_S, BoundedSession
from backend.integrations.merchant_key import merchant_key
from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.integrations.wechat_pay_keys import Certificate, PlatformKeys, open_certificates
from backend.kernel.clock import Clock
from backend.topups.ports import ChannelUnavailable

SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"
PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
_BODY_LIMIT = 64 * 1024 * 1024
_MARKS = ("signature", "timestamp", "nonce", "serial", "signature-type")


class Unverified(ValueError):
    """A message whose signature headers do not prove that the platform wrote it."""


class Probe(Unverified):
    """The platform's own test whether we verify at all (`WECHATPAY/SIGNTEST/`)."""


def require_signature(
    *, headers: Mapping[str, str], body: bytes, key_of: Callable[[str], Any | None]
) -> int:
    """Verify `TS\\nNONCE\\nBODY\\n` and return TS (unix seconds).

    Header names match in any case; `key_of` gives the key of a serial, None for an unknown one, and is
    asked last: it may have to fetch certificates. Raises Unverified, Probe.
    """
    given = {name.lower(): value for name, value in headers.items()}
    mark = {name: given.get(f"wechatpay-{name}", "") for name in _MARKS}
    if not all(mark.values()):
        raise Unverified("a signature header is missing")
    if mark["signature-type"] != SIGNATURE_TYPE:
        raise Unverified("another signature type")
    if mark["signature"].startswith(PROBE_PREFIX):
        raise Probe("a signature probe")
    if not (mark["timestamp"].isascii() and mark["timestamp"].isdigit()):
        raise Unverified("the timestamp is no number")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Unverified("the body is not UTF-8") from None
    public_key = key_of(mark["serial"])
    if public_key is None:
        kind = "public key" if mark["serial"].startswith("PUB_KEY_ID_") else "certificate"
        raise Unverified(f"an unknown serial, of a {kind} that this account does not have")
    if not rsa_verify(mark["timestamp"], mark["nonce"], text, mark["signature"], public_key):
        raise Unverified("the signature is wrong")
    return int(mark["timestamp"])


class SignedWire:
    """wechatpayv3 over our own transport: each call gives (status, verified JSON or bytes)."""

    def __init__(self, config: WechatPayConfig, /, *, clock: Clock) -> None:
        self._config = config
        self._private_key = merchant_key(config.private_key_pem.encode())
        public_pem = config.public_key_pem.replace("\r\n", "\n").strip()
        self._fixed: dict[str, Any] = (
            {config.public_key_id: load_public_key(public_pem)} if public_pem else {}
        )
        self._keys = PlatformKeys(
            fixed=self._fixed,
            fetch=self._fetch_certificates if config.certificates else None,
            clock=clock,
        )
        self.pay: Any = WeChatPay(
            wechatpay_type=WeChatPayType.JSAPI,
            mchid=config.mchid,
            private_key=None,  # it would prove anew that the factors are prime (see merchant_key)
            cert_serial_no=config.cert_serial_no,
            appid=config.appid,
            apiv3_key=config.apiv3_key,
            partner_mode=bool(config.sub_mchid),
            # Without a public key the library would fetch certificates here and now. It verifies
            # nothing itself, so any key keeps it quiet.
            public_key=public_pem or _public_half(self._private_key),
            public_key_id=config.public_key_id or config.cert_serial_no,
            timeout=(CONNECT_S, READ_S),
        )
        # Private names of the pinned version; tests/contracts holds that they exist.
        self.pay._core._private_key = self._private_key
        self.pay._core._gate_way = config.base_url.rstrip("/")
        self.pay._core.request = self._request

    def verify(self, *, headers: Mapping[str, str], body: bytes) -> int:
        """The signing time of a platform message, unix seconds (blocking: it may fetch certificates).

        Raises Unverified, Probe, ChannelUnavailable (certificates are needed and cannot be had).
        """
        return require_signature(headers=headers, body=body, key_of=self._keys.of)

    def _fetch_certificates(self) -> Mapping[str, Certificate]:
        """The platform's certificates of now (blocking). Raises ChannelUnavailable."""
        answer = self._exchange("/v3/certificates", RequestType.GET.value, "")
        if answer.status_code != 200:
            raise ChannelUnavailable(
                f"WeChat Pay gave no platform certificates ({answer.status_code}):"
                " a merchant without them has the platform's public key"
            )

        def listed(serial: str) -> Any | None:
            return found[serial].key if serial in found else self._fixed.get(serial)

        try:
            found = open_certificates(answer.content, apiv3_key=self._config.apiv3_key)
            # Signed by one of those it brings (who could seal them, may vouch for them) or by the key.
            require_signature(headers=answer.headers, body=answer.content, key_of=listed)
        except ValueError as error:
            raise ChannelUnavailable(
                f"the platform certificates could not be verified: {error}"
            ) from None
        return found

    def _request(
        self,
        path: str,
        method: RequestType = RequestType.GET,
        data: Mapping[str, object] | None = None,
        skip_verify: bool = False,
    ) -> tuple[int, Any]:
        """What `Core.request` of wechatpayv3 does, with the same arguments (blocking).

        Every answer is verified, whatever its status, except a bill file, which is not signed:
        its bytes are returned as they are. Raises ChannelUnavailable.
        """
        # Signed and sent must be the same bytes, so the body is made once.
        body = "" if data is None else json.dumps(data)
        answer = self._exchange(path, method.value, body)
        if skip_verify:
            return answer.status_code, answer.content
        try:
            self.verify(headers=answer.headers, body=answer.content)
            return answer.status_code, json.loads(answer.content) if answer.content else {}
        except ValueError as error:  # Unverified and broken JSON are both
            raise ChannelUnavailable(
                f"WeChat Pay answered {answer.status_code}, which could not be verified: {error}"
            ) from None

    def _exchange(self, path: str, method: str, body: str) -> requests.Response:
        """One HTTP exchange. Raises ChannelUnavailable for network errors and 5xx."""
        authorization = build_authorization(
            path,
            method,
            self._config.mchid,
            self._config.cert_serial_no,
            self._private_key,
            data=body,
        )
        headers = {
            "Accept": "application/json",
            "Authorization": authorization,
            "Content-Type": "application/json",
            "User-Agent": "shuidian",
        }
        if self._config.public_key_id:
            # Asks for answers that are signed with this key and not with a certificate.
            headers["Wechatpay-Serial"] = self._config.public_key_id
        url = self.pay._core._gate_way + path
        try:
            with BoundedSession() as session:
                answer = session.request(method, url, data=body.encode() or None, headers=headers)
        except requests.RequestException as error:
            raise ChannelUnavailable(
                f"WeChat Pay did not answer ({type(error).__name__})"
            ) from error
        if answer.status_code >= 500 or len(answer.content) > _BODY_LIMIT:
            raise ChannelUnavailable(f"WeChat Pay answered {answer.status_code}")
        return answer


def _public_half(own: RSAPrivateKey) -> str:
    """The public half of our own key, as PEM."""
    half = own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(half, "ascii")
