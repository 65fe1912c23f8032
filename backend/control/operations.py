"""Writes of a vend's life. A row lock and conditional updates keep one vend in flight per meter (C9)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.ids import uuid7
from backend.kernel.money import Money

from .rules import Wallet


async def queue_vend(
    work: UnitOfWork,
    *,
    project_id: UUID,
    meter_id: UUID,
    assignment_id: UUID,
    counter_epoch: int,
    purchase_no: int,
    amount: Money,
    topup_id: UUID,
    at: datetime,
) -> UUID:
    """Write down a vend with the number allocated in this same transaction."""
    vend_id = uuid7(at)
    await work.execute(
        "INSERT INTO control_vend (group_id, id, project_id, meter_id, assignment_id,"
        " counter_epoch, purchase_no, amount_fen, source, source_id, state, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'TOPUP', $9, 'QUEUED', $10)",
        work.group_id,
        vend_id,
        project_id,
        meter_id,
        assignment_id,
        counter_epoch,
        purchase_no,
        amount.fen,
        topup_id,
        at,
    )
    return vend_id


async def mark_sending(work: UnitOfWork, *, vend_id: UUID, before: Wallet, at: datetime) -> None:
    """A write may reach the meter from now on; `before` is the wallet read just now (count N-1).

    Committed before the write leaves: after a crash the next worker knows that it must read first.
    Raises Conflict when the vend was finished or stopped meanwhile: then nothing may be written.
    """
    changed = await work.execute(
        "UPDATE control_vend SET state = 'SENT', sent_at = $3, attempts = attempts + 1,"
        " before_purchase_no = $4, before_remaining_hao = $5"
        " WHERE group_id = $1 AND id = $2 AND state IN ('QUEUED', 'SENT')",
        work.group_id,
        vend_id,
        at,
        before.purchase_no,
        before.remaining.hao,
    )
    if not changed:
        raise Conflict("the vend was finished or stopped meanwhile")


async def mark_verified(
    work: UnitOfWork, *, vend_id: UUID, after: Wallet, relay_closed: bool | None, at: datetime
) -> bool:
    """The meter's own read-back says credited; False when another worker noted it before."""
    return bool(
        await work.execute(
            "UPDATE control_vend SET state = 'VERIFIED', verified_at = $3,"
            " after_purchase_no = $4, after_remaining_hao = $5, relay_after = $6, last_error = NULL"
            " WHERE group_id = $1 AND id = $2 AND state IN ('QUEUED', 'SENT', 'STOPPED')",
            work.group_id,
            vend_id,
            at,
            after.purchase_no,
            after.remaining.hao,
            None if relay_closed is None else int(relay_closed),
        )
    )


async def mark_stopped(work: UnitOfWork, *, vend_id: UUID, reason: str) -> bool:
    """A person must decide about this vend; False when it was stopped or verified before."""
    return bool(
        await work.execute(
            "UPDATE control_vend SET state = 'STOPPED', last_error = $3"
            " WHERE group_id = $1 AND id = $2 AND state IN ('QUEUED', 'SENT')",
            work.group_id,
            vend_id,
            reason,
        )
    )


async def note_error(work: UnitOfWork, *, vend_id: UUID, error: str) -> None:
    """Keep why the last try did not finish."""
    await work.execute(
        "UPDATE control_vend SET last_error = $3 WHERE group_id = $1 AND id = $2",
        work.group_id,
        vend_id,
        error[:500],
    )


async def requeue_stopped(work: UnitOfWork, *, meter_id: UUID) -> list[UUID]:
    """A person decided to go on: stopped vends of the meter wait again, in their order.

    A vend that was sent before goes back to SENT, so that the meter is read before any write.
    """
    rows = await work.fetch(
        "UPDATE control_vend SET state = CASE WHEN sent_at IS NULL THEN 'QUEUED' ELSE 'SENT' END"
        " WHERE group_id = $1 AND meter_id = $2 AND state = 'STOPPED' RETURNING id",
        work.group_id,
        meter_id,
    )
    return [row["id"] for row in rows]
