"""Shifts at cash desks as rows, and what was taken and paid out in them.

Whoever takes money holds the shift's row with others, whoever counts or pays out holds it alone: a
drawer that is being counted takes nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import Conflict, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.tenancy.rules import Permission

from .shift_rules import Count

_TAKEN = {
    "topups_shift_desk": "this desk has an open shift; it is closed or handed over first",
    "topups_shift_operator": "this operator has an open shift in the project",
}


@dataclass(frozen=True, slots=True)
class Shift:
    """班次. `float_`: cash put into the drawer at opening; `count` when it is closed."""

    id: UUID
    project_id: UUID
    desk: str
    operator_id: str
    operator_name: str
    opened_at: datetime
    float_: Money
    taken_from: UUID | None
    closed_at: datetime | None
    closed_by: str | None
    count: Count | None
    note: str | None


def shift_of(row: Row) -> Shift:
    """A shift from its table row."""
    count = None
    if row["closed_at"] is not None:
        count = Count(Money.of_fen(row["book_fen"]), Money.of_fen(row["counted_fen"]))
    return Shift(
        id=row["id"],
        project_id=row["project_id"],
        desk=row["desk"],
        operator_id=row["operator_id"],
        operator_name=row["operator_name"],
        opened_at=row["opened_at"],
        float_=Money.of_fen(row["float_fen"]),
        taken_from=row["taken_from"],
        closed_at=row["closed_at"],
        closed_by=row["closed_by"],
        count=count,
        note=row["note"],
    )


async def add_shift(
    work: UnitOfWork,
    *,
    project_id: UUID,
    desk: str,
    actor: Actor,
    float_fen: int,
    taken_from: UUID | None,
    at: datetime,
) -> Shift:
    """Open a shift of `actor` at a desk. Raises Conflict: the desk or the operator has an open one."""
    try:
        row = await work.fetchrow(
            "INSERT INTO topups_shift (group_id, id, project_id, desk, operator_id, operator_name,"
            " opened_at, float_fen, taken_from) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
            " RETURNING *",
            work.group_id,
            uuid7(at),
            project_id,
            desk,
            actor.id,
            actor.name,
            at,
            float_fen,
            taken_from,
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(_TAKEN.get(error.constraint_name or "", "the shift is open")) from error
    assert row is not None
    return shift_of(row)


async def lock_shift(work: UnitOfWork, *, shift_id: UUID) -> Shift | None:
    """The shift, held alone until commit: nobody takes money into its drawer meanwhile."""
    row = await work.fetchrow(
        "SELECT * FROM topups_shift WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        shift_id,
    )
    return None if row is None else shift_of(row)


_OWN = (
    "SELECT * FROM topups_shift WHERE group_id = $1 AND project_id = $2 AND operator_id = $3"
    " AND closed_at IS NULL"
)
_OWN_ALONE, _OWN_SHARED = _OWN + " FOR UPDATE", _OWN + " FOR SHARE"


async def own_open_shift(
    work: UnitOfWork, *, project_id: UUID, operator_id: str, alone: bool = False
) -> Shift:
    """The operator's open shift in a project, held with others (`alone`: alone) until commit.

    Raises Conflict when there is none.
    """
    sql = _OWN_ALONE if alone else _OWN_SHARED
    row = await work.fetchrow(sql, work.group_id, project_id, operator_id)
    if row is None:
        raise Conflict("open a shift at a desk first")
    return shift_of(row)


async def close_shift(
    work: UnitOfWork, *, shift_id: UUID, count: Count, note: str, actor: Actor, at: datetime
) -> Shift:
    """Keep the count of a shift; its lock is held."""
    row = await work.fetchrow(
        "UPDATE topups_shift SET closed_at = $3, book_fen = $4, counted_fen = $5, closed_by = $6,"
        " note = $7 WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        shift_id,
        at,
        count.book.fen,
        count.counted.fen,
        actor.name,
        note or None,
    )
    assert row is not None, "its row is locked"
    return shift_of(row)


async def note_counter(
    work: UnitOfWork,
    *,
    order_id: UUID,
    project_id: UUID,
    shift_id: UUID,
    slip_no: str | None,
) -> None:
    """An order was paid at a desk. Raises Conflict: the slip was used in this project before."""
    created = await work.execute(
        "INSERT INTO topups_counter (group_id, order_id, project_id, shift_id, slip_no)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (group_id, project_id, slip_no) DO NOTHING",
        work.group_id,
        order_id,
        project_id,
        shift_id,
        slip_no,
    )
    if not created:
        raise Conflict(f"the slip {slip_no} was used for a top-up before")


@dataclass(frozen=True, slots=True)
class AtCounter:
    """At which desk, and by whom, an order's money was taken."""

    shift_id: UUID
    desk: str
    operator_name: str
    slip_no: str | None


async def counter_of(work: UnitOfWork, *, order_id: UUID) -> AtCounter | None:
    """Where an order was paid, None when not at a desk."""
    row = await work.fetchrow(
        "SELECT c.shift_id, s.desk, s.operator_name, c.slip_no FROM topups_counter c"
        " JOIN topups_shift s ON s.group_id = c.group_id AND s.id = c.shift_id"
        " WHERE c.group_id = $1 AND c.order_id = $2",
        work.group_id,
        order_id,
    )
    return None if row is None else AtCounter(*row)


async def count_copy(work: UnitOfWork, *, order_id: UUID, at: datetime) -> int:
    """Count a print of an order's receipt; how many there are now."""
    copies: int = await work.fetchval(
        "INSERT INTO topups_receipt AS r (group_id, order_id, copies, first_at, last_at)"
        " VALUES ($1, $2, 1, $3, $3) ON CONFLICT (group_id, order_id)"
        " DO UPDATE SET copies = r.copies + 1, last_at = EXCLUDED.last_at RETURNING copies",
        work.group_id,
        order_id,
        at,
    )
    return copies


async def copies(work: UnitOfWork, *, order_id: UUID) -> int:
    """How often the receipt of an order was printed."""
    found: int | None = await work.fetchval(
        "SELECT copies FROM topups_receipt WHERE group_id = $1 AND order_id = $2",
        work.group_id,
        order_id,
    )
    return found or 0


async def shift(work: UnitOfWork, *, scope: Scope, shift_id: UUID) -> Shift:
    """One shift for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM topups_shift WHERE group_id = $1 AND id = $2", work.group_id, shift_id
    )
    if row is None or not scope.may(Permission.TOPUP_READ, row["project_id"]):
        raise NotFound("no such shift")
    return shift_of(row)


async def shifts_page(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, before: UUID | None, limit: int
) -> list[Shift]:
    """Shifts of a project, newest first, those older than `before` (keyset). Raises NotFound."""
    if not scope.may(Permission.TOPUP_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        "SELECT * FROM topups_shift WHERE group_id = $1 AND project_id = $2"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        work.group_id,
        project_id,
        before,
        limit,
    )
    return [shift_of(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Taken:
    """A line of a shift's statement: how many, and how much together."""

    channel: str
    paid_out: bool
    count: int
    amount: Money


async def taken_in_shifts(
    work: UnitOfWork, *, shift_ids: Sequence[UUID]
) -> dict[UUID, list[Taken]]:
    """What was taken and paid out in each shift, by channel, top-ups first: one statement for all."""
    rows = await work.fetch(
        "SELECT c.shift_id, o.channel, false AS paid_out, count(*), sum(o.amount_fen)::bigint AS fen"
        " FROM topups_counter c JOIN topups_order o ON o.group_id = c.group_id AND o.id = c.order_id"
        " WHERE c.group_id = $1 AND c.shift_id = ANY($2) GROUP BY c.shift_id, o.channel"
        " UNION ALL SELECT shift_id, channel, true, count(*), sum(amount_fen)::bigint"
        " FROM topups_refund WHERE group_id = $1 AND shift_id = ANY($2) GROUP BY shift_id, channel"
        " ORDER BY 3, 2",
        work.group_id,
        list(shift_ids),
    )
    found: dict[UUID, list[Taken]] = {shift_id: [] for shift_id in shift_ids}
    for row in rows:
        amount = Money.of_fen(row["fen"])
        line = Taken(row["channel"], row["paid_out"], row["count"], amount)
        found[row["shift_id"]].append(line)
    return found
