"""Writes of a vend's life. A row lock and conditional updates keep one vend in flight per meter (C9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.ids import uuid7
from backend.kernel.money import Money

from .rules import VendSource, Wallet


@dataclass(frozen=True, slots=True)
class NewVend:
    """A vend to be written down: `purchase_no` is allocated in the same transaction, `amount` whole fen,
    `source_id` what it comes from (a TOPUP's order)."""

    project_id: UUID
    meter_id: UUID
    assignment_id: UUID
    counter_epoch: int
    purchase_no: int
    amount: Money
    source_id: UUID
    source: VendSource = VendSource.TOPUP


async def queue_vends(work: UnitOfWork, *, vends: Sequence[NewVend], at: datetime) -> list[UUID]:
    """Write down vends by one statement; their ids, in order."""
    ids = [uuid7(at) for _ in vends]
    await work.execute(
        "INSERT INTO control_vend (group_id, id, project_id, meter_id, assignment_id,"
        " counter_epoch, purchase_no, amount_fen, source, source_id, state, created_at)"
        " SELECT $1, v.*, 'QUEUED', $11 FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[],"
        " $6::integer[], $7::integer[], $8::integer[], $9::text[], $10::uuid[]) AS v",
        work.group_id,
        ids,
        [vend.project_id for vend in vends],
        [vend.meter_id for vend in vends],
        [vend.assignment_id for vend in vends],
        [vend.counter_epoch for vend in vends],
        [vend.purchase_no for vend in vends],
        [vend.amount.fen for vend in vends],
        [vend.source for vend in vends],
        [vend.source_id for vend in vends],
        at,
    )
    return ids


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


async def freeze_vends(work: UnitOfWork, *, meter_id: UUID, reason: str) -> datetime | None:
    """Nothing more is announced to this meter: vends that wait are stopped. When the last write that may
    be under way was announced, or None when there was none."""
    last: datetime | None = await work.fetchval(
        "SELECT max(sent_at) FROM control_vend WHERE group_id = $1 AND meter_id = $2"
        " AND state IN ('SENT', 'STOPPED')",
        work.group_id,
        meter_id,
    )
    await work.execute(
        "UPDATE control_vend SET state = 'STOPPED', last_error = $3"
        " WHERE group_id = $1 AND meter_id = $2 AND state IN ('QUEUED', 'SENT')",
        work.group_id,
        meter_id,
        reason,
    )
    return last


async def mark_counted(work: UnitOfWork, *, vend_id: UUID, last: Wallet, at: datetime) -> None:
    """The meter's last word, `last`, says that it took this vend. The row is locked."""
    await work.execute(
        "UPDATE control_vend SET state = 'VERIFIED', verified_at = $3, after_purchase_no = $4,"
        " after_remaining_hao = $5 WHERE group_id = $1 AND id = $2",
        work.group_id,
        vend_id,
        at,
        last.purchase_no,
        last.remaining.hao,
    )


async def mark_voided(work: UnitOfWork, *, vend_id: UUID, reason: str) -> None:
    """The meter's last word says that it never took this vend. The row is locked."""
    await work.execute(
        "UPDATE control_vend SET state = 'VOIDED', last_error = $3 WHERE group_id = $1 AND id = $2",
        work.group_id,
        vend_id,
        reason,
    )
