"""Takedowns (拆表) as rows: how the service of a meter ends, step by step, and how they are read (A17).

Whoever goes on with one holds its row; its assignment's row after it, so that no purchase number is
allocated meanwhile. What ended stays as it ended (the database holds that too).
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
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .models import MeterAssignment
from .takedown_rules import FinalBy, FinalWord, Purpose, Settlement, TakedownState

_UPDATE = "UPDATE metering_takedown SET "
_ONE = " WHERE group_id = $1 AND id = $2 RETURNING *"


@dataclass(frozen=True, slots=True)
class Takedown:
    """拆表单. `unsure_until`: no earlier word is the meter's last. `cut`: its relay is opened first.
    `to_meter_id`: the meter that takes over, None while nobody named it. `moved`, `used` and `owed` are
    known when it is done. `outcome`: how it ended, or why it waits."""

    id: UUID
    project_id: UUID
    account_id: UUID
    assignment_id: UUID
    meter_id: UUID
    purpose: Purpose
    state: TakedownState
    cut: bool
    reason: str
    requested_by: str
    started_at: datetime
    unsure_until: datetime
    to_meter_id: UUID | None
    to_area_id: UUID | None
    to_assignment_id: UUID | None
    final: FinalWord | None
    final_by: FinalBy | None
    typed_by: str | None
    note: str | None
    moved: Money
    used: Money
    owed: Money
    finished_at: datetime | None
    outcome: str | None


def takedown_of(row: Row) -> Takedown:
    """A takedown from its table row."""
    final = None
    if row["final_at"] is not None:
        held = row["final_remaining_hao"]
        final = FinalWord(
            at=row["final_at"],
            total=row["final_total"],
            remaining=None if held is None else Money(held),
            purchase_no=row["final_purchase_no"],
        )
    return Takedown(
        id=row["id"],
        project_id=row["project_id"],
        account_id=row["account_id"],
        assignment_id=row["assignment_id"],
        meter_id=row["meter_id"],
        purpose=Purpose(row["purpose"]),
        state=TakedownState(row["state"]),
        cut=row["cut"],
        reason=row["reason"],
        requested_by=row["requested_by"],
        started_at=row["started_at"],
        unsure_until=row["unsure_until"],
        to_meter_id=row["to_meter_id"],
        to_area_id=row["to_area_id"],
        to_assignment_id=row["to_assignment_id"],
        final=final,
        final_by=None if row["final_by"] is None else FinalBy(row["final_by"]),
        typed_by=row["typed_by"],
        note=row["note"],
        moved=Money(row["moved_hao"] or 0),
        used=Money(row["used_hao"] or 0),
        owed=Money(row["owed_hao"] or 0),
        finished_at=row["finished_at"],
        outcome=row["outcome"],
    )


@dataclass(frozen=True, slots=True)
class NewTakedown:
    """A takedown to be begun, of an assignment whose row is locked."""

    assignment: MeterAssignment
    purpose: Purpose
    cut: bool
    reason: str
    idempotency_key: str
    unsure_until: datetime
    to_meter_id: UUID | None = None
    to_area_id: UUID | None = None


async def begin_takedown(
    work: UnitOfWork, *, new: NewTakedown, requested_by: str, at: datetime
) -> Takedown:
    """Write down that a meter's service ends. Raises Conflict: another one of it, or onto the same new
    meter, is under way, or the new meter is not of this project."""
    served = new.assignment
    try:
        row = await work.fetchrow(
            "INSERT INTO metering_takedown (group_id, id, project_id, account_id, assignment_id,"
            " meter_id, purpose, state, cut, reason, idempotency_key, requested_by, started_at,"
            " unsure_until, to_meter_id, to_area_id)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, 'WAITING', $8, $9, $10, $11, $12, $13, $14, $15)"
            " RETURNING *",
            work.group_id,
            uuid7(at),
            served.project_id,
            served.account_id,
            served.id,
            served.meter_id,
            new.purpose,
            new.cut,
            new.reason,
            new.idempotency_key,
            requested_by,
            at,
            new.unsure_until,
            new.to_meter_id,
            new.to_area_id,
        )
    except (asyncpg.UniqueViolationError, asyncpg.ForeignKeyViolationError) as error:
        raise Conflict(
            "this meter is being taken down already, or the new one is taken, or not of this project"
        ) from error
    assert row is not None
    return takedown_of(row)


async def takedown_of_key(
    work: UnitOfWork, *, project_id: UUID, idempotency_key: str
) -> Takedown | None:
    """The takedown that was asked for with this key, or None."""
    row = await work.fetchrow(
        "SELECT * FROM metering_takedown"
        " WHERE group_id = $1 AND project_id = $2 AND idempotency_key = $3",
        work.group_id,
        project_id,
        idempotency_key,
    )
    return None if row is None else takedown_of(row)


async def lock_takedown(work: UnitOfWork, *, takedown_id: UUID) -> Takedown | None:
    """A takedown with its row locked until commit, or None."""
    row = await work.fetchrow(
        "SELECT * FROM metering_takedown WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        takedown_id,
    )
    return None if row is None else takedown_of(row)


async def lock_assignment(work: UnitOfWork, *, assignment_id: UUID) -> MeterAssignment:
    """An assignment with its row locked until commit: no purchase number is allocated meanwhile.

    Raises NotFound.
    """
    held = await work.fetchval(
        "SELECT id FROM metering_assignment WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        assignment_id,
    )
    if held is None:
        raise NotFound("no such meter assignment")
    return await MeterAssignment.get(group_id=work.group_id, id=assignment_id)


async def keep_final(
    work: UnitOfWork,
    *,
    takedown_id: UUID,
    state: TakedownState,
    word: FinalWord,
    by: FinalBy,
    typed_by: str | None,
    note: str | None,
) -> Takedown:
    """Keep a meter's last word: KNOWN, or TYPED when a second operator must agree. The row is locked."""
    return await _set(
        work,
        f"{_UPDATE}state = $3, final_at = $4, final_total = $5, final_remaining_hao = $6,"
        " final_purchase_no = $7, final_by = $8, typed_by = $9, note = $10,"
        f" outcome = NULL{_ONE}",
        takedown_id,
        state,
        word.at,
        word.total,
        None if word.remaining is None else word.remaining.hao,
        word.purchase_no,
        by,
        typed_by,
        note,
    )


async def mark_agreed(work: UnitOfWork, *, takedown_id: UUID, approved_by: str) -> Takedown:
    """A second operator agreed to what was typed. The row is locked."""
    return await _set(
        work, f"{_UPDATE}state = 'KNOWN', approved_by = $3{_ONE}", takedown_id, approved_by
    )


async def forget_typed(work: UnitOfWork, *, takedown_id: UUID, why: str) -> Takedown:
    """A second operator did not agree: the last word is awaited again. The row is locked."""
    return await _set(
        work,
        f"{_UPDATE}state = 'WAITING', final_at = NULL, final_total = NULL,"
        " final_remaining_hao = NULL, final_purchase_no = NULL, final_by = NULL,"
        f" typed_by = NULL, note = NULL, outcome = $3{_ONE}",
        takedown_id,
        why,
    )


async def name_successor(work: UnitOfWork, *, takedown_id: UUID, meter_id: UUID) -> Takedown:
    """Which meter takes over. The row is locked. Raises Conflict (taken, or not of this project)."""
    try:
        return await _set(work, f"{_UPDATE}to_meter_id = $3{_ONE}", takedown_id, meter_id)
    except (
        asyncpg.UniqueViolationError,
        asyncpg.ForeignKeyViolationError,
        asyncpg.CheckViolationError,
    ) as error:
        raise Conflict(
            "this meter cannot take over: it is taken, or not of this project"
        ) from error


async def note_waiting(work: UnitOfWork, *, takedown_id: UUID, why: str) -> None:
    """Keep why it is not done yet."""
    await work.execute(
        "UPDATE metering_takedown SET outcome = $3"
        " WHERE group_id = $1 AND id = $2 AND finished_at IS NULL",
        work.group_id,
        takedown_id,
        why[:500],
    )


async def mark_done(
    work: UnitOfWork,
    *,
    takedown_id: UUID,
    settled: Settlement,
    moved: Money,
    to_assignment_id: UUID | None,
    at: datetime,
) -> Takedown:
    """The service ended and its money is booked. The row is locked."""
    return await _set(
        work,
        f"{_UPDATE}state = 'DONE', moved_hao = $3, used_hao = $4, owed_hao = $5,"
        f" to_assignment_id = $6, finished_at = $7, outcome = NULL{_ONE}",
        takedown_id,
        moved.hao,
        settled.used.hao,
        settled.owed.hao,
        to_assignment_id,
        at,
    )


async def mark_cancelled(
    work: UnitOfWork, *, takedown_id: UUID, why: str, at: datetime
) -> Takedown:
    """The meter serves on. The row is locked."""
    return await _set(
        work,
        f"{_UPDATE}state = 'CANCELLED', finished_at = $3, outcome = $4{_ONE}",
        takedown_id,
        at,
        why,
    )


async def end_assignment(
    work: UnitOfWork, *, assignment_id: UUID, word: FinalWord, by: FinalBy
) -> None:
    """The meter serves the account no more, from its last word on; later readings are not its."""
    await work.execute(
        "UPDATE metering_assignment SET ended_at = greatest($3, started_at), closing_total = $4,"
        " closing_remaining_hao = $5, closing_purchase_no = $6, closing_by = $7"
        " WHERE group_id = $1 AND id = $2 AND ended_at IS NULL",
        work.group_id,
        assignment_id,
        word.at,
        word.total,
        None if word.remaining is None else word.remaining.hao,
        word.purchase_no,
        by,
    )


async def _set(work: UnitOfWork, sql: str, takedown_id: UUID, *values: object) -> Takedown:
    """Change a row that the caller has locked."""
    row = await work.fetchrow(sql, work.group_id, takedown_id, *values)
    assert row is not None, "its row is locked"
    return takedown_of(row)


async def takedown(work: UnitOfWork, *, scope: Scope, takedown_id: UUID) -> Takedown:
    """One takedown for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM metering_takedown WHERE group_id = $1 AND id = $2",
        work.group_id,
        takedown_id,
    )
    if row is None or not scope.may(Permission.METER_READ, row["project_id"]):
        raise NotFound("no such takedown")
    return takedown_of(row)


async def takedowns_of_account(work: UnitOfWork, *, account_id: UUID) -> list[Takedown]:
    """All takedowns of an account's meters, newest first."""
    rows = await work.fetch(
        "SELECT * FROM metering_takedown WHERE group_id = $1 AND account_id = $2 ORDER BY id DESC",
        work.group_id,
        account_id,
    )
    return [takedown_of(row) for row in rows]


async def is_under_way(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> bool:
    """Whether one of these meters is being taken down."""
    found: bool = await work.fetchval(
        "SELECT EXISTS (SELECT FROM metering_takedown"
        " WHERE group_id = $1 AND meter_id = ANY($2) AND finished_at IS NULL)",
        work.group_id,
        list(meter_ids),
    )
    return found


async def takedowns_unfinished(work: UnitOfWork) -> list[UUID]:
    """Takedowns with a step to do that no person has to do first: the janitor's list."""
    rows = await work.fetch(
        "SELECT id FROM metering_takedown WHERE group_id = $1 AND finished_at IS NULL"
        " AND state IN ('WAITING', 'KNOWN')",
        work.group_id,
    )
    return [row["id"] for row in rows]


NOTHING = Settlement(ZERO, ZERO, ZERO)
