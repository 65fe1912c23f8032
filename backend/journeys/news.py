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
from backend.kernel.money import Money
from backend.ledger.rules import ARREARS
from backend.topups.refunds import Refund

# Purses that stood in nothing before an entry, with what it left standing.
_NEW_ARREARS = (
    "SELECT a.ref, sum(b.balance_hao)::bigint AS owed FROM ledger_account a"
    " JOIN ledger_balance b ON b.group_id = a.group_id AND b.account_id = a.id"
    " LEFT JOIN (SELECT account_id, sum(amount_hao) AS amount_hao FROM ledger_posting"
    "   WHERE group_id = $1 AND entry_id = $2 GROUP BY 1) AS p ON p.account_id = a.id"
    " WHERE a.group_id = $1 AND a.kind = ANY($3) AND a.ref IN ("
    "   SELECT x.ref FROM ledger_posting q JOIN ledger_account x"
    "    ON x.group_id = q.group_id AND x.id = q.account_id AND x.kind = ANY($3)"
    "   WHERE q.group_id = $1 AND q.entry_id = $2 AND q.amount_hao > 0)"
    " GROUP BY a.ref HAVING sum(b.balance_hao - coalesce(p.amount_hao, 0)) = 0"
)


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


async def tell_arrears(work: UnitOfWork, *, entry_id: UUID, at: datetime) -> None:
    """Tell those whose purse this entry of charges put in arrears; once an episode: whoever was in arrears
    before is not told again (C27)."""
    rows = await work.fetch(_NEW_ARREARS, work.group_id, entry_id, [str(kind) for kind in ARREARS])
    owed = {row["ref"]: Money(row["owed"]) for row in rows}
    drawing = await accounts.bound_to_purses(work, purses=list(owed))
    for account_id, purse in drawing.items():
        await tell_customers(
            work,
            account_id=account_id,
            event="in_arrears",
            key=f"arrears-{entry_id.hex}-{account_id.hex[-8:]}",
            params={"amount": str(owed[purse]), "time": china_time(at)},
            at=at,
        )


def china_time(at: datetime) -> str:
    """`at` as messages tell it: month, day and clock in China."""
    return at.astimezone(CHINA).strftime("%m-%d %H:%M")
