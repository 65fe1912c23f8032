"""News for the customers bound to accounts, written in the transaction of what it tells (A23, C27)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.alerts.operations import queue_delivery
from backend.alerts.ports import MessageChannel
from backend.alerts.texts import text
from backend.kernel.clock import CHINA
from backend.kernel.db import UnitOfWork
from backend.topups.refunds import Refund


async def tell_customers(
    work: UnitOfWork,
    *,
    account_id: UUID,
    event: str,
    key: str,
    params: Mapping[str, str],
    at: datetime,
) -> None:
    """Queue the sentence of `event` for everybody bound to an account, once for each `key`; `account` (its
    name) is added to `params`."""
    account = await accounts.account_by_id(work, account_id=account_id)
    told = {"account": account.name, **params}
    for customer in await accounts.bound_customers(work, account_id=account_id):
        await queue_delivery(
            work,
            channel=MessageChannel.WECHAT,
            event=event,
            key=f"{key}-{customer.id.hex[-8:]}",
            customer_id=customer.id,
            content={
                "address": customer.external_id,
                "app_id": customer.app_id,
                "text": text(event, **told),
                **{f"param_{name}": value for name, value in told.items()},
            },
            at=at,
        )


async def tell_refunded(work: UnitOfWork, *, refund: Refund, at: datetime) -> None:
    """The payer has the money again. What fits no account of ours has nobody to tell."""
    if refund.source.account_id is None:
        return
    await tell_customers(
        work,
        account_id=refund.source.account_id,
        event="refund_done",
        key=f"refunded-{refund.id.hex}",
        params={"amount": str(refund.amount), "time": china_time(at)},
        at=at,
    )


def china_time(at: datetime) -> str:
    """`at` as messages tell it: month, day and clock in China."""
    return at.astimezone(CHINA).strftime("%m-%d %H:%M")
