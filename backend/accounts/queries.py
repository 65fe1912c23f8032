"""Reads of accounts, by the doors an operator or a bound customer may use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .models import Account, Area, Binding, Customer


async def accounts_page(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, after_no: str | None, limit: int
) -> list[Account]:
    """Accounts of a project by number, those after `after_no` (keyset), at most `limit`.

    Raises NotFound when the caller may not read accounts there (C29).
    """
    if not scope.may(Permission.ACCOUNT_READ, project_id):
        raise NotFound("no such project")
    page = Account.filter(group_id=work.group_id, project_id=project_id)
    if after_no is not None:
        page = page.filter(no__gt=after_no)
    return await page.order_by("no").limit(limit)


async def account(work: UnitOfWork, *, scope: Scope, account_id: UUID) -> Account:
    """One account for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    found = await Account.get_or_none(group_id=work.group_id, id=account_id)
    if found is None or not scope.may(Permission.ACCOUNT_READ, found.project_id):
        raise NotFound("no such account")
    return found


async def account_by_id(work: UnitOfWork, *, account_id: UUID) -> Account:
    """One account of this group, for journeys. Raises NotFound."""
    found = await Account.get_or_none(group_id=work.group_id, id=account_id)
    if found is None:
        raise NotFound("no such account")
    return found


async def accounts_by_ids(work: UnitOfWork, *, account_ids: Sequence[UUID]) -> dict[UUID, Account]:
    """Accounts of this group by id, for journeys; what does not exist is absent."""
    found = await Account.filter(group_id=work.group_id, id__in=list(account_ids))
    return {account.id: account for account in found}


async def open_account_by_no(work: UnitOfWork, *, no: str) -> Account | None:
    """The open account of that number in this group, or None."""
    return await Account.get_or_none(group_id=work.group_id, no=no, closed_at__isnull=True)


async def area_paths(work: UnitOfWork, *, area_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Each area's place as people read it: `1号楼 / 1层 / 101`."""
    rows = await work.fetch(
        "WITH RECURSIVE up AS ("
        " SELECT id AS leaf, id, parent_id, name, 0 AS depth FROM accounts_area"
        "   WHERE group_id = $1 AND id = ANY($2)"
        " UNION ALL SELECT up.leaf, a.id, a.parent_id, a.name, up.depth + 1 FROM up"
        "   JOIN accounts_area a ON a.group_id = $1 AND a.id = up.parent_id"
        " ) SELECT leaf, string_agg(name, ' / ' ORDER BY depth DESC) AS path FROM up GROUP BY leaf",
        work.group_id,
        list(area_ids),
    )
    return {row["leaf"]: row["path"] for row in rows}


async def areas(work: UnitOfWork, *, scope: Scope, project_id: UUID) -> list[Area]:
    """The places of a project. Raises NotFound when the caller may not read there."""
    if not scope.may(Permission.ACCOUNT_READ, project_id):
        raise NotFound("no such project")
    return await Area.filter(group_id=work.group_id, project_id=project_id).order_by("name")


async def bound_accounts(work: UnitOfWork, *, customer_id: UUID) -> list[Account]:
    """The open accounts a customer is bound to, by number."""
    ids = await Binding.filter(
        group_id=work.group_id, customer_id=customer_id, ended_at__isnull=True
    ).values_list("account_id", flat=True)
    return await Account.filter(
        group_id=work.group_id, id__in=list(ids), closed_at__isnull=True
    ).order_by("no")


async def closed_accounts(work: UnitOfWork, *, customer_id: UUID, since: datetime) -> list[Account]:
    """The accounts a customer was bound to when they were closed, since an instant, the newest first."""
    rows = await work.fetch(
        "SELECT DISTINCT a.id FROM accounts_binding b"
        " JOIN accounts_account a ON a.group_id = b.group_id AND a.id = b.account_id"
        " WHERE b.group_id = $1 AND b.customer_id = $2 AND a.closed_at >= $3"
        " AND b.ended_at = a.closed_at",
        work.group_id,
        customer_id,
        since,
    )
    ids = [row["id"] for row in rows]
    return await Account.filter(group_id=work.group_id, id__in=ids).order_by("-closed_at")


async def is_bound(work: UnitOfWork, *, customer_id: UUID, account_id: UUID) -> bool:
    """Whether the customer is bound to the account now."""
    return await Binding.filter(
        group_id=work.group_id,
        customer_id=customer_id,
        account_id=account_id,
        ended_at__isnull=True,
    ).exists()


async def bound_customers(work: UnitOfWork, *, account_id: UUID) -> list[Customer]:
    """The customers bound to an account now: who gets its news."""
    ids = await Binding.filter(
        group_id=work.group_id, account_id=account_id, ended_at__isnull=True
    ).values_list("customer_id", flat=True)
    return await Customer.filter(group_id=work.group_id, id__in=list(ids))


async def customer(work: UnitOfWork, *, customer_id: UUID) -> Customer:
    """One customer of this group. Raises NotFound."""
    found = await Customer.get_or_none(group_id=work.group_id, id=customer_id)
    if found is None:
        raise NotFound("no such customer")
    return found


async def codes_sent(
    work: UnitOfWork, *, account_no: str, customer_id: UUID, at: datetime
) -> tuple[int, int]:
    """Binding codes of the last 24 h: (for that account number, by that customer)."""
    row = await work.fetchrow(
        "SELECT count(*) FILTER (WHERE account_no = $2) AS account,"
        " count(*) FILTER (WHERE customer_id = $3) AS customer FROM accounts_challenge"
        " WHERE group_id = $1 AND created_at > $4 AND (account_no = $2 OR customer_id = $3)",
        work.group_id,
        account_no,
        customer_id,
        at - timedelta(days=1),
    )
    assert row is not None
    return row["account"], row["customer"]


async def account_by_no(work: UnitOfWork, *, scope: Scope, no: str) -> Account:
    """The open account of that number for an operator. Raises NotFound (C29)."""
    found = await open_account_by_no(work, no=no)
    if found is None or not scope.may(Permission.ACCOUNT_READ, found.project_id):
        raise NotFound("no such account")
    return found


async def area(work: UnitOfWork, *, scope: Scope, area_id: UUID) -> Area:
    """One place for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    found = await Area.get_or_none(group_id=work.group_id, id=area_id)
    if found is None or not scope.may(Permission.ACCOUNT_READ, found.project_id):
        raise NotFound("no such area")
    return found


async def purses(work: UnitOfWork, *, account_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """The purse (its ref) that each account pays from: its own, or that of the account it shares with."""
    shared = await work.fetch(
        "SELECT id, purse_account_id FROM accounts_account"
        " WHERE group_id = $1 AND id = ANY($2) AND purse_account_id IS NOT NULL",
        work.group_id,
        list(account_ids),
    )
    return {id_: id_ for id_ in account_ids} | {id_: purse for id_, purse in shared}


async def drawing_from(work: UnitOfWork, *, purses: Sequence[UUID]) -> dict[UUID, UUID]:
    """The open accounts that draw from these purses (refs), each with its purse."""
    if not purses:
        return {}
    rows = await work.fetch(
        "SELECT a.id, coalesce(a.purse_account_id, a.id) AS purse FROM accounts_account a"
        " WHERE a.group_id = $1 AND a.closed_at IS NULL"
        " AND (a.id = ANY($2) AND a.purse_account_id IS NULL OR a.purse_account_id = ANY($2))"
        " ORDER BY a.id",
        work.group_id,
        list(purses),
    )
    return {row["id"]: row["purse"] for row in rows}
