"""Closing accounts (销户) as rows: begun, its meters taken down, its money gone back, closed (A13).

Whoever goes on with a closing holds its row; one that ended stays as it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import Conflict, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.tenancy.rules import Permission

from .sharing import lock_accounts

_UPDATE = "UPDATE accounts_closing SET "
_ONE = " WHERE group_id = $1 AND id = $2 RETURNING *"


class ClosingState(StrEnum):
    """METERS are taken down; REFUNDS are on their way; CLOSED; CANCELLED: the account goes on."""

    METERS = "METERS"
    REFUNDS = "REFUNDS"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Closing:
    """销户单. `cut`: relays are opened and stay so. `round`: how often refunds were asked for anew.
    `fraction`: what was below a fen; `owing`: what stays in arrears; `statement`: the account's life in
    yuan by line, once closed. `outcome`: how it ended, or why it waits."""

    id: UUID
    project_id: UUID
    account_id: UUID
    state: ClosingState
    cut: bool
    reason: str
    operator: Actor
    started_at: datetime
    round: int
    fraction: Money
    owing: Money
    statement: Mapping[str, str] | None
    finished_at: datetime | None
    outcome: str | None


def closing_of(row: Row) -> Closing:
    """A closing from its table row."""
    return Closing(
        id=row["id"],
        project_id=row["project_id"],
        account_id=row["account_id"],
        state=ClosingState(row["state"]),
        cut=row["cut"],
        reason=row["reason"],
        operator=Actor("operator", row["operator_id"], row["operator_name"]),
        started_at=row["started_at"],
        round=row["round"],
        fraction=Money(row["fraction_hao"]),
        owing=Money(row["owing_hao"]),
        statement=row["statement"],
        finished_at=row["finished_at"],
        outcome=row["outcome"],
    )


async def closing_of_key(
    work: UnitOfWork, *, project_id: UUID, idempotency_key: str
) -> Closing | None:
    """The closing that was asked for with this key, or None."""
    row = await work.fetchrow(
        "SELECT * FROM accounts_closing"
        " WHERE group_id = $1 AND project_id = $2 AND idempotency_key = $3",
        work.group_id,
        project_id,
        idempotency_key,
    )
    return None if row is None else closing_of(row)


async def begin_closing(
    work: UnitOfWork,
    *,
    project_id: UUID,
    account_id: UUID,
    cut: bool,
    reason: str,
    idempotency_key: str,
    actor: Actor,
    at: datetime,
) -> Closing:
    """Begin to close an account, which buys nothing more from now on. Raises Conflict: it is closed, being
    closed, or its purse is drawn from by another account."""
    # Whoever lets another account draw from this one's purse holds its row meanwhile.
    await lock_accounts(work, account_ids=[account_id])
    shared: bool = await work.fetchval(
        "SELECT EXISTS (SELECT FROM accounts_account WHERE group_id = $1 AND purse_account_id = $2"
        " AND id <> $2 AND closed_at IS NULL)",
        work.group_id,
        account_id,
    )
    if shared:
        raise Conflict("another account pays from this one's purse: part them first")
    begun = await work.execute(
        "UPDATE accounts_account SET closing_at = $3"
        " WHERE group_id = $1 AND id = $2 AND closing_at IS NULL AND closed_at IS NULL",
        work.group_id,
        account_id,
        at,
    )
    if not begun:
        raise Conflict("the account is closed, or being closed")
    row = await work.fetchrow(
        "INSERT INTO accounts_closing (group_id, id, project_id, account_id, state, cut, reason,"
        " idempotency_key, operator_id, operator_name, started_at)"
        " VALUES ($1, $2, $3, $4, 'METERS', $5, $6, $7, $8, $9, $10) RETURNING *",
        work.group_id,
        uuid7(at),
        project_id,
        account_id,
        cut,
        reason,
        idempotency_key,
        actor.id,
        actor.name,
        at,
    )
    assert row is not None
    return closing_of(row)


async def lock_closing(work: UnitOfWork, *, closing_id: UUID) -> Closing | None:
    """A closing with its row locked until commit, or None."""
    row = await work.fetchrow(
        "SELECT * FROM accounts_closing WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        closing_id,
    )
    return None if row is None else closing_of(row)


async def mark_refunding(work: UnitOfWork, *, closing_id: UUID) -> Closing:
    """No meter serves it any more; its money goes back from now on. The row is locked."""
    return await _set(work, f"{_UPDATE}state = 'REFUNDS', outcome = NULL{_ONE}", closing_id)


async def mark_round(work: UnitOfWork, *, closing_id: UUID) -> Closing:
    """Refunds that failed are asked for anew. The row is locked."""
    return await _set(work, f"{_UPDATE}round = round + 1, outcome = NULL{_ONE}", closing_id)


async def note_waiting(work: UnitOfWork, *, closing_id: UUID, why: str) -> None:
    """Keep why it is not done yet."""
    await work.execute(
        "UPDATE accounts_closing SET outcome = $3"
        " WHERE group_id = $1 AND id = $2 AND finished_at IS NULL",
        work.group_id,
        closing_id,
        why[:500],
    )


async def mark_closed(
    work: UnitOfWork,
    *,
    closing: Closing,
    fraction: Money,
    owing: Money,
    statement: Mapping[str, str],
    at: datetime,
) -> Closing:
    """The account is closed and nobody is bound to it any more. The row is locked."""
    await work.execute(
        "UPDATE accounts_account SET closed_at = $3, closing_at = NULL WHERE group_id = $1 AND id = $2",
        work.group_id,
        closing.account_id,
        at,
    )
    await work.execute(
        "UPDATE accounts_binding SET ended_at = $3"
        " WHERE group_id = $1 AND account_id = $2 AND ended_at IS NULL",
        work.group_id,
        closing.account_id,
        at,
    )
    return await _set(
        work,
        f"{_UPDATE}state = 'CLOSED', fraction_hao = $3, owing_hao = $4, statement = $5,"
        f" finished_at = $6, outcome = NULL{_ONE}",
        closing.id,
        fraction.hao,
        owing.hao,
        dict(statement),
        at,
    )


async def mark_cancelled(work: UnitOfWork, *, closing: Closing, why: str, at: datetime) -> Closing:
    """The account goes on. The row is locked."""
    await work.execute(
        "UPDATE accounts_account SET closing_at = NULL WHERE group_id = $1 AND id = $2",
        work.group_id,
        closing.account_id,
    )
    return await _set(
        work,
        f"{_UPDATE}state = 'CANCELLED', finished_at = $3, outcome = $4{_ONE}",
        closing.id,
        at,
        why,
    )


async def _set(work: UnitOfWork, sql: str, closing_id: UUID, *values: object) -> Closing:
    """Change a row that the caller has locked."""
    row = await work.fetchrow(sql, work.group_id, closing_id, *values)
    assert row is not None, "its row is locked"
    return closing_of(row)


async def closing(work: UnitOfWork, *, scope: Scope, closing_id: UUID) -> Closing:
    """One closing for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM accounts_closing WHERE group_id = $1 AND id = $2", work.group_id, closing_id
    )
    if row is None or not scope.may(Permission.ACCOUNT_READ, row["project_id"]):
        raise NotFound("no such closing")
    return closing_of(row)


async def closing_of_account(work: UnitOfWork, *, account_id: UUID) -> Closing | None:
    """The closing of an account that is under way, or None."""
    row = await work.fetchrow(
        "SELECT * FROM accounts_closing"
        " WHERE group_id = $1 AND account_id = $2 AND finished_at IS NULL",
        work.group_id,
        account_id,
    )
    return None if row is None else closing_of(row)


async def closings_unfinished(work: UnitOfWork) -> list[UUID]:
    """Closings that are under way: the janitor's list."""
    rows = await work.fetch(
        "SELECT id FROM accounts_closing WHERE group_id = $1 AND finished_at IS NULL",
        work.group_id,
    )
    return [row["id"] for row in rows]
