"""A customer's further identity: the Alipay user who is the person behind a WeChat customer (C28)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .models import Account, Customer
from .operations import ensure_customer


@dataclass(frozen=True, slots=True)
class Identity:
    """One way to reach a bound person: `person` is the first of the person's identities."""

    customer_id: UUID
    person: UUID
    channel: str
    app_id: str
    external_id: str


async def bound_identities(work: UnitOfWork, *, account_id: UUID) -> list[Identity]:
    """Who is bound to an account now, the persons in the order in which they were bound."""
    rows = await work.fetch(
        "SELECT c.id, coalesce(c.same_as, c.id) AS person, c.channel, c.app_id, c.external_id"
        " FROM accounts_binding b JOIN accounts_customer c ON c.group_id = b.group_id"
        " AND c.id = b.customer_id WHERE b.group_id = $1 AND b.account_id = $2"
        " AND b.ended_at IS NULL ORDER BY b.bound_at, c.id",
        work.group_id,
        account_id,
    )
    return [Identity(*row) for row in rows]


async def bind_alipay_user(
    work: UnitOfWork,
    *,
    scope: Scope,
    account: Account,
    app_id: str,
    user_id: str,
    same_as: str | None,
    at: datetime,
) -> Customer:
    """Bind an Alipay user to an account on an operator's word; `same_as`: the openid of the WeChat customer,
    bound to it as well, who is the same person and is told here only when WeChat refuses.

    Raises Forbidden, InvalidInput, NotFound (no such WeChat customer is bound).
    """
    scope.require(Permission.ACCOUNT_WRITE, account.project_id)
    if account.closed_at is not None:
        raise InvalidInput("the account is closed", field="account")
    first: UUID | None = None
    if same_as is not None:
        found = [
            each
            for each in await bound_identities(work, account_id=account.id)
            if (each.channel, each.external_id) == ("WECHAT", same_as)
        ]
        if not found:
            raise NotFound("no such WeChat customer is bound to the account")
        first = found[0].person
    customer = await ensure_customer(
        work, channel="ALIPAY", app_id=app_id, external_id=user_id, at=at
    )
    await work.execute(
        "UPDATE accounts_customer SET same_as = $3 WHERE group_id = $1 AND id = $2",
        work.group_id,
        customer.id,
        first,
    )
    await work.execute(
        "INSERT INTO accounts_binding (group_id, id, customer_id, account_id, bound_at)"
        " VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (group_id, customer_id, account_id) WHERE ended_at IS NULL DO NOTHING",
        work.group_id,
        uuid7(at),
        customer.id,
        account.id,
        at,
    )
    await record(
        work,
        actor=scope.actor,
        action="account:alipay_user:bind",
        subject=str(account.id),
        at=at,
        project_id=account.project_id,
        before=None,
        after={"customer": str(customer.id), "sameAs": None if first is None else str(first)},
    )
    customer.same_as = first
    return customer
