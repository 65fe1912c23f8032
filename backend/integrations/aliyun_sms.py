"""SMS by Aliyun (dysmsapi 2017-05-25): the Notifier for phone numbers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from aliyunsdkcore.acs_exception.exceptions import ClientException, ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.http import protocol_type
from aliyunsdkcore.request import CommonRequest

from backend.alerts.message_rules import CODES
from backend.alerts.ports import (
    Limited,
    MessageChannel,
    Outgoing,
    OutOfMoney,
    TemplateRefused,
    Undeliverable,
)
from backend.alerts.template_rules import MessageTemplate, Unfit, filled
from backend.integrations.http_session import checked_base_url
from backend.kernel.clock import CHINA
from backend.kernel.errors import DomainError, InvalidInput, Unavailable

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
        "InternalError",
        "ServiceUnavailable",
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId.NotFound",
        "InvalidAccessKeySecret",
    }
)

_NO_MONEY = frozenset({"isv.AMOUNT_NOT_ENOUGH", "isv.OUT_OF_SERVICE"})
_NOT_TODAY = "isv.BUSINESS_LIMIT_CONTROL"
# Wrong until an operator mends it: no message of this event passes.
_OF_TEMPLATE = frozenset(
    {
        "isv.SMS_TEMPLATE_ILLEGAL",
        "isv.SMS_SIGNATURE_ILLEGAL",
        "isv.TEMPLATE_MISSING_PARAMETERS",
        "isv.INVALID_JSON_PARAM",
        "isv.PARAM_NOT_SUPPORT_URL",
    }
)
_PAGE = 50


@dataclass(frozen=True, slots=True)
class SmsTemplate:
    """A template of the account itself: its code, the message params it takes, in the template's names.

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
        """Send to the phone number in `address`; returns Aliyun's BizId, or `out:` and our key where an
        earlier try turns out to have gone out.

        Raises Undeliverable (no template, bad number, answer to a code lost), TemplateRefused, Limited (no
        more to this number today), OutOfMoney, Unavailable (throttled, 5xx, time-out).
        """
        sms = self._sms(message)
        if _PHONE.match(message.address) is None:
            raise Undeliverable("not a mobile number of the mainland")
        if message.tried_at is not None:
            if await self._went_out(message, message.tried_at):
                return f"out:{message.key}"
            if sms.once:
                raise Undeliverable("unknown whether sent; not repeated")
        try:
            answer = await self._call("SendSms", _send_body(sms, message))
        except _NoAnswer as failure:
            raise _unknown(sms, failure.why) from None
        return str(answer.get("BizId", ""))

    async def _went_out(self, message: Outgoing, tried_at: datetime) -> bool:
        """Whether Aliyun knows a message with our key of that day (QuerySendDetails). Raises Unavailable."""
        body = {
            "PhoneNumber": message.address,
            "SendDate": f"{tried_at.astimezone(CHINA):%Y%m%d}",
            "PageSize": str(_PAGE),
            "CurrentPage": "1",
        }
        try:
            answer = await self._call("QuerySendDetails", body)
        except _NoAnswer as failure:
            raise Unavailable(f"Aliyun SMS did not answer ({failure.why})") from None
        details = answer.get("SmsSendDetailDTOs")
        rows = details.get("SmsSendDetailDTO", []) if isinstance(details, dict) else []
        return any(isinstance(row, dict) and row.get("OutId") == message.key for row in rows)

    async def _call(self, action: str, body: Mapping[str, str]) -> dict[str, Any]:
        """One call's answer with Code OK. Raises _NoAnswer, and the refusal of any other Code."""
        request = self._request(action, body)
        try:
            raw = await asyncio.to_thread(self._client.do_action_with_exception, request)
            answer: Any = json.loads(raw)
        except ServerException as error:
            status = int(error.http_status or 0)
            if status >= 500:
                raise _NoAnswer(f"status {status}") from None
            raise _refusal(str(error.error_code)) from None
        except (ClientException, ValueError, TypeError, LookupError) as error:
            # The last three: the SDK takes an answer apart without looking first.
            raise _NoAnswer(type(error).__name__) from None
        if not isinstance(answer, dict):
            raise _NoAnswer("something unreadable")
        if answer.get("Code") != "OK":
            raise _refusal(str(answer.get("Code")))
        return answer

    def _sms(self, message: Outgoing) -> _Sms:
        """Signature, template and variables: the group's for this event, else the account's. Raises
        Undeliverable."""
        once = message.event in CODES
        template = message.template
        if template is None:
            own = self._config.templates.get(message.event)
            if own is None:
                raise Undeliverable(f"no SMS template for {message.event}")
            once = once or own.once
            fields = {name: name for name in own.params}
            template = MessageTemplate(own.code, fields, self._config.sign_name)
        missing = [param for param in template.fields.values() if not message.params.get(param)]
        if missing:
            raise Undeliverable(f"the SMS template needs {', '.join(missing)}")
        try:
            values = filled(channel=MessageChannel.SMS, template=template, params=message.params)
        except Unfit as unfit:
            raise Undeliverable(unfit.message) from None
        return _Sms(template.template_id, template.sign_name, values, once)

    def _request(self, action: str, body: Mapping[str, str]) -> Any:
        """A call with everything in the signed body: a number in an address would be logged."""
        request = CommonRequest()
        request.set_domain(self._domain)
        request.set_version("2017-05-25")
        request.set_action_name(action)
        request.set_method("POST")
        request.set_protocol_type(self._protocol)
        for name, value in body.items():
            request.add_body_params(name, value)
        return request


@dataclass(frozen=True, slots=True)
class _Sms:
    code: str
    sign_name: str
    values: Mapping[str, str]
    once: bool


class _NoAnswer(Exception):
    """Nobody knows what became of a call; `why` holds nothing of it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _send_body(sms: _Sms, message: Outgoing) -> dict[str, str]:
    return {
        "PhoneNumbers": message.address,
        "SignName": sms.sign_name,
        "TemplateCode": sms.code,
        "TemplateParam": json.dumps(dict(sms.values), ensure_ascii=False),
        "OutId": message.key,
    }


def _unknown(sms: _Sms, why: str) -> Undeliverable | Unavailable:
    """The error when nobody knows whether the message went out: a code must not go out twice."""
    if sms.once:
        return Undeliverable(f"unknown whether sent ({why}); not repeated")
    return Unavailable(f"Aliyun SMS did not answer ({why})")


def _refusal(code: str) -> DomainError:
    """The error for a Code other than OK; the provider's text may hold the number, so it is left."""
    if code in _NO_MONEY:
        return OutOfMoney(f"Aliyun SMS sends no more for this account ({code})")
    if code in _LATER or code.startswith("Throttling"):
        return Unavailable(f"Aliyun SMS cannot send now ({code})")
    if code == _NOT_TODAY:
        return Limited(f"Aliyun SMS sends no more to this number today ({code})")
    refused = TemplateRefused if code in _OF_TEMPLATE else Undeliverable
    return refused(f"Aliyun SMS refused the message ({code})")


def _silence_sdk() -> None:
    """Take away the SDK's own DEBUG handler, and its error lines: they quote the string to sign,
    which holds the phone number and the code."""
    for name in ("aliyunsdkcore.http.http_response", "aliyunsdkcore.client"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.CRITICAL)
