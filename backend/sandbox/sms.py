"""A stand-in for Aliyun SMS (RPC style): checks the HMAC-SHA1 signature, keeps what was sent.

Loopback only: /control shows codes and phone numbers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.kernel.clock import CHINA, Clock
from backend.sandbox.answers import CutAnswer, caller, control, json_object, text_of
from backend.sandbox.faults import Faults

FAULTS = ("limit", "throttle", "out_of_money", "bad_template", "http_500", "drop_answer")
_PHONE = re.compile(r"^(\+?86)?1\d{10}$")
_FRESH_S = 900
_CODES = {
    "limit": "isv.BUSINESS_LIMIT_CONTROL",
    "out_of_money": "isv.AMOUNT_NOT_ENOUGH",
    "bad_template": "isv.SMS_TEMPLATE_ILLEGAL",
}


def rpc_signature(*, method: str, params: Mapping[str, str], secret: str) -> str:
    """Aliyun's RPC signature 1.0 over all parameters but `Signature` (query and body together)."""
    signed = _string_to_sign(method=method, params=params)
    digest = hmac.new(f"{secret}&".encode(), signed.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _string_to_sign(*, method: str, params: Mapping[str, str]) -> str:
    """What is signed: method, path, and the sorted parameters, each encoded twice."""
    pairs = sorted((name, value) for name, value in params.items() if name != "Signature")
    canonical = "&".join(f"{_pct(name)}={_pct(value)}" for name, value in pairs)
    return f"{method}&%2F&{_pct(canonical)}"


def sms_app(*, clock: Clock) -> Starlette:
    """The stand-in as an ASGI application; its state lives in memory."""
    desk = _Desk(clock=clock)
    return Starlette(
        routes=[
            Route("/", desk.call, methods=["GET", "POST"]),
            Route("/control/accounts", control(desk.accounts), methods=["POST"]),
            Route("/control/templates", control(desk.templates), methods=["POST"]),
            Route("/control/inbox", control(desk.inbox)),
            Route("/control/requests", control(desk.requests)),
            Route("/control/report", control(desk.report), methods=["POST"]),
            Route("/control/faults", control(desk.set_faults), methods=["POST"]),
        ]
    )


class _Desk:
    """Accounts, templates, messages and the log of request lines."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._faults = Faults(*FAULTS)
        self._secrets: dict[str, str] = {}
        self._templates: dict[str, str] = {}
        self._messages: list[dict[str, Any]] = []
        self._lines: list[str] = []
        self._nonces: set[str] = set()

    async def call(self, request: Request) -> Response:
        """The RPC entry: signature first, then SendSms."""
        self._lines.append(f"{request.method} {request.url.path}?{request.url.query}")
        if self._faults.take("http_500"):
            return _answer("InternalError", 500)
        body = (await request.body()).decode("utf-8", "replace")
        params = dict(request.query_params) | dict(parse_qsl(body, keep_blank_values=True))
        refused = self._unsigned(request.method, params)
        if refused is not None:
            return refused
        if self._faults.take("throttle"):
            return _answer("Throttling.User", 400)
        for fault, code in _CODES.items():
            if self._faults.take(fault):
                return _answer(code, 200)
        if params.get("Action") == "QuerySendDetails":
            return self._details(params)
        return self._send(params)

    def _unsigned(self, method: str, params: dict[str, str]) -> Response | None:
        """The refusal of a call that is not signed by a known account, is old, or comes again."""
        secret = self._secrets.get(params.get("AccessKeyId", ""))
        if secret is None:
            return _answer("InvalidAccessKeyId.NotFound", 404)
        expected = rpc_signature(method=method, params=params, secret=secret)
        if not hmac.compare_digest(expected.encode(), params.get("Signature", "").encode()):
            # As the real one does, the message quotes what was signed, phone number and all.
            signed = _string_to_sign(method=method, params=params)
            told = f"Specified signature is not matched. server string to sign is:{signed}"
            return _answer("SignatureDoesNotMatch", 400, told)
        nonce = params.get("SignatureNonce", "")
        if not nonce or nonce in self._nonces:
            return _answer("SignatureNonceUsed", 400)
        self._nonces.add(nonce)
        try:
            at = datetime.strptime(params["Timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except (KeyError, ValueError):
            return _answer("InvalidTimeStamp.Format", 400)
        if abs((self._clock.now() - at).total_seconds()) > _FRESH_S:
            return _answer("InvalidTimeStamp.Expired", 400)
        return None

    def _send(self, params: dict[str, str]) -> Response:
        """SendSms of a verified call."""
        if params.get("Action") != "SendSms" or params.get("Version") != "2017-05-25":
            return _answer("InvalidAction.NotFound", 404)
        if _PHONE.match(params.get("PhoneNumbers", "")) is None:
            return _answer("isv.MOBILE_NUMBER_ILLEGAL", 200)
        try:
            values = json.loads(params.get("TemplateParam", "{}"))
        except ValueError:
            return _answer("isv.INVALID_JSON_PARAM", 200)
        if not isinstance(values, dict):
            return _answer("isv.INVALID_JSON_PARAM", 200)
        text = self._templates.get(params.get("TemplateCode", ""), "")
        wanted = set(re.findall(r"\$\{(\w+)\}", text))
        if not wanted <= set(values):
            return _answer("isv.TEMPLATE_MISSING_PARAMETERS", 200)
        for name in wanted:
            text = text.replace(f"${{{name}}}", str(values[name]))
        number = secrets.token_hex(10)
        self._messages.append(
            {
                "phone": params["PhoneNumbers"],
                "sign_name": params.get("SignName", ""),
                "template": params.get("TemplateCode", ""),
                "params": values,
                "text": text,
                "out_id": params.get("OutId", ""),
                "biz_id": number,
                "at": self._clock.now().isoformat(),
            }
        )
        if self._faults.take("drop_answer"):
            return CutAnswer()
        return JSONResponse(
            {"Code": "OK", "Message": "OK", "BizId": number, "RequestId": secrets.token_hex(8)}
        )

    def _details(self, params: dict[str, str]) -> Response:
        """QuerySendDetails of a verified call: what went to a number on a day in China."""
        day, phone = params.get("SendDate", ""), params.get("PhoneNumber", "")
        found = [
            {
                "PhoneNum": message["phone"],
                "OutId": message["out_id"],
                "SendStatus": 3,
                "TemplateCode": message["template"],
                "SendDate": _stamp(message["at"]),
            }
            for message in self._messages
            if message["phone"] == phone and _stamp(message["at"])[:10].replace("-", "") == day
        ]
        told = {"SmsSendDetailDTO": found}
        return JSONResponse(
            {"Code": "OK", "Message": "OK", "TotalCount": len(found), "SmsSendDetailDTOs": told}
        )

    async def report(self, request: Request) -> Response:
        """Push the receipt of a message to `url`: SmsReport, a JSON array, unsigned (channels.md 5)."""
        body = await json_object(request)
        number = text_of(body, "biz_id")
        code = str(body.get("err_code", "DELIVERED"))
        told = [
            {
                "phone_number": message["phone"],
                "send_time": _stamp(message["at"]),
                "report_time": _stamp(self._clock.now().isoformat()),
                "success": code == "DELIVERED",
                "err_code": code,
                "err_msg": code,
                "sms_size": "1",
                "biz_id": number,
                "out_id": message["out_id"],
            }
            for message in self._messages
            if message["biz_id"] == number
        ]
        async with caller(timeout_s=5.0) as client:
            answer = await client.post(text_of(body, "url"), json=told)
        return JSONResponse({"status": answer.status_code, "text": answer.text})

    async def accounts(self, request: Request) -> Response:
        """Register an access key."""
        body = await json_object(request)
        self._secrets[text_of(body, "access_key_id")] = text_of(body, "access_key_secret")
        return JSONResponse({})

    async def templates(self, request: Request) -> Response:
        """Give a template its text with `${name}` places, so that the inbox shows what is read."""
        body = await json_object(request)
        self._templates[text_of(body, "code")] = text_of(body, "text")
        return JSONResponse({})

    async def inbox(self, request: Request) -> Response:
        """Messages, all or of `?phone=`."""
        phone = request.query_params.get("phone")
        shown = [m for m in self._messages if phone is None or m["phone"] == phone]
        return JSONResponse({"messages": shown})

    async def requests(self, request: Request) -> Response:
        """The request lines of all RPC calls: what an access log would keep."""
        return JSONResponse({"lines": self._lines})

    async def set_faults(self, request: Request) -> Response:
        """Turn fault switches."""
        return JSONResponse(self._faults.set(await json_object(request)))


def _stamp(instant: str) -> str:
    """An instant as Aliyun writes it: China's clock."""
    return f"{datetime.fromisoformat(instant).astimezone(CHINA):%Y-%m-%d %H:%M:%S}"


def _answer(code: str, status: int, message: str = "refused") -> Response:
    """An answer other than OK, in Aliyun's shape."""
    body = {"Code": code, "Message": message, "RequestId": secrets.token_hex(8)}
    return JSONResponse(body, status)


def _pct(text: str) -> str:
    """RFC 3986 percent encoding."""
    return quote(text, safe="~")
