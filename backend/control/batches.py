"""Batches as rows: previewed, confirmed, ruled on, carried on, ended (A21, C22, C30)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Actor, Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .batch_rules import ALONE_WITHIN, LIFE, PREVIEW_LIFE, BatchState
from .command_rules import CommandKind, Order

BELL = "shuidian_batch"  # NOTIFY channel; the payload is "group:batch"


@dataclass(frozen=True, slots=True)
class Batch:
    """批量. `selection`: by what its meters were chosen, in words for people. `second`: it takes a second
    operator. `starts_at`: nothing goes before; `tended_at`: when it was last carried on; `note`: why it is
    paused or how it ended."""

    id: UUID
    project_id: UUID
    kind: CommandKind
    settings: Mapping[str, int]
    until: datetime | None
    reason: str
    selection: Mapping[str, Any]
    second: bool
    state: BatchState
    asked_by: str
    asked_name: str
    asked_from: str
    asked_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None
    ruled_by: str | None
    ruled_name: str | None
    ruled_at: datetime | None
    starts_at: datetime | None
    tended_at: datetime | None
    finished_at: datetime | None
    note: str | None

    @property
    def order(self) -> Order:
        """What is asked of each meter."""
        return Order(self.kind, self.reason, self.settings)

    @property
    def asker(self) -> Actor:
        """In whose name commands are given."""
        return Actor("operator", self.asked_by, self.asked_name, self.asked_from)


def batch_of(row: Row) -> Batch:
    """A batch from its table row."""
    held = {name: row[name] for name in Batch.__dataclass_fields__}
    held |= {"kind": CommandKind(row["kind"]), "state": BatchState(row["state"])}
    return Batch(**held)


async def add_batch(
    work: UnitOfWork,
    *,
    project_id: UUID,
    order: Order,
    until: datetime | None,
    selection: Mapping[str, Any],
    second: bool,
    actor: Actor,
    at: datetime,
) -> Batch:
    """Keep a preview; its items are kept beside it."""
    row = await work.fetchrow(
        "INSERT INTO control_batch (group_id, id, project_id, kind, settings, until, reason, selection,"
        " second, state, asked_by, asked_name, asked_from, asked_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'DRAFT', $10, $11, $12, $13, $14) RETURNING *",
        work.group_id,
        uuid7(at),
        project_id,
        order.kind,
        dict(order.settings),
        until,
        order.reason,
        dict(selection),
        second,
        actor.id,
        actor.name,
        actor.address,
        at,
        at + PREVIEW_LIFE,
    )
    assert row is not None, "an insert returns its row"
    return batch_of(row)


def now_in(batch: Batch, at: datetime) -> datetime:
    """Now, as what moves in a batch is told: never before what moved until then, whatever the clock of
    another process said. The caller holds the batch, and keeps this as its `tended_at`."""
    return max(at, batch.tended_at or at)


async def lock_batch(work: UnitOfWork, *, batch_id: UUID) -> Batch:
    """A batch of this group with its row locked until commit, for jobs. Raises NotFound."""
    return await _held(work, _LOCK, batch_id)


async def share_batch(work: UnitOfWork, *, batch_id: UUID) -> Batch:
    """As `lock_batch` for who gives out of it: others may as well, and nobody changes it until commit."""
    return await _held(work, _SHARE, batch_id)


_LOCK = "SELECT * FROM control_batch WHERE group_id = $1 AND id = $2 FOR UPDATE"
_SHARE = "SELECT * FROM control_batch WHERE group_id = $1 AND id = $2 FOR SHARE"


async def _held(work: UnitOfWork, sql: str, batch_id: UUID) -> Batch:
    row = await work.fetchrow(sql, work.group_id, batch_id)
    if row is None:
        raise NotFound("no such batch")
    return batch_of(row)


async def batch(work: UnitOfWork, *, scope: Scope, batch_id: UUID) -> Batch:
    """One batch for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM control_batch WHERE group_id = $1 AND id = $2", work.group_id, batch_id
    )
    if row is None or not scope.may(Permission.METER_READ, row["project_id"]):
        raise NotFound("no such batch")
    return batch_of(row)


async def batches_page(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, before: UUID | None, limit: int
) -> list[Batch]:
    """Batches of a project, newest first, those older than `before`. Raises NotFound, Forbidden (C29)."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    rows = await work.fetch(
        "SELECT * FROM control_batch WHERE group_id = $1 AND project_id = $2"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        work.group_id,
        project_id,
        before,
        limit,
    )
    return [batch_of(row) for row in rows]


async def lock_limit(work: UnitOfWork, *, project_id: UUID) -> int:
    """To how many meters an hour one operator may give a batch alone in a project; whoever else confirms one
    there waits until this transaction commits."""
    alone: int = await work.fetchval(
        "SELECT batch_alone FROM tenancy_project WHERE group_id = $1 AND id = $2 FOR NO KEY UPDATE",
        work.group_id,
        project_id,
    )
    return alone


async def given_alone(
    work: UnitOfWork, *, project_id: UUID, operator: str, kind: CommandKind, at: datetime
) -> int:
    """To how many meters of a project an operator gave batches of a kind alone within the hour."""
    given: int = await work.fetchval(
        "SELECT count(*)::integer FROM control_batch b JOIN control_batch_item i"
        "  ON i.group_id = b.group_id AND i.batch_id = b.id AND i.state NOT IN ('LEFT_OUT', 'CANCELLED')"
        " WHERE b.group_id = $1 AND b.project_id = $2 AND b.asked_by = $3 AND b.kind = $4"
        "  AND NOT b.second AND b.confirmed_at > $5",
        work.group_id,
        project_id,
        operator,
        kind,
        at - ALONE_WITHIN,
    )
    return given


async def save_batch(work: UnitOfWork, batch: Batch, /) -> Batch:
    """Keep what changed of a batch, whose row the caller holds, and ring for who watches it."""
    await work.execute(
        "UPDATE control_batch SET second = $3, state = $4, expires_at = $5, confirmed_at = $6,"
        " ruled_by = $7, ruled_name = $8, ruled_at = $9, starts_at = $10, tended_at = $11,"
        " finished_at = $12, note = $13 WHERE group_id = $1 AND id = $2",
        work.group_id,
        batch.id,
        batch.second,
        batch.state,
        batch.expires_at,
        batch.confirmed_at,
        batch.ruled_by,
        batch.ruled_name,
        batch.ruled_at,
        batch.starts_at,
        batch.tended_at,
        batch.finished_at,
        batch.note,
    )
    ring(work, batch.id)
    return batch


def ring(work: UnitOfWork, batch_id: UUID) -> None:
    """Tell who watches a batch that it moved, when this transaction commits."""
    work.notify(BELL, f"{work.group_id}:{batch_id}")


async def expire_batches(work: UnitOfWork, *, at: datetime) -> list[Batch]:
    """End the previews that nobody confirmed in time, and what no second operator approved."""
    rows = await work.fetch(
        "UPDATE control_batch SET state = 'EXPIRED', finished_at = $2 WHERE group_id = $1 AND id IN ("
        " SELECT id FROM control_batch WHERE group_id = $1 AND finished_at IS NULL"
        "  AND state IN ('DRAFT', 'WAITING') AND expires_at <= $2 ORDER BY id FOR UPDATE SKIP LOCKED)"
        " RETURNING *",
        work.group_id,
        at,
    )
    for row in rows:
        ring(work, row["id"])
    return [batch_of(row) for row in rows]


async def batches_to_carry_on(work: UnitOfWork, *, at: datetime) -> list[Batch]:
    """Those that run, or that have commands on their way, or whose day is over: the janitor's list."""
    rows = await work.fetch(
        "SELECT b.* FROM control_batch b WHERE b.group_id = $1 AND b.finished_at IS NULL"
        " AND b.starts_at IS NOT NULL AND (b.state = 'RUNNING' OR b.starts_at <= $2 OR EXISTS ("
        "  SELECT FROM control_batch_item i WHERE i.group_id = $1 AND i.batch_id = b.id"
        "   AND i.state = 'ASKED')) ORDER BY b.id",
        work.group_id,
        at - LIFE,
    )
    return [batch_of(row) for row in rows]
