"""WeChat Pay as a till of the simulation."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime

from backend.integrations import wechat_pay_bill
from backend.integrations.wechat_pay_reading import payment_of
from backend.kernel.clock import CHINA
from backend.sandbox import pay_bill
from backend.sandbox.pay_book import Order, PayBook, Refund
from backend.sandbox.pay_keys import Merchant, seal
from backend.sandbox.pay_notices import order_json
from backend.topups.ports import BillLine, Payment, PaymentState, PrepayRequest
from backend.topups.rules import Channel, PayMethod, Way

from .sim_tills import APPID, MCHID, SERIAL, Back, Keys, Message, Slip


class WechatTill:
    """WeChat Pay, NATIVE."""

    way = Way(Channel.WECHAT_PAY, PayMethod.NATIVE)
    key = MCHID
    public: Mapping[str, str] = {"app_id": APPID}

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._book = PayBook()
        self._book.put_merchant(
            Merchant(
                mchid=MCHID,
                appid=APPID,
                cert_serial_no=SERIAL,
                public_key_pem=keys.public_pem,
                apiv3_key=keys.apiv3_key,
            )
        )

    def put(self, request: PrepayRequest, at: datetime, /) -> None:
        """See Till."""
        self._book.put_order(
            Order(
                mchid=MCHID,
                out_trade_no=request.order_no,
                appid=APPID,
                kind="NATIVE",
                total=request.amount_fen,
                description=request.description,
                notify_url="",
                openid="",
                expires_at=request.expires_at.astimezone(CHINA).isoformat(timespec="seconds"),
                asked="",
                prepay_id=f"wx{request.order_no}",
            )
        )

    def slips(self, at: datetime, /) -> list[Slip]:
        """See Till."""
        return [self._slip(order, at) for order in self._book.orders()]

    def slip(self, number: str, at: datetime, /) -> Slip | None:
        """See Till."""
        order = self._book.order(mchid=MCHID, out_trade_no=number)
        return None if order is None else self._slip(order, at)

    def _slip(self, order: Order, at: datetime) -> Slip:
        ended = order.state == "CLOSED" or order.expired(at)
        return Slip(order.out_trade_no, order.total, bool(order.paid_at), ended)

    def pay(self, number: str, at: datetime, /) -> None:
        """See Till."""
        self._book.pay(self._order(number), openid="o-sim", at=at.astimezone(CHINA))

    def close(self, number: str, /) -> None:
        """See Till."""
        self._book.put_order(replace(self._order(number), state="CLOSED"))

    def word(self, number: str, /) -> Payment:
        """See Till."""
        order = self._book.order(mchid=MCHID, out_trade_no=number)
        if order is None:
            return Payment(number, PaymentState.UNPAID, MCHID, APPID, 0, "CNY")
        return payment_of(order_json(order))

    def notice(self, number: str, at: datetime, /) -> Message:
        """See Till."""
        order = self._order(number)
        if not order.paid_at:
            when = at.astimezone(CHINA).isoformat(timespec="seconds")
            order = replace(order, state="SUCCESS", paid_at=when, transaction_id=f"42{'7' * 26}")
        order = replace(
            order, state="SUCCESS"
        )  # it tells of the payment, also once that is refunded
        made = {
            "id": str(uuid.uuid4()),
            "create_time": at.astimezone(CHINA).isoformat(timespec="seconds"),
            "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "支付成功",
            "resource": seal(
                resource=order_json(order), apiv3_key=self._keys.apiv3_key, kind="transaction"
            ),
        }
        body = json.dumps(made, ensure_ascii=False).encode()
        return self._keys.platform.headers(body=body, at=at), body

    def give_back(self, number: str, refund: Back, at: datetime, /) -> None:
        """See Till."""
        order = self._order(number)
        self._book.put_refund(
            Refund(
                mchid=MCHID,
                out_refund_no=refund.number,
                out_trade_no=number,
                refund=refund.fen,
                total=order.total,
                refund_id=f"50{refund.number}",
                status="SUCCESS" if refund.done else "PROCESSING",
                at=at.astimezone(CHINA).isoformat(timespec="seconds"),
            )
        )
        if refund.done:
            self._book.put_order(replace(order, state="REFUND"))

    def backs(self, number: str | None = None, /) -> list[Back]:
        """See Till."""
        return [
            Back(each.out_refund_no, each.refund, each.status == "SUCCESS")
            for each in self._book.refunds(mchid=MCHID)
            if number in (None, each.out_trade_no)
        ]

    def refund_notice(self, number: str, refund: Back, at: datetime, /) -> Message | None:
        """Asked for only here: this stand-in's refund notices are tested with the stand-in."""
        return None

    def bill(self, day: date, /) -> list[BillLine]:
        """See Till."""
        made = pay_bill.bill_of(book=self._book, mchid=MCHID, day=day.isoformat())
        if made is None:
            return []
        packed, sha1 = made
        return wechat_pay_bill.lines_of(wechat_pay_bill.unpack(packed=packed, sha1=sha1))

    def _order(self, number: str) -> Order:
        order = self._book.order(mchid=MCHID, out_trade_no=number)
        assert order is not None, "registered at the channel"
        return order
