"""Credit classes: allowed overdraft, monthly grant, emergency credit; who is in which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

MOST = Money.parse("10000")  # of each figure: a slip of the comma is refused
_NAME_LENGTH = 32


@dataclass(frozen=True, slots=True)
class CreditClass:
    """How far purses of a class may go below zero, what they are given each month, what they can draw in
    an emergency."""

    id: UUID
    project_id: UUID
    name: str
    overdraft: Money
    emergency: Money
    monthly_grant: Money


async def save_class(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    name: str,
    overdraft: Money,
    emergency: Money,
    monthly_grant: Money,
    at: datetime,
) -> CreditClass:
    """Make a class, or change the one of that name. Raises NotFound, Forbidden, InvalidInput."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.CREDIT_WRITE, project_id)
    told = name.strip()
    if not 1 <= len(told) <= _NAME_LENGTH:
        raise InvalidInput(f"a name has 1 to {_NAME_LENGTH} characters", field="name")
    figures = {"overdraft": overdraft, "emergency": emergency, "monthlyGrant": monthly_grant}
    for field, amount in figures.items():
        if not ZERO <= amount <= MOST:
            raise InvalidInput(f"{field} is 0 to {MOST}", field=field)
    row = await work.fetchrow(
        "INSERT INTO charges_class AS c (group_id, id, project_id, name, overdraft_hao,"
        " emergency_hao, monthly_grant_hao) VALUES ($1, $2, $3, $4, $5, $6, $7)"
        " ON CONFLICT (group_id, project_id, name) DO UPDATE SET"
        " overdraft_hao = EXCLUDED.overdraft_hao, emergency_hao = EXCLUDED.emergency_hao,"
        " monthly_grant_hao = EXCLUDED.monthly_grant_hao RETURNING id",
        work.group_id,
        uuid7(at),
        project_id,
        told,
        overdraft.hao,
        emergency.hao,
        monthly_grant.hao,
    )
    assert row is not None, "an upsert returns its row"
    await record(
        work,
        actor=scope.actor,
        action="credit:class:save",
        subject=str(row["id"]),
        at=at,
        project_id=project_id,
        after={"name": told, **{field: str(amount) for field, amount in figures.items()}},
    )
    return CreditClass(row["id"], project_id, told, overdraft, emergency, monthly_grant)


async def classes_of_project(
    work: UnitOfWork, *, scope: Scope, project_id: UUID
) -> list[CreditClass]:
    """The classes of a project by name. Raises NotFound where the caller may not read (C29)."""
    if not scope.may(Permission.ACCOUNT_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        "SELECT * FROM charges_class WHERE group_id = $1 AND project_id = $2 ORDER BY name",
        work.group_id,
        project_id,
    )
    return [
        CreditClass(
            row["id"],
            row["project_id"],
            row["name"],
            Money(row["overdraft_hao"]),
            Money(row["emergency_hao"]),
            Money(row["monthly_grant_hao"]),
        )
        for row in rows
    ]


async def put_in_class(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    account_id: UUID,
    class_id: UUID,
    at: datetime,
) -> None:
    """Put an account of the project into a class. Raises NotFound (no such class there), Forbidden."""
    scope.require(Permission.CREDIT_WRITE, project_id)
    found = await work.fetchval(
        "SELECT name FROM charges_class WHERE group_id = $1 AND project_id = $2 AND id = $3",
        work.group_id,
        project_id,
        class_id,
    )
    if found is None:
        raise NotFound("no such credit class")
    await work.execute(
        "INSERT INTO charges_terms (group_id, project_id, account_id, class_id)"
        " VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (group_id, account_id) DO UPDATE SET class_id = EXCLUDED.class_id",
        work.group_id,
        project_id,
        account_id,
        class_id,
    )
    await record(
        work,
        actor=scope.actor,
        action="credit:account:class",
        subject=str(account_id),
        at=at,
        project_id=project_id,
        after={"class": found},
    )


async def draw_emergency(work: UnitOfWork, *, account_id: UUID, at: datetime) -> Money:
    """Let an account draw the emergency credit of its class; how much. Raises Conflict when it has none,
    or has drawn it and not had it back from a top-up yet."""
    drawn: int | None = await work.fetchval(
        "UPDATE charges_terms t SET emergency_hao = c.emergency_hao, emergency_at = $3"
        " FROM charges_class c WHERE c.group_id = t.group_id AND c.id = t.class_id"
        " AND t.group_id = $1 AND t.account_id = $2 AND t.emergency_hao = 0 AND c.emergency_hao > 0"
        " RETURNING t.emergency_hao",
        work.group_id,
        account_id,
        at,
    )
    if drawn is None:
        raise Conflict("no emergency credit is left: it is drawn already, or the class has none")
    return Money(drawn)


async def end_emergency(work: UnitOfWork, *, account_ids: Sequence[UUID]) -> None:
    """Emergency credit of these accounts is had back: it can be drawn again."""
    await work.execute(
        "UPDATE charges_terms SET emergency_hao = 0, emergency_at = NULL"
        " WHERE group_id = $1 AND account_id = ANY($2) AND emergency_hao > 0",
        work.group_id,
        list(account_ids),
    )


class GrantDue(NamedTuple):
    """An open account that was not given its grant of a month; `before`: the last month it was given one."""

    project_id: UUID
    account_id: UUID
    amount: Money
    before: date | None


async def grants_due(work: UnitOfWork, *, month: date, limit: int) -> list[GrantDue]:
    """Who has a grant of `month` to come, or one of an earlier month to end, held until commit."""
    rows = await work.fetch(
        "SELECT t.project_id, t.account_id, t.granted_month,"
        " CASE WHEN a.closed_at IS NULL THEN c.monthly_grant_hao ELSE 0 END AS amount_hao"
        " FROM charges_terms t"
        " JOIN charges_class c ON c.group_id = t.group_id AND c.id = t.class_id"
        " JOIN accounts_account a ON a.group_id = t.group_id AND a.id = t.account_id"
        " WHERE t.group_id = $1 AND (t.granted_month IS NULL OR t.granted_month < $2)"
        "  AND (c.monthly_grant_hao > 0 AND a.closed_at IS NULL OR t.granted_month IS NOT NULL)"
        " ORDER BY t.account_id LIMIT $3 FOR UPDATE OF t SKIP LOCKED",
        work.group_id,
        month,
        limit,
    )
    return [
        GrantDue(
            row["project_id"], row["account_id"], Money(row["amount_hao"]), row["granted_month"]
        )
        for row in rows
    ]


async def note_granted(work: UnitOfWork, *, account_id: UUID, month: date | None) -> None:
    """The account was given its grant of a month (None: it is given none any more)."""
    await work.execute(
        "UPDATE charges_terms SET granted_month = $3 WHERE group_id = $1 AND account_id = $2",
        work.group_id,
        account_id,
        month,
    )
