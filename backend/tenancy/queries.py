"""Reads of tenancy, and the doors: a group by its code, an object only with the caller's scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork, platform_connection
from backend.kernel.errors import NotFound
from backend.kernel.scope import Actor, Scope
from backend.kernel.secrets import SecretBox

from .models import Operator, Project
from .rules import SESSION_IDLE, Permission


@dataclass(frozen=True, slots=True)
class Credential:
    """An opened credential; `repr` shows no secret."""

    id: UUID
    project_id: UUID | None
    kind: str
    key: str
    public: Mapping[str, str]
    secret: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Credential({self.kind}, {self.key})"


async def group_of_code(code: str) -> int | None:
    """The group a code means, or None."""
    async with platform_connection() as connection:
        group_id: int | None = await connection.fetchval("SELECT tenancy_group_of_code($1)", code)
    return group_id


async def all_groups() -> list[int]:
    """Every group: for the clock's work (sweeps, janitor), which then enters one at a time."""
    async with platform_connection() as connection:
        rows = await connection.fetch("SELECT tenancy_groups() AS group_id")
    return [row["group_id"] for row in rows]


async def group_name(work: UnitOfWork) -> tuple[str, str]:
    """(code, name) of the unit of work's group."""
    row = await work.fetchrow(
        "SELECT code, name FROM tenancy_group WHERE group_id = $1", work.group_id
    )
    assert row is not None
    return row["code"], row["name"]


async def scope_of(work: UnitOfWork, *, operator_id: UUID, address: str) -> Scope | None:
    """An operator's rights as they are now (grants are read per request, never cached)."""
    operator = await Operator.get_or_none(group_id=work.group_id, id=operator_id)
    if operator is None or operator.disabled_at is not None:
        return None
    rows = await work.fetch(
        "SELECT g.project_id, r.permissions FROM tenancy_grant g"
        " JOIN tenancy_role r ON r.group_id = g.group_id AND r.id = g.role_id"
        " WHERE g.group_id = $1 AND g.operator_id = $2",
        work.group_id,
        operator_id,
    )
    group: set[str] = set()
    projects: dict[UUID, frozenset[str]] = {}
    for row in rows:
        if row["project_id"] is None:
            group |= set(row["permissions"])
        else:
            held = projects.get(row["project_id"], frozenset())
            projects[row["project_id"]] = held | frozenset(row["permissions"])
    return Scope(
        group_id=work.group_id,
        actor=Actor("operator", str(operator.id), operator.login, address),
        group_permissions=frozenset(group),
        project_permissions=projects,
    )


async def projects(work: UnitOfWork, *, scope: Scope) -> list[Project]:
    """The projects this caller may read, by code."""
    found = Project.filter(group_id=work.group_id).order_by("code")
    granted = scope.projects(Permission.PROJECT_READ)
    if granted is not None:
        found = found.filter(id__in=list(granted))
    return await found


async def project(work: UnitOfWork, *, scope: Scope, project_id: UUID) -> Project:
    """One project. Raises NotFound, the same for another group's or an ungranted one (C29)."""
    found = await Project.get_or_none(group_id=work.group_id, id=project_id)
    if found is None or not scope.may(Permission.PROJECT_READ, project_id):
        raise NotFound("no such project")
    return found


async def all_projects(work: UnitOfWork) -> list[Project]:
    """The projects of this group, for jobs that act without an operator."""
    return await Project.filter(group_id=work.group_id).order_by("id")


async def project_by_id(work: UnitOfWork, *, project_id: UUID) -> Project:
    """One project of this group, for journeys that act without an operator."""
    found = await Project.get_or_none(group_id=work.group_id, id=project_id)
    if found is None:
        raise NotFound("no such project")
    return found


async def credential(
    work: UnitOfWork, *, box: SecretBox, kind: str, project_id: UUID | None
) -> Credential:
    """The newest credential of a kind for a project. Raises NotFound."""
    row = await work.fetchrow(
        "SELECT * FROM tenancy_credential WHERE group_id = $1 AND kind = $2"
        " AND project_id IS NOT DISTINCT FROM $3 ORDER BY created_at DESC LIMIT 1",
        work.group_id,
        kind,
        project_id,
    )
    if row is None:
        raise NotFound(f"no {kind} credential is set for this project")
    return _opened(work, box, row)


async def merchant_kinds(work: UnitOfWork, *, project_id: UUID) -> list[str]:
    """The payment channels at which a project has a merchant account, by name."""
    rows = await work.fetch(
        "SELECT DISTINCT kind FROM tenancy_credential WHERE group_id = $1 AND project_id = $2"
        " ORDER BY kind",
        work.group_id,
        project_id,
    )
    return [row["kind"] for row in rows]


async def credential_by_id(work: UnitOfWork, *, box: SecretBox, credential_id: UUID) -> Credential:
    """One credential. Raises NotFound."""
    row = await work.fetchrow(
        "SELECT * FROM tenancy_credential WHERE group_id = $1 AND id = $2",
        work.group_id,
        credential_id,
    )
    if row is None:
        raise NotFound("no such credential")
    return _opened(work, box, row)


@dataclass(frozen=True, slots=True)
class MerchantAccount:
    """A project's account at a payment channel, without its secrets: `kind` is the channel."""

    id: UUID
    project_id: UUID
    kind: str
    key: str


async def merchant_accounts(work: UnitOfWork) -> list[MerchantAccount]:
    """The merchant accounts of all projects of the group: what belongs to a project is one."""
    rows = await work.fetch(
        "SELECT id, project_id, kind, key FROM tenancy_credential"
        " WHERE group_id = $1 AND project_id IS NOT NULL ORDER BY id",
        work.group_id,
    )
    return [MerchantAccount(*row) for row in rows]


async def merchant_kind(work: UnitOfWork, *, credential_id: UUID) -> str:
    """The channel of a merchant account."""
    kind: str = await work.fetchval(
        "SELECT kind FROM tenancy_credential WHERE group_id = $1 AND id = $2",
        work.group_id,
        credential_id,
    )
    return kind


async def credential_by_key(work: UnitOfWork, *, box: SecretBox, kind: str, key: str) -> Credential:
    """The credential of a kind with that key (an app id). Raises NotFound."""
    row = await work.fetchrow(
        "SELECT * FROM tenancy_credential WHERE group_id = $1 AND kind = $2 AND key = $3"
        " ORDER BY created_at DESC LIMIT 1",
        work.group_id,
        kind,
        key,
    )
    if row is None:
        raise NotFound("no such credential")
    return _opened(work, box, row)


def _opened(work: UnitOfWork, box: SecretBox, row: Row) -> Credential:
    place = f"{work.group_id}/{row['kind']}/{row['key']}"
    return Credential(
        id=row["id"],
        project_id=row["project_id"],
        kind=row["kind"],
        key=row["key"],
        public=row["public"],
        secret=box.open(row["sealed"], place=place),
    )


async def live_session(work: UnitOfWork, *, token_digest: bytes, at: datetime) -> UUID | None:
    """The operator of a live session, or None; unlike `touch_session` it keeps nobody signed in."""
    operator_id: UUID | None = await work.fetchval(
        "SELECT operator_id FROM tenancy_session WHERE group_id = $1 AND token_digest = $2"
        " AND expires_at > $3 AND seen_at > $4",
        work.group_id,
        token_digest,
        at,
        at - SESSION_IDLE,
    )
    return operator_id


async def operator_by_id(work: UnitOfWork, *, operator_id: UUID) -> Operator:
    """One operator of this group. Raises NotFound."""
    found = await Operator.get_or_none(group_id=work.group_id, id=operator_id)
    if found is None:
        raise NotFound("no such operator")
    return found
