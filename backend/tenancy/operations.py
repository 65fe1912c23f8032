"""Writes of tenancy: projects, operators, roles, grants, sessions, sealed credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from tortoise.exceptions import IntegrityError

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict, InvalidInput, RateLimited
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.kernel.secrets import SecretBox

from .models import Operator, Project
from .rules import (
    PRESET_ROLES,
    SESSION_IDLE,
    SESSION_LIFE,
    Permission,
    failures_after,
    locked_until,
)


async def add_project(
    work: UnitOfWork, *, scope: Scope, code: str, name: str, kind: str, at: datetime
) -> Project:
    """Create a project. Raises Forbidden, InvalidInput, Conflict (the code is taken)."""
    scope.require(Permission.PROJECT_WRITE)
    if kind not in ("SHOPS", "DORMITORY", "COMMUNITY"):
        raise InvalidInput("kind is SHOPS, DORMITORY or COMMUNITY", field="kind")
    if not name.strip():
        raise InvalidInput("a project needs a name", field="name")
    try:
        project = await Project.create(
            id=uuid7(at), group_id=work.group_id, code=code, name=name, kind=kind, created_at=at
        )
    except IntegrityError as error:
        raise Conflict(f"the project code {code} is taken or not 2-32 of a-z, 0-9 and -") from error
    await record(
        work,
        actor=scope.actor,
        action="project:self:create",
        subject=str(project.id),
        at=at,
        project_id=project.id,
        after={"code": code, "name": name, "kind": kind},
    )
    return project


async def ensure_roles(work: UnitOfWork, *, at: datetime) -> dict[str, UUID]:
    """The preset roles of this group by name, made when they are missing."""
    for name, permissions in PRESET_ROLES.items():
        await work.execute(
            "INSERT INTO tenancy_role (group_id, id, name, permissions) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (group_id, name) DO NOTHING",
            work.group_id,
            uuid7(at),
            name,
            [str(p) for p in permissions],
        )
    rows = await work.fetch("SELECT id, name FROM tenancy_role WHERE group_id = $1", work.group_id)
    return {row["name"]: row["id"] for row in rows}


async def add_operator(
    work: UnitOfWork, *, scope: Scope, login: str, name: str, password_hash: str, at: datetime
) -> Operator:
    """Create an operator without grants. Raises Forbidden, Conflict (the login is taken)."""
    scope.require(Permission.OPERATOR_WRITE)
    try:
        operator = await Operator.create(
            id=uuid7(at),
            group_id=work.group_id,
            login=login,
            name=name,
            password_hash=password_hash,
            created_at=at,
        )
    except IntegrityError as error:
        raise Conflict(
            f"the login {login} is taken or not 2-32 of a-z, 0-9, dot, dash, underscore"
        ) from error
    await record(
        work,
        actor=scope.actor,
        action="operator:self:create",
        subject=str(operator.id),
        at=at,
        after={"login": login, "name": name},
    )
    return operator


async def grant(
    work: UnitOfWork,
    *,
    scope: Scope,
    operator_id: UUID,
    role: str,
    project_id: UUID | None,
    at: datetime,
) -> None:
    """Give an operator a role in a project, or (project_id None) in the whole group.

    Raises Forbidden, InvalidInput (no such role, operator or project in this group).
    """
    scope.require(Permission.OPERATOR_WRITE)
    roles = await ensure_roles(work, at=at)
    if role not in roles:
        raise InvalidInput(f"no role named {role}", field="role")
    for table, wanted in (("operator", operator_id), ("project", project_id)):
        if wanted is not None and not await _exists(work, table, wanted):
            raise InvalidInput(f"no such {table} in this group", field=f"{table}Id")
    await work.execute(
        "INSERT INTO tenancy_grant (group_id, id, operator_id, role_id, project_id, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        work.group_id,
        uuid7(at),
        operator_id,
        roles[role],
        project_id,
        at,
    )
    await record(
        work,
        actor=scope.actor,
        action="operator:role:grant",
        subject=str(operator_id),
        at=at,
        project_id=project_id,
        after={"role": role},
    )


async def _exists(work: UnitOfWork, table: str, wanted: UUID) -> bool:
    model = {"operator": Operator, "project": Project}[table]
    return await model.filter(group_id=work.group_id, id=wanted).exists()


async def open_session(
    work: UnitOfWork, *, operator_id: UUID, login: str, token_digest: bytes, at: datetime
) -> None:
    """Start a session and forget the failed tries."""
    await work.execute(
        "INSERT INTO tenancy_session"
        " (group_id, token_digest, operator_id, created_at, seen_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $4, $5)",
        work.group_id,
        token_digest,
        operator_id,
        at,
        at + SESSION_LIFE,
    )
    await work.execute(
        "DELETE FROM tenancy_login_try WHERE group_id = $1 AND login = $2", work.group_id, login
    )


async def count_login_try(work: UnitOfWork, *, login: str, at: datetime) -> Operator | None:
    """Count a try before the password is looked at; None when nobody has that login.

    Counted under the row's lock, so that many guesses at once are as many tries, and for every
    login alike; `open_session` forgets them. PostgreSQL is the throttle's memory: a Redis flush
    frees nobody. Raises RateLimited.
    """
    await work.execute(
        "INSERT INTO tenancy_login_try (group_id, login, since) VALUES ($1, $2, $3)"
        " ON CONFLICT DO NOTHING",
        work.group_id,
        login,
        at,
    )
    row = await work.fetchrow(
        "SELECT failed, since FROM tenancy_login_try WHERE group_id = $1 AND login = $2 FOR UPDATE",
        work.group_id,
        login,
    )
    assert row is not None
    until = locked_until(failed=row["failed"], since=row["since"], now=at)
    if until is not None:
        wait = int((until - at).total_seconds()) + 1
        raise RateLimited("too many failed tries; wait a while", retry_after_s=wait)
    failed, since = failures_after(failed=row["failed"], since=row["since"], now=at)
    await work.execute(
        "UPDATE tenancy_login_try SET failed = $3, since = $4 WHERE group_id = $1 AND login = $2",
        work.group_id,
        login,
        failed,
        since,
    )
    return await Operator.get_or_none(group_id=work.group_id, login=login)


async def forget_login_tries(work: UnitOfWork, *, before: datetime) -> None:
    """Drop counts whose window began before `before`."""
    await work.execute(
        "DELETE FROM tenancy_login_try WHERE group_id = $1 AND since < $2", work.group_id, before
    )


async def touch_session(work: UnitOfWork, *, token_digest: bytes, at: datetime) -> UUID | None:
    """The operator of a live session, or None; moves its idle limit."""
    operator_id: UUID | None = await work.fetchval(
        "UPDATE tenancy_session SET seen_at = $3 WHERE group_id = $1 AND token_digest = $2"
        " AND expires_at > $3 AND seen_at > $4 RETURNING operator_id",
        work.group_id,
        token_digest,
        at,
        at - SESSION_IDLE,
    )
    return operator_id


async def close_session(work: UnitOfWork, *, token_digest: bytes) -> None:
    """End a session; ending it twice is fine."""
    await work.execute(
        "DELETE FROM tenancy_session WHERE group_id = $1 AND token_digest = $2",
        work.group_id,
        token_digest,
    )


async def save_credential(
    work: UnitOfWork,
    *,
    scope: Scope,
    box: SecretBox,
    kind: str,
    key: str,
    project_id: UUID | None,
    public: Mapping[str, str],
    secret: Mapping[str, str],
    at: datetime,
) -> UUID:
    """Store credentials of a provider, sealed; the audit names what was set, never its value.

    Raises Forbidden. A credential of the same kind, key and project is replaced; the one
    set last is in use.
    """
    scope.require(Permission.CREDENTIAL_WRITE, project_id)
    place = f"{work.group_id}/{kind}/{key}"
    credential_id: UUID = await work.fetchval(
        "INSERT INTO tenancy_credential"
        " (group_id, id, project_id, kind, key, public, sealed, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        " ON CONFLICT (group_id, kind, key, project_id)"
        " DO UPDATE SET public = EXCLUDED.public, sealed = EXCLUDED.sealed,"
        " created_at = EXCLUDED.created_at RETURNING id",
        work.group_id,
        uuid7(at),
        project_id,
        kind,
        key,
        dict(public),
        box.seal(secret, place=place),
        at,
    )
    await record(
        work,
        actor=scope.actor,
        action="credential:self:set",
        subject=f"{kind}/{key}",
        at=at,
        project_id=project_id,
        after={"fields": _sorted_names(public, secret)},
    )
    return credential_id


def _sorted_names(*parts: Mapping[str, str]) -> list[str]:
    names: Sequence[str] = [name for part in parts for name in part]
    return sorted(names)
