"""ChinaPay as a till of the simulation: UnionPay's book, spoken of in ChinaPay's words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from urllib.parse import urlencode

from backend.integrations.chinapay import line_of, payment_of
from backend.sandbox.bank_book import BACK, DONE, OPEN, Trade, stamp
from backend.sandbox.chinapay import fields_of, signed
from backend.topups.ports import BillLine, Payment, PaymentState
from backend.topups.rules import Channel, PayMethod, Way

from .sim_tills import CHINAPAY_MER, Keys, Message
from .sim_unionpay import FORM, BankTill


class ChinapayTill(BankTill):
    """ChinaPay, PAGE. It has no bill: a day is asked for number by number."""

    way = Way(Channel.CHINAPAY, PayMethod.PAGE)
    key = CHINAPAY_MER

    def __init__(self, keys: Keys) -> None:
        super().__init__()
        self._platform = keys.chinapay

    def close(self, number: str, /) -> None:
        """See Till: nothing happens."""

    def word(self, number: str, /) -> Payment:
        """See Till."""
        trade = self.book.trade(mer_id=self.key, number=number)
        if trade is None or trade.state == OPEN:
            return Payment(number, PaymentState.UNPAID, self.key, "", 0, "CNY")
        return payment_of(fields_of(trade))

    def bill(self, day: date, /) -> list[BillLine]:
        """See Till: what a query says of each trade of that day."""
        return [
            line_of(fields_of(trade), refund=trade.kind == BACK)
            for trade in self.book.trades()
            if trade.state == DONE and trade.at.startswith(f"{day:%Y%m%d}")
        ]

    def told(self, trade: Trade, at: datetime) -> Message:
        """See BankTill."""
        if trade.state == OPEN:
            trade = replace(trade, state=DONE, serial=f"{trade.made}0000000", at=stamp(at))
        return dict(FORM), urlencode(signed(fields_of(trade), self._platform)).encode()
