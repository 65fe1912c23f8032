"""Alipay for one app that collects for one seller: the PaymentChannel of the Alipay button."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from backend.integrations import alipay_bill
from backend.integrations.alipay_config import AlipayConfig
from backend.integrations.alipay_reading import fen_of, open_notice, payment_of
from backend.integrations.alipay_wire import AlipayWire
from backend.kernel.clock import CHINA, Clock, day_period
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
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

_NUMBER = re.compile(r"^[0-9A-Za-z]{6,32}$")
# Not allowed in a subject (/ = & of the documents), and what would end a JSON text early in old parsers.
_SUBJECT_DROPS = str.maketrans("", "", '/=&{}"\\')
_SUBJECT_LIMIT = 128
_USER_ID = re.compile(r"^2088\d{12}$")
_NO_TRADE = "ACQ.TRADE_NOT_EXIST"
_NO_BILL = "isp.bill_not_exist"
_BILL_READY_AFTER = timedelta(hours=10)
_PAGES = {
    PayMethod.WAP: ("alipay.trade.wap.pay", "QUICK_WAP_PAY"),
    PayMethod.PAGE: ("alipay.trade.page.pay", "FAST_INSTANT_TRADE_PAY"),
}


class AlipayChannel:
    """Implements backend.topups.ports.PaymentChannel. Blocking calls run in a thread (3 s / 8 s)."""

    def __init__(self, config: AlipayConfig, /, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._wire = AlipayWire(config)

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """WAP and PAGE give a signed `url`, without asking anybody: the trade begins when the payer opens
        it. JSAPI registers the trade and gives `tradeNO`.

        Raises InvalidInput, ChannelRefused (`ACQ.TRADE_HAS_SUCCESS`, ..), ChannelUnavailable.
        """
        content = self._content(request)
        notify = self._config.notify_url
        if request.method is PayMethod.JSAPI:
            content |= {"product_code": "JSAPI_PAY", "op_app_id": self._config.app_id}
            content |= _buyer(request.payer_id)
            answer = await self._call("alipay.trade.create", content, notify_url=notify)
            if answer.get("out_trade_no") != request.order_no:
                raise ChannelUnavailable("the answer is about another order")
            return Prepaid(request.method, {"tradeNO": _text(answer, "trade_no")})
        if request.method not in _PAGES:
            raise InvalidInput(f"Alipay is not paid by {request.method}", field="method")
        api, product = _PAGES[request.method]
        content["product_code"] = product
        # One RSA signature, about 1 ms: off the loop like the others.
        signed = await asyncio.to_thread(
            self._wire.signed,
            api,
            content,
            at=self._clock.now(),
            notify_url=notify,
            return_url=request.return_url,
        )
        return Prepaid(request.method, {"url": self._wire.page_url(signed)})

    async def query(self, order_no: str, /) -> Payment:
        """The channel's word on an order; one it does not know (the payer has not opened the cashier) is
        UNPAID with amount 0.

        Raises InvalidInput, ChannelUnavailable (also for an answer that is not about this order).
        """
        number = _checked(order_no)
        config = self._config
        try:
            answer = await self._call("alipay.trade.query", {"out_trade_no": number})
        except ChannelRefused as refused:
            if refused.code_at_channel == _NO_TRADE:
                return Payment(
                    number, PaymentState.UNPAID, config.seller_id, config.app_id, 0, "CNY"
                )
            raise ChannelUnavailable(f"the query was refused: {refused.message}") from refused
        try:
            payment = payment_of(answer, config=config)
        except ValueError as error:
            raise ChannelUnavailable(f"the answer cannot be read: {error}") from None
        if payment.order_no != number:
            raise ChannelUnavailable("the answer is about another order")
        return payment

    async def close(self, order_no: str, /) -> None:
        """Close an unpaid order; one that was never opened has nothing to close, and its signed page ends
        by its own time. Raises ChannelRefused (paid), ChannelUnavailable."""
        try:
            await self._call("alipay.trade.close", {"out_trade_no": _checked(order_no)})
        except ChannelRefused as refused:
            if refused.code_at_channel != _NO_TRADE:
                raise

    async def refund(self, request: RefundRequest, /) -> RefundState:
        """Ask for a refund, or for the state of one asked for before (same `refund_no`).

        Code 10000 only means that the call was taken: money moved when it says `fund_change` Y, or the
        refund's own query says so (channels.md section 3.2). Raises InvalidInput, ChannelRefused
        (`ACQ.SELLER_BALANCE_NOT_ENOUGH`, ..), ChannelUnavailable.
        """
        if not 0 < request.amount_fen <= request.total_fen:
            raise InvalidInput("a refund is more than 0 and at most what was paid")
        number, refund_no = _checked(request.order_no), _checked(request.refund_no)
        answer = await self._call(
            "alipay.trade.refund",
            {
                "out_trade_no": number,
                "out_request_no": refund_no,
                "refund_amount": str(Money.of_fen(request.amount_fen)),
                "refund_reason": request.reason[:80],
            },
        )
        if answer.get("out_trade_no") != number:
            raise ChannelUnavailable("the answer is not about this refund")
        if answer.get("fund_change") == "Y":
            return RefundState.DONE
        try:
            found = await self._call(
                "alipay.trade.fastpay.refund.query",
                {"out_trade_no": number, "out_request_no": refund_no},
            )
        except ChannelRefused as refused:
            # The refund itself was taken: a refused question says nothing of it.
            raise ChannelUnavailable(f"the refund's query was refused: {refused.message}") from None
        return _refunded(found, request)

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: datetime, /
    ) -> Payment | RefundNotice:
        """Verify a notice from its raw form body. Raises NoticeRejected.

        Seller, app, order, amount and currency are returned for the caller to compare (C5).
        """
        return open_notice(wire=self._wire, body=body, received_at=received_at)

    async def bill(self, day: date, /) -> list[BillLine]:
        """The trade bill of a China day, ready at 10:00 of the next. Raises ChannelUnavailable."""
        content = {"bill_type": "trade", "bill_date": day.isoformat()}
        try:
            answer = await self._call("alipay.data.dataservice.bill.downloadurl.query", content)
        except ChannelRefused as refused:
            # Before 10:00 "no bill" may mean "not made yet"; after it, a day without trade.
            if refused.code_at_channel == _NO_BILL and self._clock.now() >= _ready_at(day):
                return []
            raise ChannelUnavailable(f"there is no bill yet: {refused.message}") from refused
        url = _text(answer, "bill_download_url")
        packed = await asyncio.to_thread(self._wire.download, url)
        return alipay_bill.lines_of(alipay_bill.unpack(packed))

    async def _call(self, api: str, content: dict[str, Any], **top: str) -> dict[str, Any]:
        """Run one call in a thread. Raises ChannelRefused, ChannelUnavailable."""
        at = self._clock.now()
        return await asyncio.to_thread(self._wire.call, api, content, at=at, **top)

    def _content(self, request: PrepayRequest) -> dict[str, Any]:
        """What all three ways say of an order. Raises InvalidInput."""
        if request.amount_fen <= 0:
            raise InvalidInput("an order is more than 0 fen", field="amount_fen")
        until = request.expires_at.astimezone(CHINA)
        return {
            "out_trade_no": _checked(request.order_no),
            "total_amount": str(Money.of_fen(request.amount_fen)),
            "subject": request.description.translate(_SUBJECT_DROPS)[:_SUBJECT_LIMIT],
            "time_expire": f"{until:%Y-%m-%d %H:%M:%S}",
        }


def _refunded(found: Mapping[str, Any], request: RefundRequest) -> RefundState:
    """What the query of a refund says: without its fields it is under way. Raises ChannelUnavailable."""
    if not found.get("out_request_no"):
        return RefundState.ACCEPTED
    same = (found["out_request_no"], found.get("out_trade_no"))
    if same != (request.refund_no, request.order_no):
        raise ChannelUnavailable("the answer is not about this refund")
    try:
        fen = fen_of(str(found.get("refund_amount", "")))
    except ValueError:
        return RefundState.ACCEPTED
    if fen != request.amount_fen:
        raise ChannelUnavailable("the refund of that number has another amount")
    done = found.get("refund_status", "REFUND_SUCCESS") == "REFUND_SUCCESS"
    return RefundState.DONE if done else RefundState.ACCEPTED


def _buyer(payer_id: str | None) -> dict[str, str]:
    """The payer by user id (2088..), or by the open id that newer apps get. Raises InvalidInput."""
    if not payer_id:
        raise InvalidInput("paying inside Alipay needs the payer's id", field="payer_id")
    return {"buyer_id" if _USER_ID.match(payer_id) else "buyer_open_id": payer_id}


def _ready_at(day: date) -> datetime:
    """When the bill of `day` is made: 10:00 China time of the next day."""
    end = day_period(day).end
    assert end is not None  # a day always ends
    return end + _BILL_READY_AFTER


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
