"""What a top-up needs from outside: a payment channel of six methods (DESIGN section 1, styles trap 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from backend.kernel.errors import DomainError, Unavailable

from .rules import Payment as Payment
from .rules import PaymentState as PaymentState
from .rules import PayMethod as PayMethod


@dataclass(frozen=True, slots=True)
class PrepayRequest:
    """An order to be paid. `payer_id` is who pays in the channel's own terms (JSAPI only), `client_ip`
    the payer's own address, `return_url` where the channel's page sends the payer afterwards."""

    order_no: str
    amount_fen: int
    description: str
    expires_at: datetime
    method: PayMethod
    payer_id: str | None = None
    client_ip: str = ""
    return_url: str = ""


@dataclass(frozen=True, slots=True)
class Prepaid:
    """What the page needs to let the payer pay: the app's parameters (JSAPI), `{"url": ..}` to go to,
    or `{"action": .., field: value}`: a form that the browser posts to `action`."""

    method: PayMethod
    page: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Give back `amount_fen` of an order that paid `total_fen`; `refund_no` makes it idempotent.

    `first_asked_at` is when the channel was first asked for it, the same each time: None for a caller
    that asks as soon as it has made the number."""

    order_no: str
    refund_no: str
    amount_fen: int
    total_fen: int
    reason: str
    first_asked_at: datetime | None = None


class RefundState(StrEnum):
    """ACCEPTED is not money back yet; ask again until DONE or FAILED."""

    ACCEPTED = "ACCEPTED"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class RefundNotice:
    """A channel tells that a refund ended. Not believed: it rings, and the channel is asked."""

    refund_no: str
    merchant_id: str
    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line of a channel's daily bill, in fen; `refund_fen` is 0 for a payment. The `order_no` of a
    refund is empty where the bill does not name the order."""

    order_no: str
    transaction_id: str
    amount_fen: int
    refund_fen: int
    refund_no: str | None
    at: datetime


class NoticeRejected(DomainError):
    """A notice that must not be believed: signature, freshness, serial or shape is wrong (C5)."""

    code = "NOTICE_REJECTED"


class NoticeProbe(NoticeRejected):
    """The platform tests that we refuse a bad signature: refuse it, raise no alarm (channels.md section
    2.3: `WECHATPAY/SIGNTEST/`)."""

    code = "NOTICE_PROBE"


class ChannelUnavailable(Unavailable):
    """The channel did not answer, or answered something that cannot be verified. State is unknown."""

    code = "CHANNEL_UNAVAILABLE"


class ChannelRefused(DomainError):
    """The channel answered a business error (verified): `code_at_channel` names it."""

    code = "CHANNEL_REFUSED"

    def __init__(self, message: str, *, code_at_channel: str) -> None:
        super().__init__(message)
        self.code_at_channel = code_at_channel


class PaymentChannel(Protocol):
    """One merchant account at one channel. Never called inside a transaction."""

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """Register the order at the channel; the same request again gives an equal answer.

        Raises ChannelUnavailable, ChannelRefused.
        """
        ...

    async def query(self, order_no: str, /) -> Payment:
        """Ask for the state of an order. Raises ChannelUnavailable; an order the channel does not
        know is PaymentState.UNPAID."""
        ...

    async def close(self, order_no: str, /) -> None:
        """Close an unpaid order. Raises ChannelRefused when it is paid, ChannelUnavailable."""
        ...

    async def refund(self, request: RefundRequest, /) -> RefundState:
        """Ask for a refund; the same `refund_no` again moves no money twice."""
        ...

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: datetime, /
    ) -> Payment | RefundNotice:
        """Verify and decrypt a notice (raw body). Raises NoticeRejected.

        Blocking: a certificate may have to be fetched first, so call it in a thread.
        """
        ...

    async def bill(self, day: date, /) -> list[BillLine]:
        """The channel's bill of a China day. Raises ChannelUnavailable (not ready yet, bad hash)."""
        ...


@runtime_checkable
class AsksEachNumber(Protocol):
    """A payment channel without a daily bill that we could fetch: it is asked for each number of ours."""

    async def lines_of(
        self, *, order_nos: Sequence[str], refund_nos: Sequence[str]
    ) -> list[BillLine]:
        """What the channel has done of these, as its bill would list it: no line for what it does not
        confirm. Moves no money. Raises ChannelUnavailable when one of them gets no answer."""
        ...
