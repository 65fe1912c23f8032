"""Imported into the product's processes by one test: money goes back once and is booked twice, and what was
used is charged twice."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backend.journeys import charge_batch, refund_sending
from backend.kernel.db import UnitOfWork
from backend.ledger import operations as ledger
from backend.ledger.purses import charge
from backend.ledger.rules import AccountKey, AccountKind, move
from backend.topups.refunds import Refund

_honest_done = refund_sending.finish_done


async def booked_twice(work: UnitOfWork, *, refund: Refund, at: datetime, **how: Any) -> Refund:
    """What finish_done does, and the same entry once more by a key of its own."""
    source = refund.source
    assert source.credential_id is not None
    again = move(
        business_key=f"again:{refund.refund_no}",
        kind="REFUND_DONE",
        debit=AccountKey(AccountKind.SUSPENSE, refund.project_id),
        credit=AccountKey(AccountKind.CHANNEL, source.credential_id),
        amount=refund.amount,
    )
    await ledger.post(work, project_id=refund.project_id, transfer=again, at=at)
    return await _honest_done(work, refund=refund, at=at, **how)


async def charged_twice(work: UnitOfWork, *, business_key: str, **how: Any) -> Any:
    """What charge does, and again by a key of its own."""
    await charge(work, business_key=f"{business_key}:again", **how)
    return await charge(work, business_key=business_key, **how)


refund_sending.finish_done = booked_twice
vars(charge_batch)["charge_purses"] = charged_twice
