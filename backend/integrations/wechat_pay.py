"""WeChat Pay APIv3 for one merchant, own or of a service provider: the channel of the WeChat button."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from wechatpayv3 import WeChatPayType

from backend.integrations import wechat_pay_bill
from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.integrations.wechat_pay_reading import open_notice, payment_of
from backend.integrations.wechat_pay_wire import SignedWire
from backend.kernel.clock import CHINA, Clock, day_period
from backend.kernel.errors import InvalidInput
from backend.topups.ports import (
    BillLine,
    ChannelRefused,
    ChannelUnavailable,
    Payment,
    PaymentState,
    PayMethod,
    Prepaid,
    PrepayRequest,
    RefundNotice,
    RefundRequest,
    RefundState,
)

# Ids go into paths and queries unescaped by the library, so only our own alphabet passes.
_NUMBER = re.compile(r"^[0-9A-Za-z]{6,32}$")
_DESCRIPTION_LIMIT = 127
_UNKNOWN_ORDER = frozenset({"ORDER_NOT_EXIST", "ORDER_NOT_EXISTS", "ORDERNOTEXIST"})
_ASK_AGAIN = frozenset({"SYSTEM_ERROR", "FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED", "BANK_ERROR"})
_BILL_READY_AFTER = timedelta(hours=10)
_REFUNDS = {
    "SUCCESS": RefundState.DONE,
    "PROCESSING": RefundState.ACCEPTED,
    "CLOSED": RefundState.FAILED,
    "ABNORMAL": RefundState.FAILED,
}
_PAY_TYPES = {
    PayMethod.JSAPI: WeChatPayType.JSAPI,
    PayMethod.H5: WeChatPayType.H5,
    PayMethod.NATIVE: WeChatPayType.NATIVE,
}


class WechatPayChannel:
    """Implements backend.topups.ports.PaymentChannel. Blocking calls run in a thread (3 s / 8 s)."""

    def __init__(self, config: WechatPayConfig, /, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._wire = SignedWire(config, clock=clock)
        # The library's own partner mode builds paths and fields; it wants the sub-merchant at each call.
        self._sub = {"sub_mchid": config.sub_mchid} if config.sub_mchid else {}

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """Register the order; JSAPI gives the page's signed parameters, H5 and NATIVE a `url`.

        Raises InvalidInput, ChannelRefused (`ORDERPAID`, ..), ChannelUnavailable.
        """
        arguments = self._prepay_arguments(request)
        answer = await self._call(lambda: self._wire.pay.pay(**arguments))
        if request.method is PayMethod.JSAPI:
            return Prepaid(request.method, self._page_parameters(_text(answer, "prepay_id")))
        key = "h5_url" if request.method is PayMethod.H5 else "code_url"
        return Prepaid(request.method, {"url": _text(answer, key)})

    async def query(self, order_no: str, /) -> Payment:
        """The channel's word on an order; one it does not know is UNPAID with amount 0.

        Raises InvalidInput, ChannelUnavailable (also for an answer that is not about this order).
        """
        number = _checked(order_no)
        try:
            answer = await self._call(
                lambda: self._wire.pay.query(out_trade_no=number, **self._sub)
            )
        except ChannelRefused as refused:
            if refused.code_at_channel in _UNKNOWN_ORDER:
                return self._not_seen(number)
            raise ChannelUnavailable(f"the query was refused: {refused.message}") from refused
        try:
            payment = payment_of(answer)
        except ValueError as error:
            raise ChannelUnavailable(f"the answer cannot be read: {error}") from None
        if payment.order_no != number:
            raise ChannelUnavailable("the answer is about another order")
        return payment

    async def close(self, order_no: str, /) -> None:
        """Close an unpaid order. Raises ChannelRefused (`ORDERPAID`), ChannelUnavailable."""
        number = _checked(order_no)
        await self._call(lambda: self._wire.pay.close(out_trade_no=number, **self._sub))

    async def refund(self, request: RefundRequest, /) -> RefundState:
        """Ask for a refund, or for the state of one asked for before (same `refund_no`).

        Raises InvalidInput, ChannelRefused (`NOT_ENOUGH`, ..), ChannelUnavailable.
        """
        if not 0 < request.amount_fen <= request.total_fen:
            raise InvalidInput("a refund is more than 0 and at most what was paid")
        amount = {
            "refund": request.amount_fen,
            "total": request.total_fen,
            "currency": "CNY",
        }
        answer = await self._call(
            lambda: self._wire.pay.refund(
                out_refund_no=_checked(request.refund_no),
                out_trade_no=_checked(request.order_no),
                amount=amount,
                reason=request.reason[:80],
                notify_url=self._config.notify_url,
                **self._sub,
            )
        )
        state = _REFUNDS.get(_text(answer, "status"))
        if state is None or answer.get("out_refund_no") != request.refund_no:
            raise ChannelUnavailable("the answer is not about this refund")
        return state

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: datetime, /
    ) -> Payment | RefundNotice:
        """Verify and decrypt a notice from its raw body. Raises NoticeRejected.

        Merchant, app, order, amount and currency are returned for the caller to compare (C5).
        """
        return open_notice(
            wire=self._wire,
            apiv3_key=self._config.apiv3_key,
            headers=headers,
            body=body,
            received_at=received_at,
        )

    async def bill(self, day: date, /) -> list[BillLine]:
        """The bill of a China day, ready at 10:00 of the next. Raises ChannelUnavailable."""
        try:
            answer = await self._call(
                lambda: self._wire.pay.trade_bill(day.isoformat(), **self._sub)
            )
        except ChannelRefused as refused:
            # Before 10:00 "no statement" may mean "not made yet"; after it, a day without trade.
            ready = self._clock.now() >= _ready_at(day)
            if refused.code_at_channel == "NO_STATEMENT_EXIST" and ready:
                return []
            raise ChannelUnavailable(f"there is no bill yet: {refused.message}") from refused
        path = _download_path(answer)
        status, packed = await asyncio.to_thread(self._wire.pay.download_bill, path)
        if status != 200:
            raise ChannelUnavailable(f"the bill download answered {status}")
        text = wechat_pay_bill.unpack(packed=packed, sha1=_text(answer, "hash_value"))
        return wechat_pay_bill.lines_of(text, sub_mchid=self._config.sub_mchid)

    async def _call(self, function: Callable[[], tuple[int, Any]]) -> dict[str, Any]:
        """Run one library call in a thread. Raises ChannelRefused, ChannelUnavailable."""
        status, answer = await asyncio.to_thread(function)
        if not isinstance(answer, dict):
            raise ChannelUnavailable("the answer is no object")
        if 200 <= status < 300:
            return answer
        code = str(answer.get("code", ""))
        if not 400 <= status < 500 or not code or status == 429 or code in _ASK_AGAIN:
            raise ChannelUnavailable(f"WeChat Pay answered {status} {code}")
        raise ChannelRefused(f"{code} {answer.get('message', '')}".strip(), code_at_channel=code)

    def _prepay_arguments(self, request: PrepayRequest) -> dict[str, object]:
        """The arguments of wechatpayv3's `pay`. Raises InvalidInput."""
        if request.amount_fen <= 0:
            raise InvalidInput("an order is more than 0 fen", field="amount_fen")
        arguments: dict[str, object] = {
            "description": request.description[:_DESCRIPTION_LIMIT],
            "out_trade_no": _checked(request.order_no),
            "amount": {"total": request.amount_fen, "currency": "CNY"},
            "time_expire": request.expires_at.astimezone(CHINA).isoformat(timespec="seconds"),
            "notify_url": self._config.notify_url,
            "pay_type": _PAY_TYPES[request.method],
            **self._sub,
        }
        if self._config.sub_appid:
            arguments["sub_appid"] = self._config.sub_appid
        if request.method is PayMethod.JSAPI:
            if not request.payer_id:
                raise InvalidInput("paying inside WeChat needs the openid", field="payer_id")
            arguments["payer"] = {self._openid_name(): request.payer_id}
        elif request.method is PayMethod.H5:
            if not request.client_ip:
                raise InvalidInput("paying by H5 needs the payer's address", field="client_ip")
            scene = {"payer_client_ip": request.client_ip, "h5_info": {"type": "Wap"}}
            arguments["scene_info"] = scene
        return arguments

    def _openid_name(self) -> str:
        """Under whose app the payer's openid is: an order that names a `sub_appid` takes only openids of
        that app (developers.weixin.qq.com/community/pay/doc/000eeaa6eb4aa05f174a57e8955400)."""
        if not self._config.sub_mchid:
            return "openid"
        return "sub_openid" if self._config.sub_appid else "sp_openid"

    def _not_seen(self, number: str) -> Payment:
        """What an order is that the channel does not know: unpaid."""
        config = self._config
        if not config.sub_mchid:
            return Payment(number, PaymentState.UNPAID, config.mchid, config.appid, 0, "CNY")
        return Payment(
            *(number, PaymentState.UNPAID, config.sub_mchid, config.sub_appid, 0, "CNY"),
            provider_id=config.mchid,
            provider_app_id=config.appid,
        )

    def _page_parameters(self, prepay_id: str) -> dict[str, str]:
        """The parameters of `getBrandWCPayRequest`, signed with the merchant's key."""
        stamp = str(int(self._clock.now().timestamp()))
        nonce = secrets.token_hex(16)
        package = f"prepay_id={prepay_id}"
        app_id = self._config.sub_appid or self._config.appid
        sign = self._wire.pay.sign([app_id, stamp, nonce, package])
        return {
            "appId": app_id,
            "timeStamp": stamp,
            "nonceStr": nonce,
            "package": package,
            "signType": "RSA",
            "paySign": str(sign),
        }


def _ready_at(day: date) -> datetime:
    """When the bill of `day` is made: 10:00 China time of the next day."""
    end = day_period(day).end
    assert end is not None  # a day always ends
    return end + _BILL_READY_AFTER


def _download_path(answer: Mapping[str, Any]) -> str:
    """Path and query of the bill file. The host named in the answer is not followed: our signed
    request goes to our own gateway only (channels.md 2.4, guard 6)."""
    _, slash, rest = _text(answer, "download_url").partition("/v3/")
    if not slash or answer.get("hash_type") != "SHA1":
        raise ChannelUnavailable("the bill has no address or another hash")
    return f"/v3/{rest}"


def _checked(number: str) -> str:
    """An order or refund number of our own alphabet. Raises InvalidInput."""
    if _NUMBER.match(number) is None:
        raise InvalidInput("a number has 6 to 32 letters and digits")
    return number


def _text(answer: Mapping[str, Any], name: str) -> str:
    """The text under `name` of an answer. Raises ChannelUnavailable."""
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise ChannelUnavailable(f"the answer has no {name}")
    return value
