"""UnionPay as a till of the simulation, and what its book has in common with ChinaPay's."""

from __future__ import annotations

from abc import ABC, abstractmethod
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

FORM = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}
_DONE = {"respCode": "00", "respMsg": "success"}


class BankTill(ABC):
    """A bank's book. It has no call that closes an order: one ends by its own time."""

    key = ""
    public: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.book = BankBook()

    def put(self, request: PrepayRequest, at: datetime, /) -> None:
        """See Till."""
        self.book.put(
            Trade(
                mer_id=self.key,
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
        return [_slip(trade, at) for trade in self.book.trades() if trade.kind == PAY]

    def slip(self, number: str, at: datetime, /) -> Slip | None:
        """See Till."""
        trade = self.book.trade(mer_id=self.key, number=number)
        return None if trade is None else _slip(trade, at)

    def pay(self, number: str, at: datetime, /) -> None:
        """See Till."""
        self.book.done(self.trade(number), at=at)

    def notice(self, number: str, at: datetime, /) -> Message:
        """See Till."""
        return self.told(self.trade(number), at)

    def give_back(self, number: str, refund: Back, at: datetime, /) -> None:
        """See Till: a refund is a trade of its own."""
        made = Trade(
            mer_id=self.key,
            number=refund.number,
            made=made_time(refund.number),
            kind=BACK,
            fen=refund.fen,
            notify_url="",
            original=number,
            state=PENDING,
        )
        self.book.put(made)
        if refund.done:
            self.book.done(made, at=at)

    def backs(self, number: str | None = None, /) -> list[Back]:
        """See Till."""
        return [
            Back(trade.number, trade.fen, trade.state == DONE)
            for trade in self.book.trades()
            if trade.kind == BACK and number in (None, trade.original)
        ]

    def refund_notice(self, number: str, refund: Back, at: datetime, /) -> Message | None:
        """See Till."""
        return self.told(self.trade(refund.number), at)

    @abstractmethod
    def told(self, trade: Trade, at: datetime) -> Message:
        """The signed notice of a trade; of one that is not paid, as if it were."""

    def trade(self, number: str) -> Trade:
        """A trade that is there."""
        found = self.book.trade(mer_id=self.key, number=number)
        assert found is not None, "registered at the channel"
        return found


class UnionpayTill(BankTill):
    """UnionPay, PAGE."""

    way = Way(Channel.UNIONPAY, PayMethod.PAGE)
    key = MER_ID

    def __init__(self, keys: Keys) -> None:
        super().__init__()
        self._signer = keys.signer

    def close(self, number: str, /) -> None:
        """See Till: nothing happens."""

    def word(self, number: str, /) -> Payment:
        """See Till."""
        trade = self.book.trade(mer_id=MER_ID, number=number)
        if trade is None or trade.state == OPEN:
            return Payment(number, PaymentState.UNPAID, MER_ID, "", 0, "CNY")
        return payment_of(fields_of(trade), PaymentState.PAID)

    def bill(self, day: date, /) -> list[BillLine]:
        """See Till."""
        content = file_of(trades=self.book.trades(), mer_id=MER_ID, month_day=f"{day:%m%d}")
        if content is None:
            return []
        return unionpay_bill.lines_of(content=content, mer_id=MER_ID, settled=day)

    def told(self, trade: Trade, at: datetime) -> Message:
        """See BankTill."""
        if trade.state == OPEN:
            trade = replace(trade, state=DONE, serial=f"{trade.made}0000000", at=stamp(at))
        return dict(FORM), urlencode(signed(fields_of(trade) | _DONE, self._signer)).encode()


def _slip(trade: Trade, at: datetime) -> Slip:
    return Slip(trade.number, trade.fen, trade.state == DONE, trade.too_late(at))
