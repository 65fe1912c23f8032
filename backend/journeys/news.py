"""News for the customers of accounts, written in the transaction of what it tells (A23, C27)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.alerts.messages import footing, open_message
from backend.kernel.clock import CHINA
from backend.kernel.db import UnitOfWork
from backend.topups.refunds import Refund

from .message_chain import people, tell_first
from .webhook import tell_webhook


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
    name) and `when` (the instant in full) are added to `params`. The project's webhook hears it too."""
    account = await accounts.account_by_id(work, account_id=account_id)
    base = await footing(work, project_id=account.project_id, event=event)
    values = {"account": account.name, "when": china_instant(at), **params}
    for person in await people(work, account=account, sms=base.sms):
        told = await open_message(
            work,
            project_id=account.project_id,
            account_id=account.id,
            customer_id=person.id,
            event=event,
            key=f"{key}-{(person.id or account.id).hex[-8:]}",
            params=values,
            at=at,
        )
        if told is not None:
            await tell_first(work, told=told, person=person, account=account, terms=base.terms)
    if base.webhook:
        await tell_webhook(work, account=account, event=event, key=key, params=values, at=at)


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


async def tell_switched(
    work: UnitOfWork,
    *,
    account_id: UUID,
    meter_id: UUID,
    why: str,
    restored: bool,
    at: datetime,
    back: str = "充值到账后自动恢复",
) -> None:
    """A meter of the account is cut off or has its supply again, at any hour (C28). `why` is a phrase for
    people; `back`: what brings it back after a cut."""
    event = "restored" if restored else "cut"
    params = {"why": why, "time": china_time(at)}
    await tell_customers(
        work,
        account_id=account_id,
        event=event,
        key=f"{event}-{meter_id.hex}-{int(at.timestamp())}",
        params=params if restored else {**params, "back": back},
        at=at,
    )


def china_time(at: datetime) -> str:
    """`at` as messages tell it: month, day and clock in China."""
    return at.astimezone(CHINA).strftime("%m-%d %H:%M")


def china_instant(at: datetime) -> str:
    """`at` in full, as templates of providers want it."""
    local = at.astimezone(CHINA)
    return f"{local.year}年{local.month}月{local.day}日 {local:%H:%M}"
