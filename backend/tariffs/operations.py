"""Writes of tariffs and their versions: drafted by one, approved by another, each with its audit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.audit.rules import State
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .queries import (
    Tariff,
    Version,
    VersionState,
    tariff,
    tariff_of,
    version,
    version_before,
    version_beside,
    version_of,
)
from .rules import TariffKind, Terms
from .terms import as_json, check_terms, jumps

_ACTIONS = {
    VersionState.SUBMITTED: "tariff:version:submit",
    VersionState.APPROVED: "tariff:version:approve",
    VersionState.REJECTED: "tariff:version:reject",
}
_NAME_LENGTH = 64


async def add_tariff(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, kind: TariffKind, name: str, at: datetime
) -> Tariff:
    """A new tariff without a version. Raises NotFound, Forbidden, InvalidInput, Conflict (the name)."""
    _may(scope, Permission.TARIFF_WRITE, project_id, "no such project")
    told = name.strip()
    if not 1 <= len(told) <= _NAME_LENGTH:
        raise InvalidInput(f"a name has 1 to {_NAME_LENGTH} characters", field="name")
    row = await work.fetchrow(
        "INSERT INTO tariffs_tariff (group_id, id, project_id, kind, name, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (group_id, project_id, name) DO NOTHING RETURNING *",
        work.group_id,
        uuid7(at),
        project_id,
        kind,
        told,
        at,
    )
    if row is None:
        raise Conflict("this project has a tariff of that name")
    made = tariff_of(row)
    await record(
        work,
        actor=scope.actor,
        action="tariff:self:add",
        subject=str(made.id),
        at=at,
        project_id=project_id,
        after={"kind": str(kind), "name": told},
    )
    return made


async def draft_version(
    work: UnitOfWork,
    *,
    scope: Scope,
    tariff_id: UUID,
    terms: Terms,
    effective_at: datetime,
    at: datetime,
) -> Version:
    """A new version of a tariff, to be submitted. What it says is never changed; a better draft is a
    new one. Raises NotFound, Forbidden, InvalidInput."""
    of = await tariff(work, scope=scope, tariff_id=tariff_id)
    scope.require(Permission.TARIFF_WRITE, of.project_id)
    check_terms(terms)
    if terms.kind is not of.kind:
        raise InvalidInput(f"this is a tariff of {of.kind}", field="kind")
    await work.execute(  # numbers rise without gaps whoever drafts at the same time
        "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", str(tariff_id), work.group_id
    )
    row = await work.fetchrow(
        "INSERT INTO tariffs_version (group_id, id, project_id, tariff_id, number, terms,"
        " effective_at, state, drafted_by, drafted_name, drafted_at)"
        " SELECT $1, $2, $3, $4, coalesce(max(number), 0) + 1, $5, $6, 'DRAFT', $7, $8, $9"
        " FROM tariffs_version WHERE group_id = $1 AND tariff_id = $4 RETURNING *",
        work.group_id,
        uuid7(at),
        of.project_id,
        tariff_id,
        as_json(terms),
        effective_at,
        scope.actor.id,
        scope.actor.name,
        at,
    )
    assert row is not None
    made = version_of(row)
    after = _state(made) | {"terms": json.dumps(as_json(terms))}
    await _record(work, scope, made, "tariff:version:draft", at, after=after)
    return made


async def submit_version(
    work: UnitOfWork, *, scope: Scope, version_id: UUID, confirm_jumps: bool, at: datetime
) -> Version:
    """Hand a draft to a second person. A first version is compared with another tariff of its kind.

    Raises NotFound, Forbidden, InvalidInput (a price is many times the former one and `confirm_jumps` is not
    said), Conflict (it is no draft, or would hold too early).
    """
    draft = await _locked(work, scope, version_id, Permission.TARIFF_WRITE)
    if draft.state is not VersionState.DRAFT:
        raise Conflict(f"this version is {draft.state} already")
    before = await version_before(work, tariff_id=draft.tariff_id, at=draft.effective_at)
    _refuse_late(draft, before, at)
    known = before or await version_beside(work, version=draft)
    told = jumps(None if known is None else known.terms, draft.terms)
    if told and not confirm_jumps:
        raise InvalidInput("many times the former price: " + "; ".join(told), field="confirmJumps")
    return await _moved(work, scope, draft, VersionState.SUBMITTED, at, told=told)


async def approve_version(
    work: UnitOfWork, *, scope: Scope, version_id: UUID, at: datetime
) -> Version:
    """Let a submitted version hold from its instant on. Raises NotFound, Forbidden (also for who
    drafted or submitted it, C30), Conflict (not submitted, its instant is over or taken)."""
    waiting = await _locked(work, scope, version_id, Permission.TARIFF_APPROVE)
    if waiting.state is not VersionState.SUBMITTED:
        raise Conflict(f"this version is {waiting.state}, not submitted")
    if scope.actor.id in (waiting.drafted_by, waiting.submitted_by):
        raise Forbidden("who drafted or submitted a price cannot approve it")
    before = await version_before(work, tariff_id=waiting.tariff_id, at=waiting.effective_at)
    _refuse_late(waiting, before, at)
    taken = await work.fetchval(
        "SELECT number FROM tariffs_version WHERE group_id = $1 AND tariff_id = $2"
        " AND effective_at = $3 AND state = 'APPROVED'",
        work.group_id,
        waiting.tariff_id,
        waiting.effective_at,
    )
    if taken is not None:
        raise Conflict(f"version {taken} holds from that instant on")
    return await _moved(work, scope, waiting, VersionState.APPROVED, at)


async def reject_version(
    work: UnitOfWork, *, scope: Scope, version_id: UUID, note: str, at: datetime
) -> Version:
    """Refuse a version, or take back an approved one before it holds. Raises NotFound, Forbidden,
    InvalidInput, Conflict (rejected before, it holds already, or accounts are to pay by it)."""
    found = await _locked(work, scope, version_id, Permission.TARIFF_APPROVE)
    told = note.strip()
    if not 4 <= len(told) <= 200:
        raise InvalidInput("say in a few words why", field="note")
    if found.state is VersionState.REJECTED:
        raise Conflict("this version was rejected before")
    if found.state is VersionState.APPROVED:
        await _refuse_needed(work, found, at)
    return await _moved(work, scope, found, VersionState.REJECTED, at, note=told)


async def _refuse_needed(work: UnitOfWork, found: Version, at: datetime) -> None:
    """Raises Conflict when an approved version holds already, or accounts would be left without a price."""
    if found.effective_at <= at:
        raise Conflict("this version holds already: approve another one")
    bare = await work.fetchval(
        "SELECT 1 FROM tariffs_assignment a WHERE a.group_id = $1 AND a.tariff_id = $2"
        " AND a.superseded_at IS NULL AND NOT EXISTS (SELECT FROM tariffs_version v"
        "   WHERE v.group_id = $1 AND v.tariff_id = $2 AND v.state = 'APPROVED' AND v.id <> $3"
        "   AND v.effective_at <= a.started_at) LIMIT 1",
        work.group_id,
        found.tariff_id,
        found.id,
    )
    if bare is not None:
        raise Conflict("accounts are to pay by this version: approve another one")


def _may(scope: Scope, permission: Permission, project_id: UUID, missing: str) -> None:
    if not scope.may(Permission.TARIFF_READ, project_id):
        raise NotFound(missing)
    scope.require(permission, project_id)


def _refuse_late(found: Version, before: Version | None, at: datetime) -> None:
    """A version may hold from the past on only as the first of its tariff: nobody paid by it yet."""
    if found.effective_at < at and before is not None:
        raise Conflict("its instant is over, and prices never change backwards: draft it anew")


async def _locked(
    work: UnitOfWork, scope: Scope, version_id: UUID, permission: Permission
) -> Version:
    """The version with its tariff locked until commit: two of them are never decided at once."""
    found = await version(work, scope=scope, version_id=version_id)
    scope.require(permission, found.project_id)
    await work.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))",
        str(found.tariff_id),
        work.group_id,
    )
    return await version(work, scope=scope, version_id=version_id)


async def _moved(
    work: UnitOfWork,
    scope: Scope,
    found: Version,
    state: VersionState,
    at: datetime,
    *,
    told: Sequence[str] | None = None,
    note: str | None = None,
) -> Version:
    """The version in its next state, by this actor: who submitted it, or who decided over it."""
    row = await work.fetchrow(
        "UPDATE tariffs_version SET state = $3,"
        " submitted_by = CASE WHEN $3 = 'SUBMITTED' THEN $4 ELSE submitted_by END,"
        " submitted_name = CASE WHEN $3 = 'SUBMITTED' THEN $5 ELSE submitted_name END,"
        " submitted_at = CASE WHEN $3 = 'SUBMITTED' THEN $6 ELSE submitted_at END,"
        " decided_by = CASE WHEN $3 = 'SUBMITTED' THEN decided_by ELSE $4 END,"
        " decided_name = CASE WHEN $3 = 'SUBMITTED' THEN decided_name ELSE $5 END,"
        " decided_at = CASE WHEN $3 = 'SUBMITTED' THEN decided_at ELSE $6 END,"
        " jumps = coalesce($7, jumps), note = coalesce($8, note)"
        " WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        found.id,
        state,
        scope.actor.id,
        scope.actor.name,
        at,
        told,
        note,
    )
    assert row is not None, "its tariff is locked"
    moved = version_of(row)
    before = {"state": str(found.state)}
    after = _state(moved) | {"jumps": list(moved.jumps), "note": moved.note}
    await _record(work, scope, moved, _ACTIONS[state], at, before=before, after=after)
    return moved


async def _record(
    work: UnitOfWork,
    scope: Scope,
    moved: Version,
    action: str,
    at: datetime,
    *,
    before: State | None = None,
    after: State,
) -> None:
    await record(
        work,
        actor=scope.actor,
        action=action,
        subject=str(moved.id),
        at=at,
        project_id=moved.project_id,
        before=before,
        after=after,
    )


def _state(found: Version) -> dict[str, str | int | bool | list[str] | None]:
    return {
        "tariff": str(found.tariff_id),
        "number": found.number,
        "state": str(found.state),
        "from": found.effective_at.isoformat(),
    }
