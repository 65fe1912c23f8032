"""Alipay as a till of the simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

from backend.integrations import alipay_bill
from backend.kernel.clock import CHINA, SetClock
from backend.sandbox import alipay_bill as bills
from backend.sandbox.alipay_book import AlipayBook, Trade, TradeRefund, told
from backend.sandbox.alipay_notices import NOTICE_FAULTS, AlipayNotices
from backend.sandbox.faults import Faults
from backend.topups.ports import BillLine, Payment, PaymentState, PrepayRequest
from backend.topups.rules import Channel, PayMethod, Way

from .sim_tills import ALIPAY_APP, SELLER, Back, Keys, Message, Slip

_STATES = {
    "WAIT_BUYER_PAY": PaymentState.UNPAID,
    "TRADE_SUCCESS": PaymentState.PAID,
    "TRADE_CLOSED": PaymentState.CLOSED,
}


class AlipayTill:
    """Alipay, WAP."""

    way = Way(Channel.ALIPAY, PayMethod.WAP)
    key = SELLER
    public: Mapping[str, str] = {"app_id": ALIPAY_APP}

    def __init__(self, keys: Keys, clock: SetClock) -> None:
        self._book = AlipayBook()
        self._notices = AlipayNotices(
            platform=keys.alipay, faults=Faults(*NOTICE_FAULTS), clock=clock
        )

    def put(self, request: PrepayRequest, at: datetime, /) -> None:
        """See Till."""
        self._book.put(
            Trade(
                app_id=ALIPAY_APP,
                out_trade_no=request.order_no,
                seller_id=SELLER,
                total=request.amount_fen,
                subject=request.description,
                notify_url="",
                return_url="",
                expires_at=told(request.expires_at.astimezone(CHINA)),
                trade_no=f"2026{request.order_no}",
                created_at=told(at.astimezone(CHINA)),
            )
        )

    def slips(self, at: datetime, /) -> list[Slip]:
        """See Till."""
        return [self._slip(trade, at) for trade in self._book.trades()]

    def slip(self, number: str, at: datetime, /) -> Slip | None:
        """See Till."""
        trade = self._book.trade(app_id=ALIPAY_APP, out_trade_no=number)
        return None if trade is None else self._slip(trade, at)

    def _slip(self, trade: Trade, at: datetime) -> Slip:
        ended = trade.state == "TRADE_CLOSED" or trade.expired(at.astimezone(CHINA))
        return Slip(trade.out_trade_no, trade.total, bool(trade.paid_at), ended)

    def pay(self, number: str, at: datetime, /) -> None:
        """See Till."""
        self._book.pay(self._trade(number), at=at.astimezone(CHINA))

    def close(self, number: str, /) -> None:
        """See Till."""
        self._book.put(replace(self._trade(number), state="TRADE_CLOSED"))

    def word(self, number: str, /) -> Payment:
        """See Till."""
        trade = self._book.trade(app_id=ALIPAY_APP, out_trade_no=number)
        if trade is None:
            return Payment(number, PaymentState.UNPAID, SELLER, ALIPAY_APP, 0, "CNY")
        paid_at = None
        if trade.paid_at:
            paid = datetime.strptime(trade.paid_at, "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINA)
            paid_at = paid.astimezone(UTC)
        return Payment(
            order_no=number,
            state=_STATES[trade.state],
            merchant_id=SELLER,
            app_id=ALIPAY_APP,
            amount_fen=trade.total,
            currency="CNY",
            transaction_id=trade.trade_no if paid_at else None,
            paid_at=paid_at,
        )

    def notice(self, number: str, at: datetime, /) -> Message:
        """See Till."""
        trade = self._trade(number)
        if not trade.paid_at:
            when = told(at.astimezone(CHINA))
            trade = replace(trade, state="TRADE_SUCCESS", paid_at=when, buyer_id="2088000000000099")
        return self._notices.message(trade)

    def give_back(self, number: str, refund: Back, at: datetime, /) -> None:
        """See Till."""
        when = told(at.astimezone(CHINA))
        self._book.put_refund(
            TradeRefund(ALIPAY_APP, refund.number, number, refund.fen, refund.done, when)
        )

    def backs(self, number: str | None = None, /) -> list[Back]:
        """See Till."""
        found = self._book.refunds(app_id=ALIPAY_APP, out_trade_no=number)
        return [Back(each.out_request_no, each.amount, each.done) for each in found]

    def refund_notice(self, number: str, refund: Back, at: datetime, /) -> Message | None:
        """See Till: the same kind of notice as a payment's, with what was refunded."""
        found = self._book.refunds(app_id=ALIPAY_APP, out_trade_no=number)
        told_of = next(each for each in found if each.out_request_no == refund.number)
        return self._notices.message(self._trade(number), told_of)

    def bill(self, day: date, /) -> list[BillLine]:
        """See Till."""
        packed = bills.bill_of(book=self._book, app_id=ALIPAY_APP, day=day.isoformat())
        return [] if packed is None else alipay_bill.lines_of(alipay_bill.unpack(packed))

    def _trade(self, number: str) -> Trade:
        trade = self._book.trade(app_id=ALIPAY_APP, out_trade_no=number)
        assert trade is not None, "registered at the channel"
        return trade
