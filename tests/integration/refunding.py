"""Top-ups whose money stands in a purse, their refunds and moves, a channel that answers as told, figures."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from uuid import UUID

from backend.journeys.correction import Corrected, correct_topup
from backend.journeys.ports import Ports
from backend.journeys.refund import request_refund
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.ledger.lots import lot_state
from backend.ledger.queries import derived_balance, owed
from backend.ledger.rules import AccountKind
from backend.topups.ports import BillLine, Payment, Prepaid, PrepayRequest, RefundRequest
from backend.topups.ports import RefundState as Word
from backend.topups.queries import Order
from backend.topups.refunds import Refund
from workers.models import meter_models

from .world import World, admin_scope, make_credential, make_order, pay

FIFTY = Money.parse("50")


def second(world: World, name: str = "wang") -> Scope:
    """Another operator with every permission."""
    return replace(admin_scope(world.group_id), actor=Actor("operator", f"op-{name}", name, "::1"))


async def cloud_order(world: World, *, fen: int = 5000) -> Order:
    """A paid order whose money stands in the purse: the cloud holds it for this meter."""
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE metering_meter SET credit_mode = 'CLOUD'")
    order = await make_order(world, credential_id=await make_credential(world), amount_fen=fen)
    assert (await pay(world, order)).paid
    return order


async def ask(
    world: World, order: Order, yuan: str, *, key: str = "", scope: Scope | None = None
) -> Refund:
    """Ask for a refund as the world's operator."""
    return await request_refund(
        scope=scope or world.scope,
        order_id=order.id,
        amount=Money.parse(yuan),
        reason="moved out",
        idempotency_key=key or secrets.token_hex(8),
        models=meter_models(),
        at=world.clock.now(),
    )


async def move(
    world: World,
    order: Order,
    to: UUID,
    *,
    scope: Scope | None = None,
    reason: str = "102 paid for 101",
) -> Corrected:
    """Move a top-up to the account `to`."""
    return await correct_topup(
        scope=scope or world.scope,
        order_id=order.id,
        account_id=to,
        reason=reason,
        models=meter_models(),
        at=world.clock.now(),
    )


async def allow_alone(world: World, *, fen: int) -> None:
    """Set up to how much of an order one operator of the project refunds alone."""
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE tenancy_project SET refund_alone_fen = $1", fen)


@dataclass
class Channel:
    """A payment channel that answers refunds with `words` in turn (an exception is raised), the last
    one for ever; it keeps what it was asked."""

    words: deque[Word | Exception]
    asked: list[RefundRequest] = field(default_factory=list)

    async def refund(self, request: RefundRequest, /) -> Word:
        """The next word."""
        self.asked.append(request)
        word = self.words[0] if len(self.words) == 1 else self.words.popleft()
        if isinstance(word, Exception):
            raise word
        return word

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """Not asked for here."""
        raise AssertionError(request)

    async def query(self, order_no: str, /) -> Payment:
        """Not asked for here."""
        raise AssertionError(order_no)

    async def close(self, order_no: str, /) -> None:
        """Not asked for here."""
        raise AssertionError(order_no)

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: datetime, /
    ) -> Payment:
        """Not asked for here."""
        raise AssertionError(body)

    async def bill(self, day: date, /) -> list[BillLine]:
        """Not asked for here."""
        raise AssertionError(day)


def channel_says(world: World, *words: Word | Exception) -> tuple[Ports, Channel]:
    """Ports of the world whose channel answers refunds so."""
    channel = Channel(deque(words))
    return replace(world.ports, payment_channel=lambda group_id, credential: channel), channel


@dataclass(frozen=True)
class Figures:
    """Where an order's money is: all of it together is what was paid and not given back."""

    channel: Money
    purse: Money
    due: Money
    lot: Money


async def figures(world: World, order: Order, *, account_id: UUID | None = None) -> Figures:
    """The book's figures of an order's channel and of its account's purse."""
    account = account_id or world.account.id
    assert order.credential_id is not None
    async with unit_of_work(world.group_id) as work:
        purse = await owed(work, kind=AccountKind.PURSE, refs=[account])
        due = await owed(work, kind=AccountKind.REFUND_DUE, refs=[account])
        lot = await lot_state(work, source=f"topup:{order.id}")
        assert lot is not None
        return Figures(
            channel=await derived_balance(work, kind=AccountKind.CHANNEL, ref=order.credential_id),
            purse=purse[account],
            due=due[account],
            lot=lot.left,
        )


def yuan(channel: str, purse: str, due: str, lot: str) -> Figures:
    """Figures from decimal strings."""
    return Figures(*(Money.parse(text) for text in (channel, purse, due, lot)))
