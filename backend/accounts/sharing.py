"""Several accounts draw from one purse (C3): which one each draws from, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict

from .models import Account


async def lock_accounts(work: UnitOfWork, *, account_ids: Sequence[UUID]) -> dict[UUID, Account]:
    """Accounts with their rows locked by id until commit, as they are now."""
    await work.execute(
        "SELECT FROM accounts_account WHERE group_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE",
        work.group_id,
        list(account_ids),
    )
    found = await Account.filter(group_id=work.group_id, id__in=list(account_ids))
    return {account.id: account for account in found}


async def draw_from(work: UnitOfWork, *, account: Account, owner: Account) -> None:
    """From now on the account draws from the owner's purse; both rows are locked.

    Raises Conflict: the same account, one of them is closed or being closed, the account draws from
    another purse already, or others from its own, or the owner does (no chains).
    """
    if account.id == owner.id:
        raise Conflict("an account draws from its own purse anyway")
    for each in (account, owner):
        if each.closed_at is not None or each.closing_at is not None:
            raise Conflict(f"the account {each.no} is closed, or being closed")
    if account.purse_account_id is not None:
        raise Conflict("it draws from another account's purse already: part them first")
    if owner.purse_account_id is not None:
        raise Conflict(f"the account {owner.no} itself draws from another account's purse")
    if await sharers(work, account_id=account.id):
        raise Conflict("other accounts draw from this one's purse: part them first")
    await _set(work, account.id, owner.id)


async def draw_from_own(work: UnitOfWork, *, account: Account) -> None:
    """From now on the account draws from its own purse again; its row is locked. Raises Conflict: it does."""
    if account.purse_account_id is None:
        raise Conflict("it draws from its own purse")
    await _set(work, account.id, None)


async def sharers(work: UnitOfWork, *, account_id: UUID) -> list[Account]:
    """The accounts that draw from this one's purse, by number; closed ones are not counted."""
    return await Account.filter(
        group_id=work.group_id, purse_account_id=account_id, closed_at__isnull=True
    ).order_by("no")


async def _set(work: UnitOfWork, account_id: UUID, purse: UUID | None) -> None:
    await Account.filter(group_id=work.group_id, id=account_id).update(purse_account_id=purse)
