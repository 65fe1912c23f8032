"""Reads of vends."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .models import Vend, vend_of
from .rules import VendSource


async def vends_of_topups(work: UnitOfWork, *, topup_ids: Sequence[UUID]) -> dict[UUID, Vend]:
    """The vend of each top-up that has one, by top-up."""
    rows = await work.fetch(
        "SELECT * FROM control_vend WHERE group_id = $1 AND source = 'TOPUP'"
        " AND source_id = ANY($2)",
        work.group_id,
        list(topup_ids),
    )
    return {row["source_id"]: vend_of(row) for row in rows}


async def next_vend(work: UnitOfWork, *, meter_id: UUID) -> Vend | None:
    """The vend of a meter that is next in number and not finished; None when there is none.

    A STOPPED vend is next as well: later numbers may not overtake it.
    """
    row = await work.fetchrow(
        "SELECT * FROM control_vend WHERE group_id = $1 AND meter_id = $2"
        " AND state IN ('QUEUED', 'SENT', 'STOPPED') ORDER BY counter_epoch, purchase_no LIMIT 1",
        work.group_id,
        meter_id,
    )
    return None if row is None else vend_of(row)


async def vends_waiting_of_meters(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> list[UUID]:
    """The vends of these meters that wait or may be half done, not the stopped ones."""
    rows = await work.fetch(
        "SELECT id FROM control_vend WHERE group_id = $1 AND meter_id = ANY($2)"
        " AND state IN ('QUEUED', 'SENT')",
        work.group_id,
        list(meter_ids),
    )
    return [row["id"] for row in rows]


async def vends_unfinished(work: UnitOfWork) -> list[UUID]:
    """All vends of the group that wait or may be half done: the janitor's list."""
    rows = await work.fetch(
        "SELECT id FROM control_vend WHERE group_id = $1 AND state IN ('QUEUED', 'SENT')",
        work.group_id,
    )
    return [row["id"] for row in rows]


async def lock_undecided(work: UnitOfWork, *, meter_id: UUID) -> list[Vend]:
    """The vends of a meter that are neither verified nor voided, by number, locked until commit."""
    rows = await work.fetch(
        "SELECT * FROM control_vend WHERE group_id = $1 AND meter_id = $2"
        " AND state IN ('QUEUED', 'SENT', 'STOPPED') ORDER BY counter_epoch, purchase_no FOR UPDATE",
        work.group_id,
        meter_id,
    )
    return [vend_of(row) for row in rows]


async def last_verified_no(work: UnitOfWork, *, meter_id: UUID, counter_epoch: int) -> int | None:
    """The newest purchase number of an epoch that the meter was seen to take, or None."""
    number: int | None = await work.fetchval(
        "SELECT max(purchase_no) FROM control_vend WHERE group_id = $1 AND meter_id = $2"
        " AND counter_epoch = $3 AND state = 'VERIFIED'",
        work.group_id,
        meter_id,
        counter_epoch,
    )
    return number


async def vend_of_source(work: UnitOfWork, *, source: VendSource, source_id: UUID) -> Vend | None:
    """The vend that something became, or None."""
    row = await work.fetchrow(
        "SELECT * FROM control_vend WHERE group_id = $1 AND source = $2 AND source_id = $3",
        work.group_id,
        source,
        source_id,
    )
    return None if row is None else vend_of(row)
