"""UnionPay as a till of the simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from urllib.parse import urlencode

from backend.integrations import unionpay_bill
from backend.integrations.bank_form import made_time
from backend.integrations.unionpay_reading import payment_of
from backend.sandbox.bank_book import BACK, DONE, OPEN, PAY, PENDING, BankBook, Trade, stamp
from backend.sandbox.unionpay import fields_of, signed
from backend.sandbox.unionpay_bill import file_of
from backend.topups.ports import BillLine, Payment, PaymentState, PrepayRequest
from backend.topups.rules import Channel, PayMethod, Way

from .sim_tills import MER_ID, Back, Keys, Message, Slip

_FORM = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}
_DONE = {"respCode": "00", "respMsg": "success"}


class UnionpayTill:
    """UnionPay, PAGE. It has no call that closes an order: one ends by its own time."""

    way = Way(Channel.UNIONPAY, PayMethod.PAGE)
    key = MER_ID
    public: Mapping[str, str] = {}

    def __init__(self, keys: Keys) -> None:
        self._book = BankBook()
        self._signer = keys.signer

    def put(self, request: PrepayRequest, at: datetime, /) -> None:
        """See Till."""
        self._book.put(
            Trade(
                mer_id=MER_ID,
                number=request.order_no,
                made=made_time(request.order_no),
                kind=PAY,
                fen=request.amount_fen,
                notify_url="",
                expires=stamp(request.expires_at),
            )
        )

    def slips(self, at: datetime, /) -> list[Slip]:
        """See Till."""
        return [self._slip(trade, at) for trade in self._book.trades() if trade.kind == PAY]

    def slip(self, number: str, at: datetime, /) -> Slip | None:
        """See Till."""
        trade = self._book.trade(mer_id=MER_ID, number=number)
        return None if trade is None else self._slip(trade, at)

    def _slip(self, trade: Trade, at: datetime) -> Slip:
        return Slip(trade.number, trade.fen, trade.state == DONE, trade.too_late(at))

    def pay(self, number: str, at: datetime, /) -> None:
        """See Till."""
        self._book.done(self._trade(number), at=at)

    def close(self, number: str, /) -> None:
        """See Till: nothing happens."""

    def word(self, number: str, /) -> Payment:
        """See Till."""
        trade = self._book.trade(mer_id=MER_ID, number=number)
        if trade is None or trade.state == OPEN:
            return Payment(number, PaymentState.UNPAID, MER_ID, "", 0, "CNY")
        return payment_of(fields_of(trade), PaymentState.PAID)

    def notice(self, number: str, at: datetime, /) -> Message:
        """See Till."""
        trade = self._trade(number)
        if trade.state == OPEN:
            trade = replace(trade, state=DONE, serial=f"{trade.made}0000000", at=stamp(at))
        return self._told(trade)

    def give_back(self, number: str, refund: Back, at: datetime, /) -> None:
        """See Till: a refund is a trade of its own."""
        made = Trade(
            mer_id=MER_ID,
            number=refund.number,
            made=made_time(refund.number),
            kind=BACK,
            fen=refund.fen,
            notify_url="",
            original=number,
            state=PENDING,
        )
        self._book.put(made)
        if refund.done:
            self._book.done(made, at=at)

    def backs(self, number: str | None = None, /) -> list[Back]:
        """See Till."""
        return [
            Back(trade.number, trade.fen, trade.state == DONE)
            for trade in self._book.trades()
            if trade.kind == BACK and number in (None, trade.original)
        ]

    def refund_notice(self, number: str, refund: Back, at: datetime, /) -> Message | None:
        """See Till."""
        return self._told(self._trade(refund.number))

    def bill(self, day: date, /) -> list[BillLine]:
        """See Till."""
        content = file_of(trades=self._book.trades(), mer_id=MER_ID, month_day=f"{day:%m%d}")
        if content is None:
            return []
        return unionpay_bill.lines_of(content=content, mer_id=MER_ID, settled=day)

    def _told(self, trade: Trade) -> Message:
        return dict(_FORM), urlencode(signed(fields_of(trade) | _DONE, self._signer)).encode()

    def _trade(self, number: str) -> Trade:
        trade = self._book.trade(mer_id=MER_ID, number=number)
        assert trade is not None, "registered at the channel"
        return trade
