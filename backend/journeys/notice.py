"""From a verified notice in the inbox to settle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from backend.kernel.db import unit_of_work
from backend.outbox import operations as outbox
from backend.outbox.queries import received
from backend.topups.ports import Payment, PaymentState

from .ports import Ports
from .refund_sending import ring
from .settle import Settled, settle


def to_body(payment: Payment, *, credential_id: UUID) -> dict[str, object]:
    """A payment as the inbox keeps it (JSON)."""
    body = asdict(payment)
    body["paid_at"] = payment.paid_at.isoformat() if payment.paid_at else None
    body["credential_id"] = str(credential_id)
    return body


def from_body(body: Mapping[str, Any]) -> tuple[Payment, UUID]:
    """The payment and the merchant account it came by, as `to_body` wrote them."""
    paid_at = body["paid_at"]
    payment = Payment(
        order_no=body["order_no"],
        state=PaymentState(body["state"]),
        merchant_id=body["merchant_id"],
        app_id=body["app_id"],
        amount_fen=body["amount_fen"],
        currency=body["currency"],
        transaction_id=body["transaction_id"],
        paid_at=datetime.fromisoformat(paid_at) if paid_at else None,
        payer_id=body["payer_id"],
        # Notices kept before there were providers do not name one.
        provider_id=body.get("provider_id", ""),
        provider_app_id=body.get("provider_app_id", ""),
    )
    return payment, UUID(body["credential_id"])


async def store_notice(
    ports: Ports, *, group_id: int, channel: str, credential_id: UUID, key: str, payment: Payment
) -> bool:
    """Keep a verified notice and ring; False when the same notice was kept before.

    Answering the channel is right only after this has committed (channels.md section 8 rule 4).
    """
    at = ports.clock.now()
    async with unit_of_work(group_id) as work:
        inbox_id = await outbox.receive(
            work,
            channel=channel,
            key=key,
            body=to_body(payment, credential_id=credential_id),
            at=at,
        )
        if inbox_id is None:
            return False
        await outbox.emit(
            work,
            topic="payment.noticed",
            key=str(inbox_id),
            payload={"inbox_id": str(inbox_id)},
            at=at,
        )
    return True


async def refund_noticed(ports: Ports, *, group_id: int, refund_no: str) -> bool:
    """A merchant account told of a refund: it is asked for now; False for none of ours (the bill tells
    what was refunded past us)."""
    async with unit_of_work(group_id) as work:
        return await ring(work, refund_no=refund_no, at=ports.clock.now())


async def settle_notice(ports: Ports, *, group_id: int, inbox_id: UUID) -> Settled:
    """Settle what a kept notice says; settling twice books once."""
    async with unit_of_work(group_id) as work:
        payment, credential_id = from_body(await received(work, inbox_id=inbox_id))
    settled = await settle(
        ports, group_id=group_id, credential_id=credential_id, payment=payment, source="notice"
    )
    async with unit_of_work(group_id) as work:
        await outbox.handled(
            work, inbox_id=inbox_id, outcome=settled.verdict.value, at=ports.clock.now()
        )
    return settled
