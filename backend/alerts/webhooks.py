"""Where a project's own system hears the news of its customers (A23): kept sealed, told by the outbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.kernel.secrets import SecretBox
from backend.tenancy.queries import project
from backend.tenancy.rules import Permission

from .webhook_rules import check_webhook


@dataclass(frozen=True, slots=True)
class Webhook:
    """A project's receiver, without its secret. `taken_at`: when it last answered well; `last_error`: why it
    did not since."""

    project_id: UUID
    url: str
    set_by: str
    set_at: datetime
    taken_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class OpenedWebhook:
    """A receiver with what signs to it."""

    url: str
    secret: str = field(repr=False)


async def webhook(work: UnitOfWork, *, scope: Scope, project_id: UUID) -> Webhook | None:
    """The project's receiver, None when it has none. Raises NotFound (C29)."""
    await project(work, scope=scope, project_id=project_id)
    if not scope.may(Permission.MESSAGE_READ, project_id):
        raise NotFound("no such project")
    row = await _row(work, project_id)
    return None if row is None else _webhook(row)


async def opened_webhook(
    work: UnitOfWork, *, box: SecretBox, project_id: UUID
) -> OpenedWebhook | None:
    """What is needed to tell it; None: it was taken away."""
    row = await _row(work, project_id)
    if row is None:
        return None
    secret = box.open(row["sealed"], place=_place(work, project_id))
    return OpenedWebhook(row["url"], secret["secret"])


async def set_webhook(
    work: UnitOfWork,
    *,
    scope: Scope,
    box: SecretBox,
    project_id: UUID,
    url: str,
    secret: str,
    local: bool,
    at: datetime,
) -> Webhook:
    """Put the project's receiver in place of the last one; the secret is sealed and never shown again.

    `local`: a sandbox, in which http and private addresses may be. Raises NotFound, Forbidden, InvalidInput.
    """
    before = await webhook(work, scope=scope, project_id=project_id)
    scope.require(Permission.MESSAGE_WRITE, project_id)
    check_webhook(url=url, secret=secret, local=local)
    row = await work.fetchrow(
        "INSERT INTO alerts_webhook (group_id, project_id, url, sealed, set_by, set_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (group_id, project_id) DO UPDATE SET"
        " url = EXCLUDED.url, sealed = EXCLUDED.sealed, set_by = EXCLUDED.set_by,"
        " set_at = EXCLUDED.set_at, taken_at = NULL, last_error = NULL RETURNING *",
        work.group_id,
        project_id,
        url,
        box.seal({"secret": secret}, place=_place(work, project_id)),
        scope.actor.name,
        at,
    )
    assert row is not None
    await _note(work, scope, "message:webhook:set", project_id, before, url, at)
    return _webhook(row)


async def remove_webhook(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, at: datetime
) -> Webhook:
    """Take the receiver away; what waits for it is dropped. Raises NotFound, Forbidden."""
    before = await webhook(work, scope=scope, project_id=project_id)
    scope.require(Permission.MESSAGE_WRITE, project_id)
    if before is None:
        raise NotFound("the project has no webhook")
    await work.execute(
        "DELETE FROM alerts_webhook WHERE group_id = $1 AND project_id = $2",
        work.group_id,
        project_id,
    )
    await _note(work, scope, "message:webhook:remove", project_id, before, None, at)
    return before


async def note_webhook(
    work: UnitOfWork, *, project_id: UUID, error: str | None, at: datetime
) -> None:
    """Note how a try at the receiver ended."""
    await work.execute(
        "UPDATE alerts_webhook SET last_error = $3,"
        " taken_at = CASE WHEN $3::text IS NULL THEN $4 ELSE taken_at END"
        " WHERE group_id = $1 AND project_id = $2",
        work.group_id,
        project_id,
        error,
        at,
    )


async def _row(work: UnitOfWork, project_id: UUID) -> Row | None:
    return await work.fetchrow(
        "SELECT * FROM alerts_webhook WHERE group_id = $1 AND project_id = $2",
        work.group_id,
        project_id,
    )


async def _note(
    work: UnitOfWork,
    scope: Scope,
    action: str,
    project_id: UUID,
    before: Webhook | None,
    url: str | None,
    at: datetime,
) -> None:
    await record(
        work,
        actor=scope.actor,
        action=action,
        subject=str(project_id),
        at=at,
        project_id=project_id,
        before=None if before is None else {"url": before.url},
        after=None if url is None else {"url": url},
    )


def _place(work: UnitOfWork, project_id: UUID) -> str:
    return f"{work.group_id}/WEBHOOK/{project_id}"


def _webhook(row: Row) -> Webhook:
    return Webhook(
        row["project_id"],
        row["url"],
        row["set_by"],
        row["set_at"],
        row["taken_at"],
        row["last_error"],
    )
