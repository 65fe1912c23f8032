"""SMS by Aliyun (dysmsapi 2017-05-25): the Notifier for phone numbers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aliyunsdkcore.acs_exception.exceptions import ClientException, ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.http import protocol_type
from aliyunsdkcore.request import CommonRequest

from backend.alerts.ports import Outgoing, Undeliverable
from backend.integrations.http_session import checked_base_url
from backend.kernel.errors import InvalidInput, Unavailable

PRODUCTION = "https://dysmsapi.aliyuncs.com"
_SAMPLE_KEYS = frozenset({"testid", "testId"})
_PHONE = re.compile(r"^(\+?86)?1\d{10}$")
_CONNECT_S, _READ_S = 3, 8

# Faults of the account or of the moment; the operator or time mends them. Other codes are final.
_LATER = frozenset(
    {
        "isp.SYSTEM_ERROR",
        "isp.RAM_PERMISSION_DENY",
        "isv.ACCOUNT_ABNORMAL",
        "isv.ACCOUNT_NOT_EXISTS",
        "isv.AMOUNT_NOT_ENOUGH",
        "isv.OUT_OF_SERVICE",
        "InternalError",
        "ServiceUnavailable",
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId.NotFound",
        "InvalidAccessKeySecret",
    }
)


@dataclass(frozen=True, slots=True)
class SmsTemplate:
    """A template of the account: its code, the message params it takes, in the template's names.

    `once` is for codes: when the provider's answer is lost, the message is not sent a second time.
    """

    code: str
    params: tuple[str, ...] = ()
    once: bool = False


@dataclass(frozen=True, slots=True)
class AliyunSmsConfig:
    """An Aliyun account, its signature name and its templates by event. Raises InvalidInput."""

    access_key_id: str
    sign_name: str
    templates: Mapping[str, SmsTemplate]
    access_key_secret: str = field(repr=False)
    base_url: str = PRODUCTION
    region: str = "cn-hangzhou"
    allow_http: bool = False

    def __post_init__(self) -> None:
        if not (self.access_key_id and self.access_key_secret and self.sign_name):
            raise InvalidInput("SMS: key id, secret and signature name are needed")
        # The key of the provider's printed example must never reach production (channels.md 7).
        if self.access_key_id in _SAMPLE_KEYS:
            raise InvalidInput("SMS: this is a sample key", field="access_key_id")
        checked_base_url(self.base_url, allow_http=self.allow_http, field="base_url")


class AliyunSms:
    """Implements backend.alerts.ports.Notifier for SMS. Blocking calls run in a thread."""

    def __init__(self, config: AliyunSmsConfig, /) -> None:
        self._config = config
        address = urlsplit(config.base_url)
        self._domain = address.netloc + address.path.rstrip("/")
        # The SDK compares by identity: any other "https" string would silently go over http.
        plain = address.scheme == "http"
        self._protocol = protocol_type.HTTP if plain else protocol_type.HTTPS
        self._client = AcsClient(
            config.access_key_id,
            config.access_key_secret,
            config.region,
            auto_retry=False,
            connect_timeout=_CONNECT_S,
            timeout=_READ_S,
        )
        _silence_sdk()

    async def send(self, message: Outgoing, /) -> str:
        """Send to the phone number in `address`; returns Aliyun's BizId.

        Raises Undeliverable (no template, bad number, limit of the day, answer to a `once` message
        lost), Unavailable (throttled, 5xx, time-out, account out of money).
        """
        template = self._config.templates.get(message.event)
        if template is None:
            raise Undeliverable(f"no SMS template for {message.event}")
        if _PHONE.match(message.address) is None:
            raise Undeliverable("not a mobile number of the mainland")
        missing = [name for name in template.params if not message.params.get(name)]
        if missing:
            raise Undeliverable(f"the SMS template needs {', '.join(missing)}")
        request = self._request(template, message)
        try:
            raw = await asyncio.to_thread(self._client.do_action_with_exception, request)
            answer: Any = json.loads(raw)
        except ServerException as error:
            status = int(error.http_status or 0)
            if status >= 500:
                raise _unknown(template, f"status {status}") from None
            raise _refusal(str(error.error_code)) from None
        except (ClientException, ValueError, TypeError, LookupError) as error:
            # The last three: the SDK takes an answer apart without looking first.
            raise _unknown(template, type(error).__name__) from None
        if not isinstance(answer, dict):
            raise Unavailable("Aliyun SMS answered something unreadable")
        if answer.get("Code") != "OK":
            raise _refusal(str(answer.get("Code")))
        return str(answer.get("BizId", ""))

    def _request(self, template: SmsTemplate, message: Outgoing) -> Any:
        """SendSms with everything in the signed body: a number in an address would be logged."""
        request = CommonRequest()
        request.set_domain(self._domain)
        request.set_version("2017-05-25")
        request.set_action_name("SendSms")
        request.set_method("POST")
        request.set_protocol_type(self._protocol)
        values = {name: message.params[name] for name in template.params}
        for name, value in (
            ("PhoneNumbers", message.address),
            ("SignName", self._config.sign_name),
            ("TemplateCode", template.code),
            ("TemplateParam", json.dumps(values, ensure_ascii=False)),
            ("OutId", message.key),
        ):
            request.add_body_params(name, value)
        return request


def _unknown(template: SmsTemplate, why: str) -> Undeliverable | Unavailable:
    """The error when nobody knows whether the message went out: a code must not go out twice."""
    if template.once:
        return Undeliverable(f"unknown whether sent ({why}); not repeated")
    return Unavailable(f"Aliyun SMS did not answer ({why})")


def _refusal(code: str) -> Undeliverable | Unavailable:
    """The error for a Code other than OK; the provider's text may hold the number, so it is left."""
    if code in _LATER or code.startswith("Throttling"):
        return Unavailable(f"Aliyun SMS cannot send now ({code})")
    return Undeliverable(f"Aliyun SMS refused the message ({code})")


def _silence_sdk() -> None:
    """Take away the SDK's own DEBUG handler, and its error lines: they quote the string to sign,
    which holds the phone number and the code."""
    for name in ("aliyunsdkcore.http.http_response", "aliyunsdkcore.client"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.CRITICAL)
