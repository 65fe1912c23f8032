"""What the UnionPay and ChinaPay stand-ins share: a signed front page, back calls and notices that
misbehave on demand, over one book and one desk. How fields are named and signed is each one's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.kernel.clock import Clock
from backend.sandbox.answers import CutAnswer, Handler
from backend.sandbox.bank_book import BankBook, Trade, earlier
from backend.sandbox.bank_desk import BankDesk
from backend.sandbox.cashier_page import Brand, refusal_page
from backend.sandbox.faults import Faults
from backend.sandbox.sending import SENDING_FAULTS, Sender

FAULTS = (
    "http_500",
    "drop_answer",
    "bad_signature_answer",
    "refund_processing",
    "wrong_amount_notice",
    "wrong_merchant_notice",
    "bad_signature_notice",
    "stale_notice",
)


class BankGateway(ABC):
    """One gateway. `store` is a SQLite file that keeps trades, merchants and keys over a restart;
    `more_faults` are the ones that only this gateway has; `nobody` is a merchant that does not exist."""

    def __init__(
        self,
        *,
        brand: Brand,
        clock: Clock,
        store: str,
        retries_s: Sequence[float],
        nobody: str,
        more_faults: Sequence[str] = (),
    ) -> None:
        self._brand = brand
        self._clock = clock
        self._nobody = nobody
        self._book = BankBook(store)
        self._faults = Faults(*SENDING_FAULTS, *FAULTS, *more_faults)
        self._sender = Sender(faults=self._faults, retries_s=retries_s)
        self._desk = BankDesk(
            brand=brand,
            book=self._book,
            sender=self._sender,
            faults=self._faults,
            clock=clock,
            notice=self._told_in_notice,
        )

    def app(self) -> Starlette:
        """The stand-in as an ASGI application."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            await self._sender.stop()

        return Starlette(routes=[*self.routes(), *self._desk.routes()], lifespan=lifespan)

    @abstractmethod
    def routes(self) -> list[Route]:
        """The gateway's own routes and its way to register a merchant."""

    @abstractmethod
    def notice(self, trade: Trade, /) -> dict[str, str]:
        """The signed fields of a trade's notice."""

    # The name of the field that holds the signature.
    signature: str

    def back(self, action: Handler, /) -> Handler:
        """A back call with the faults that every answer can have."""

        async def endpoint(request: Request) -> Response:
            if self._faults.take("http_500"):
                return Response("Internal Server Error", 500)
            answer = await action(request)
            return CutAnswer() if self._faults.take("drop_answer") else answer

        return endpoint

    def opened(self, trade: Trade, /, *, action: str) -> Response:
        """The cashier's page of a new order, or of the same one again; its button posts to `action`."""
        known = self._book.trade(mer_id=trade.mer_id, number=trade.number)
        if known is not None and known.asked() != trade.asked():
            return refusal_page(self._brand, "订单号重复", status=400)
        if known is None:
            self._book.put(trade)
        return self._desk.page(known or trade, action=action)

    def given_back(self, refund: Trade, /) -> None:
        """Take a refund: it is done at once, or only when it is asked for."""
        self._book.put(refund)
        if not self._faults.take("refund_processing"):
            self._book.done(refund, at=self._clock.now())

    def spoiled(self, signed: dict[str, str], /, *, fault: str) -> dict[str, str]:
        """Signed fields, with a wrong signature while `fault` is switched on."""
        if not self._faults.take(fault):
            return signed
        signature = signed[self.signature]
        return signed | {self.signature: ("B" if signature[0] != "B" else "C") + signature[1:]}

    def _told_in_notice(self, trade: Trade) -> dict[str, str]:
        """The fields of a notice, with a fault when one is switched on."""
        told = trade
        if self._faults.take("wrong_amount_notice"):
            told = replace(told, fen=told.fen + 1)
        if self._faults.take("wrong_merchant_notice"):
            told = replace(told, mer_id=self._nobody)
        if self._faults.take("stale_notice"):
            told = replace(told, made=earlier(told.made, timedelta(days=2)))
        return self.spoiled(self.notice(told), fault="bad_signature_notice")
