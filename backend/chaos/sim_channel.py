"""A PaymentChannel of the simulation: a till in this process; some calls fail before or after it acted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Protocol

from backend.kernel.clock import SetClock
from backend.topups.ports import (
    BillLine,
    ChannelRefused,
    ChannelUnavailable,
    Payment,
    Prepaid,
    PrepayRequest,
    RefundNotice,
    RefundRequest,
    RefundState,
)

from .fate import Fate, Send, Way
from .sim_tills import Back, Till

_LOST, _LOST_BACK, _REFUSED = 0.05, 0.15, 0.15
_REFUSES = ("PARAM_ERROR", "NOT_ENOUGH")  # one that ends a refund, one that passes (refund_rules)


class Reader(Protocol):
    """The product's own adapter: it verifies notices."""

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: datetime, /
    ) -> Payment | RefundNotice:
        """See PaymentChannel."""
        ...


class OverRefunded(AssertionError):
    """More was asked back of an order than it paid: a channel would refuse, we must never ask."""


class SimChannel:
    """See PaymentChannel. `told`: refunds of which a notice is on its way, with their order."""

    def __init__(self, till: Till, reader: Reader, fate: Fate, clock: SetClock) -> None:
        self.till = till
        self._reader = reader
        self._fate = fate
        self._clock = clock
        self.told: list[tuple[str, Back]] = []

    def _leave(self, send: Send, lost: float = _LOST) -> None:
        self._fate.at_send(send, Way.LEAVING)
        if self._fate.chance(lost):
            raise ChannelUnavailable("the channel did not hear us")

    def _return(self, send: Send, lost: float = _LOST) -> None:
        self._fate.at_send(send, Way.DONE)
        if self._fate.chance(lost):
            raise ChannelUnavailable("the channel's answer was lost")

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """See PaymentChannel."""
        self._leave(Send.PREPAY)
        known = self.till.slip(request.order_no, self._clock.now())
        if known is None:
            self.till.put(request, self._clock.now())
        elif known.paid or known.ended:
            raise ChannelRefused("paid or closed", code_at_channel="ORDERPAID")
        self._return(Send.PREPAY)
        return Prepaid(request.method, {"url": f"sim://{request.order_no}"})

    async def query(self, order_no: str, /) -> Payment:
        """See PaymentChannel."""
        self._leave(Send.QUERY)
        word = self.till.word(order_no)
        self._return(Send.QUERY)
        return word

    async def close(self, order_no: str, /) -> None:
        """See PaymentChannel."""
        self._leave(Send.CLOSE)
        slip = self.till.slip(order_no, self._clock.now())
        if slip is not None and slip.paid:
            raise ChannelRefused("the order is paid", code_at_channel="ORDERPAID")
        if slip is not None:
            self.till.close(order_no)
        self._return(Send.CLOSE)

    async def refund(self, request: RefundRequest, /) -> RefundState:
        """See PaymentChannel. Raises OverRefunded."""
        self._leave(Send.REFUND, _LOST_BACK)
        backs = self.till.backs(request.order_no)
        back = next((each for each in backs if each.number == request.refund_no), None)
        if back is None:
            for code in _REFUSES:
                if self._fate.chance(_REFUSED):
                    raise ChannelRefused("the channel does not want to", code_at_channel=code)
            back = self._taken(request, sum(each.fen for each in backs))
        elif not back.done and not self._fate.chance(0.5):
            back = self._given(request.order_no, back)
        self._return(Send.REFUND, _LOST_BACK)
        return RefundState.DONE if back.done else RefundState.ACCEPTED

    def _taken(self, request: RefundRequest, before_fen: int) -> Back:
        slip = self.till.slip(request.order_no, self._clock.now())
        assert slip is not None, "what was never ordered is not refunded"
        if not slip.paid or before_fen + request.amount_fen > slip.fen:
            raise OverRefunded(f"{before_fen} and {request.amount_fen} of {slip}")
        back = Back(request.refund_no, request.amount_fen, done=False)
        self.till.give_back(request.order_no, back, self._clock.now())
        return back if self._fate.chance(0.4) else self._given(request.order_no, back)

    def _given(self, order_no: str, back: Back) -> Back:
        done = Back(back.number, back.fen, done=True)
        self.till.give_back(order_no, done, self._clock.now())
        self.told.append((order_no, done))
        return done

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: Any, /
    ) -> Payment | RefundNotice:
        """The product's own verification."""
        return self._reader.read_notice(headers, body, received_at)

    async def bill(self, day: date, /) -> list[BillLine]:
        """The stand-in's bill, read by the product's own reader."""
        return self.till.bill(day)
