"""What accounts pay by: a first tariff is given by one person, a change is proposed by one and approved by
another (C22, C30)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .queries import Tariff, assignments_of_accounts, tariff

MOST_ACCOUNTS = 1_000  # of one batch


class ChangeState(StrEnum):
    """PROPOSED waits for a second person; APPROVED was done; REJECTED was not."""

    PROPOSED = "PROPOSED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Change:
    """Accounts that are to pay by a tariff from an instant on. `note`: why it was rejected."""

    id: UUID
    project_id: UUID
    tariff_id: UUID
    account_ids: tuple[UUID, ...]
    started_at: datetime
    state: ChangeState
    proposed_by: str
    proposed_name: str
    proposed_at: datetime
    decided_by: str | None
    decided_name: str | None
    decided_at: datetime | None
    note: str | None


def change_of(row: Row) -> Change:
    """A change from its table row."""
    held = {name: row[name] for name in Change.__dataclass_fields__}
    held["account_ids"] = tuple(row["account_ids"])
    held["state"] = ChangeState(row["state"])
    return Change(**held)


async def assign_first(
    work: UnitOfWork,
    *,
    scope: Scope,
    tariff_id: UUID,
    account_ids: Sequence[UUID],
    started_at: datetime,
    at: datetime,
) -> int:
    """Give accounts their first tariff of a kind from an instant on, which may be past: nothing was charged
    yet. Gives their number.

    Raises NotFound, Forbidden, InvalidInput, Conflict (no approved version holds then, an account is
    closed, or has a tariff of that kind: that is a change of price, to be proposed).
    """
    of = await tariff(work, scope=scope, tariff_id=tariff_id)
    scope.require(Permission.TARIFF_WRITE, of.project_id)
    wanted = await _checked(work, scope, of, account_ids, started_at)
    held = await assignments_of_accounts(work, account_ids=wanted)
    if any(each.kind is of.kind for before in held.values() for each in before):
        raise Conflict("an account pays by a tariff already: propose the change to a second person")
    await _write(work, scope, of, wanted, started_at, at)
    await record(
        work,
        actor=scope.actor,
        action="tariff:accounts:assign",
        subject=str(tariff_id),
        at=at,
        project_id=of.project_id,
        after={
            "from": started_at.isoformat(),
            "accounts": [str(account_id) for account_id in wanted],
        },
    )
    return len(wanted)


async def propose_change(
    work: UnitOfWork,
    *,
    scope: Scope,
    tariff_id: UUID,
    account_ids: Sequence[UUID],
    started_at: datetime,
    at: datetime,
) -> Change:
    """Ask a second person to let accounts pay by a tariff from an instant on. Raises NotFound, Forbidden,
    InvalidInput, Conflict (no approved version holds then, an account is closed)."""
    of = await tariff(work, scope=scope, tariff_id=tariff_id)
    scope.require(Permission.TARIFF_WRITE, of.project_id)
    if started_at < at:
        raise InvalidInput("a change holds from now on at the earliest", field="startedAt")
    wanted = await _checked(work, scope, of, account_ids, started_at)
    row = await work.fetchrow(
        "INSERT INTO tariffs_change (group_id, id, project_id, tariff_id, account_ids, started_at,"
        " state, proposed_by, proposed_name, proposed_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, 'PROPOSED', $7, $8, $9) RETURNING *",
        work.group_id,
        uuid7(at),
        of.project_id,
        tariff_id,
        wanted,
        started_at,
        scope.actor.id,
        scope.actor.name,
        at,
    )
    assert row is not None
    made = change_of(row)
    await _record(work, scope, made, "tariff:change:propose", at)
    return made


async def approve_change(
    work: UnitOfWork, *, scope: Scope, change_id: UUID, at: datetime
) -> Change:
    """Do what was proposed. Raises NotFound, Forbidden (also for who proposed it, C30), Conflict (decided
    before, its instant is over, an account was closed or no version holds any more)."""
    found = await _locked(work, scope, change_id)
    if scope.actor.id == found.proposed_by:
        raise Forbidden("who proposed a change of price cannot approve it")
    if found.started_at < at:
        raise Conflict("its instant is over, and prices never change backwards: propose it anew")
    of = await tariff(work, scope=scope, tariff_id=found.tariff_id)
    wanted = await _checked(work, scope, of, found.account_ids, found.started_at)
    await _write(work, scope, of, wanted, found.started_at, at)
    return await _decide(work, scope, found, ChangeState.APPROVED, None, at)


async def reject_change(
    work: UnitOfWork, *, scope: Scope, change_id: UUID, note: str, at: datetime
) -> Change:
    """Refuse what was proposed. Raises NotFound, Forbidden, InvalidInput, Conflict (decided before)."""
    found = await _locked(work, scope, change_id)
    told = note.strip()
    if not 4 <= len(told) <= 200:
        raise InvalidInput("say in a few words why", field="note")
    return await _decide(work, scope, found, ChangeState.REJECTED, told, at)


async def change(work: UnitOfWork, *, scope: Scope, change_id: UUID) -> Change:
    """One change for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM tariffs_change WHERE group_id = $1 AND id = $2", work.group_id, change_id
    )
    if row is None or not scope.may(Permission.TARIFF_READ, row["project_id"]):
        raise NotFound("no such tariff change")
    return change_of(row)


async def changes_page(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, before: UUID | None, limit: int
) -> list[Change]:
    """Changes of a project, newest first, those older than `before`. Raises NotFound (C29)."""
    if not scope.may(Permission.TARIFF_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        "SELECT * FROM tariffs_change WHERE group_id = $1 AND project_id = $2"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        work.group_id,
        project_id,
        before,
        limit,
    )
    return [change_of(row) for row in rows]


async def _checked(
    work: UnitOfWork,
    scope: Scope,
    of: Tariff,
    account_ids: Sequence[UUID],
    started_at: datetime,
) -> list[UUID]:
    """The accounts, each once and locked, when all may pay by the tariff from then on. Raises NotFound,
    InvalidInput, Conflict."""
    wanted = list(dict.fromkeys(account_ids))
    if not 1 <= len(wanted) <= MOST_ACCOUNTS:
        raise InvalidInput(f"1 to {MOST_ACCOUNTS} accounts a batch", field="accounts")
    held = await work.fetchval(
        "SELECT 1 FROM tariffs_version WHERE group_id = $1 AND tariff_id = $2"
        " AND state = 'APPROVED' AND effective_at <= $3 LIMIT 1",
        work.group_id,
        of.id,
        started_at,
    )
    if held is None:
        raise Conflict("no approved version of this tariff holds at that instant")
    rows = await work.fetch(
        "SELECT id, no, opened_at, closed_at FROM accounts_account WHERE group_id = $1"
        " AND project_id = $2 AND id = ANY($3) ORDER BY id FOR NO KEY UPDATE",
        work.group_id,
        of.project_id,
        wanted,
    )
    if len(rows) != len(wanted) or not scope.may(Permission.ACCOUNT_READ, of.project_id):
        raise NotFound("no such account")
    for row in rows:
        if row["closed_at"] is not None:
            raise Conflict(f"account {row['no']} is closed")
        if started_at < row["opened_at"]:
            raise InvalidInput(f"account {row['no']} was opened later", field="startedAt")
    return wanted


async def _write(
    work: UnitOfWork,
    scope: Scope,
    of: Tariff,
    wanted: Sequence[UUID],
    started_at: datetime,
    at: datetime,
) -> None:
    """Let the accounts pay by the tariff from then on; later ones of its kind that have not begun are
    superseded. The accounts are held (`_checked`), so nobody else writes of the same instant."""
    await work.execute(
        "UPDATE tariffs_assignment SET superseded_at = $5 WHERE group_id = $1"
        " AND account_id = ANY($2) AND kind = $3 AND started_at >= $4 AND started_at >= $5"
        " AND superseded_at IS NULL",
        work.group_id,
        wanted,
        of.kind,
        started_at,
        at,
    )
    await work.execute(
        "INSERT INTO tariffs_assignment (group_id, id, project_id, account_id, kind, tariff_id,"
        " started_at, assigned_by, assigned_at)"
        " SELECT $1, ids.id, $2, ids.account_id, $3, $4, $5, $6, $7"
        " FROM unnest($8::uuid[], $9::uuid[]) AS ids(id, account_id)",
        work.group_id,
        of.project_id,
        of.kind,
        of.id,
        started_at,
        scope.actor.id,
        at,
        [uuid7(at) for _ in wanted],
        wanted,
    )


async def _locked(work: UnitOfWork, scope: Scope, change_id: UUID) -> Change:
    """The change, still undecided, its row locked until commit. Raises NotFound, Forbidden, Conflict."""
    found = await change(work, scope=scope, change_id=change_id)
    scope.require(Permission.TARIFF_APPROVE, found.project_id)
    row = await work.fetchrow(
        "SELECT * FROM tariffs_change WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        change_id,
    )
    assert row is not None, "changes are never deleted"
    found = change_of(row)
    if found.state is not ChangeState.PROPOSED:
        raise Conflict(f"this change is {found.state} already")
    return found


async def _decide(
    work: UnitOfWork,
    scope: Scope,
    found: Change,
    state: ChangeState,
    note: str | None,
    at: datetime,
) -> Change:
    row = await work.fetchrow(
        "UPDATE tariffs_change SET state = $3, decided_by = $4, decided_name = $5, decided_at = $6,"
        " note = $7 WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        found.id,
        state,
        scope.actor.id,
        scope.actor.name,
        at,
        note,
    )
    assert row is not None, "its row is locked"
    made = change_of(row)
    verb = "approve" if state is ChangeState.APPROVED else "reject"
    await _record(work, scope, made, f"tariff:change:{verb}", at)
    return made


async def _record(work: UnitOfWork, scope: Scope, made: Change, action: str, at: datetime) -> None:
    await record(
        work,
        actor=scope.actor,
        action=action,
        subject=str(made.id),
        at=at,
        project_id=made.project_id,
        after={
            "tariff": str(made.tariff_id),
            "from": made.started_at.isoformat(),
            "state": str(made.state),
            "note": made.note,
            "accounts": [str(account_id) for account_id in made.account_ids],
        },
    )
