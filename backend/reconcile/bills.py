"""Bills as rows: days, lines, and the items in which bill and book differ (C6).

A day's row is locked by whoever goes on with it. The database refuses to close a day over an open item
and to change a closed day or a resolved item.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.ids import uuid7

from .models import BillDay, BillItem, DayState, day_of, item_of
from .rules import Finding, Matching, Theirs

AGREE_NOW = "bill and book agree now"


async def plan_day(
    work: UnitOfWork, *, project_id: UUID, credential_id: UUID, day: date, at: datetime
) -> UUID | None:
    """Write down that the bill of a day is to be fetched; its id, or None when it was planned before."""
    planned: UUID | None = await work.fetchval(
        "INSERT INTO reconcile_day (group_id, id, project_id, credential_id, day, state, planned_at)"
        " VALUES ($1, $2, $3, $4, $5, 'WAITING', $6)"
        " ON CONFLICT (group_id, credential_id, day) DO NOTHING RETURNING id",
        work.group_id,
        uuid7(at),
        project_id,
        credential_id,
        day,
        at,
    )
    return planned


async def day_by_id(work: UnitOfWork, *, day_id: UUID) -> BillDay | None:
    """One day of this group, or None."""
    row = await work.fetchrow(
        "SELECT * FROM reconcile_day WHERE group_id = $1 AND id = $2", work.group_id, day_id
    )
    return None if row is None else day_of(row)


async def lock_day(work: UnitOfWork, *, day_id: UUID) -> BillDay | None:
    """The day, locked until commit, or None."""
    row = await work.fetchrow(
        "SELECT * FROM reconcile_day WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        day_id,
    )
    return None if row is None else day_of(row)


async def days_unfinished(work: UnitOfWork) -> list[UUID]:
    """Days whose bill has not come or was not compared: the janitor's list."""
    rows = await work.fetch(
        "SELECT id FROM reconcile_day WHERE group_id = $1 AND state IN ('WAITING', 'FETCHED')",
        work.group_id,
    )
    return [row["id"] for row in rows]


async def note_error(work: UnitOfWork, *, day_id: UUID, error: str) -> None:
    """Keep why the bill has not come yet."""
    await work.execute(
        "UPDATE reconcile_day SET last_error = $3 WHERE group_id = $1 AND id = $2"
        " AND state = 'WAITING'",
        work.group_id,
        day_id,
        error[:500],
    )


async def store_lines(
    work: UnitOfWork, *, day: BillDay, lines: Sequence[Theirs], at: datetime
) -> None:
    """Keep a bill as it came; the caller holds the day, which was WAITING."""
    await work.execute(
        "INSERT INTO reconcile_line (group_id, day_id, line, order_no, transaction_id, refund_no,"
        " amount_fen, refund_fen, at) SELECT $1, $2, l.line, l.order_no, l.transaction_id,"
        " l.refund_no, l.amount_fen, l.refund_fen, l.at FROM unnest($3::text[], $4::text[],"
        " $5::text[], $6::bigint[], $7::bigint[], $8::timestamptz[]) WITH ORDINALITY"
        "  AS l(order_no, transaction_id, refund_no, amount_fen, refund_fen, at, line)",
        work.group_id,
        day.id,
        [line.order_no for line in lines],
        [line.transaction_id for line in lines],
        [line.refund_no or "" for line in lines],
        [line.amount_fen for line in lines],
        [line.refund_fen for line in lines],
        [line.at for line in lines],
    )
    await work.execute(
        "UPDATE reconcile_day SET state = 'FETCHED', fetched_at = $3, lines = $4, last_error = NULL"
        " WHERE group_id = $1 AND id = $2",
        work.group_id,
        day.id,
        at,
        len(lines),
    )


async def state_of(work: UnitOfWork, *, credential_id: UUID, day: date) -> DayState | None:
    """How far the bill of a merchant account's day is; None: it was never planned."""
    state: str | None = await work.fetchval(
        "SELECT state FROM reconcile_day WHERE group_id = $1 AND credential_id = $2 AND day = $3",
        work.group_id,
        credential_id,
        day,
    )
    return None if state is None else DayState(state)


async def is_told(
    work: UnitOfWork, *, credential_id: UUID, order_no: str, transaction_id: str
) -> bool:
    """Whether a bill of the merchant account names a payment, or a comparison told that none does."""
    told: bool = await work.fetchval(
        "SELECT EXISTS (SELECT FROM reconcile_line l"
        "  JOIN reconcile_day d ON d.group_id = l.group_id AND d.id = l.day_id"
        "  WHERE l.group_id = $1 AND d.credential_id = $2 AND l.order_no = $3"
        "   AND l.transaction_id = $4 AND l.refund_no = '')"
        " OR EXISTS (SELECT FROM reconcile_item i"
        "  JOIN reconcile_day d ON d.group_id = i.group_id AND d.id = i.day_id"
        "  WHERE i.group_id = $1 AND d.credential_id = $2 AND i.order_no = $3"
        "   AND i.transaction_id = $4 AND i.refund_no = '' AND i.theirs_fen IS NULL)",
        work.group_id,
        credential_id,
        order_no,
        transaction_id,
    )
    return told


async def lines_of_day(work: UnitOfWork, *, day_id: UUID) -> list[Theirs]:
    """A bill as it came, in its order."""
    rows = await work.fetch(
        "SELECT * FROM reconcile_line WHERE group_id = $1 AND day_id = $2 ORDER BY line",
        work.group_id,
        day_id,
    )
    return [
        Theirs(
            order_no=row["order_no"],
            transaction_id=row["transaction_id"],
            amount_fen=row["amount_fen"],
            refund_no=row["refund_no"] or None,
            refund_fen=row["refund_fen"],
            at=row["at"],
        )
        for row in rows
    ]


async def billed_on_others(
    work: UnitOfWork, *, day: BillDay, order_nos: Collection[str], refund_nos: Collection[str]
) -> tuple[Mapping[tuple[str, str], date], Mapping[str, date]]:
    """On which other bill of the same merchant account these orders stand first: payments by (order,
    transaction), refunds by their number."""
    rows = await work.fetch(
        "SELECT l.order_no, l.transaction_id, l.refund_no, min(d.day) AS day"
        " FROM reconcile_line l JOIN reconcile_day d ON d.group_id = l.group_id AND d.id = l.day_id"
        " WHERE l.group_id = $1 AND d.credential_id = $3 AND d.id <> $4 AND (l.refund_no = ''"
        "  AND l.order_no = ANY($2) OR l.refund_no <> '' AND l.refund_no = ANY($5))"
        " GROUP BY l.order_no, l.transaction_id, l.refund_no",
        work.group_id,
        list(order_nos),
        day.credential_id,
        day.id,
        list(refund_nos),
    )
    payments = {
        (row["order_no"], row["transaction_id"]): row["day"] for row in rows if not row["refund_no"]
    }
    refunds: dict[str, date] = {}
    for row in rows:
        if row["refund_no"]:
            first = refunds.get(row["refund_no"], row["day"])
            refunds[row["refund_no"]] = min(first, row["day"])
    return payments, refunds


async def store_matching(
    work: UnitOfWork, *, day: BillDay, matching: Matching, at: datetime
) -> None:
    """Keep what the comparison found; the caller holds the day, which is not closed.

    Items that are found no more are resolved by the system.
    """
    await work.execute(
        "UPDATE reconcile_day SET matched = $3, theirs_paid_fen = $4, theirs_refund_fen = $5,"
        " ours_paid_fen = $6, ours_refund_fen = $7, carried_fen = $8"
        " WHERE group_id = $1 AND id = $2",
        work.group_id,
        day.id,
        matching.matched,
        matching.theirs_paid_fen,
        matching.theirs_refund_fen,
        matching.ours_paid_fen,
        matching.ours_refund_fen,
        matching.carried_fen,
    )
    await work.execute(
        "UPDATE reconcile_item SET resolved_at = $4, resolved_by = 'system', note = $5"
        " WHERE group_id = $1 AND day_id = $2 AND NOT key = ANY($3) AND resolved_at IS NULL",
        work.group_id,
        day.id,
        [finding.key for finding in matching.findings],
        at,
        AGREE_NOW,
    )
    for finding in matching.findings:
        await _add_item(work, day, finding, at)


async def mark_matched(work: UnitOfWork, *, day_id: UUID, at: datetime) -> None:
    """The day is compared to the end: what only the channel had was settled, differences have cases."""
    await work.execute(
        "UPDATE reconcile_day SET state = 'MATCHED', matched_at = $3"
        " WHERE group_id = $1 AND id = $2 AND state = 'FETCHED'",
        work.group_id,
        day_id,
        at,
    )


async def _add_item(work: UnitOfWork, day: BillDay, finding: Finding, at: datetime) -> None:
    await work.execute(
        "INSERT INTO reconcile_item (group_id, id, project_id, day_id, key, kind, order_no,"
        " transaction_id, refund_no, ours_fen, theirs_fen, reason, found_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        " ON CONFLICT (group_id, day_id, key) DO NOTHING",
        work.group_id,
        uuid7(at),
        day.project_id,
        day.id,
        finding.key,
        finding.kind,
        finding.order_no,
        finding.transaction_id,
        finding.refund_no,
        finding.ours_fen,
        finding.theirs_fen,
        finding.reason,
        at,
    )


async def open_items(work: UnitOfWork, *, day_id: UUID) -> list[BillItem]:
    """The open items of a day, oldest first."""
    rows = await work.fetch(
        "SELECT * FROM reconcile_item WHERE group_id = $1 AND day_id = $2 AND resolved_at IS NULL"
        " ORDER BY id",
        work.group_id,
        day_id,
    )
    return [item_of(row) for row in rows]


async def days_waiting_for(work: UnitOfWork, *, day: BillDay) -> list[UUID]:
    """Other days of the merchant account with an open item of ours that a line of this bill brings."""
    rows = await work.fetch(
        "SELECT DISTINCT i.day_id FROM reconcile_line l"
        " JOIN reconcile_item i ON i.group_id = l.group_id AND i.refund_no = l.refund_no"
        "  AND (l.refund_no <> '' OR i.order_no = l.order_no)"
        "  AND i.resolved_at IS NULL AND i.theirs_fen IS NULL"
        " JOIN reconcile_day d ON d.group_id = i.group_id AND d.id = i.day_id"
        " WHERE l.group_id = $1 AND l.day_id = $2 AND d.credential_id = $3 AND d.id <> $2",
        work.group_id,
        day.id,
        day.credential_id,
    )
    return [row["day_id"] for row in rows]


async def item_by_id(work: UnitOfWork, *, item_id: UUID) -> BillItem | None:
    """One item of this group, or None."""
    row = await work.fetchrow(
        "SELECT * FROM reconcile_item WHERE group_id = $1 AND id = $2", work.group_id, item_id
    )
    return None if row is None else item_of(row)


async def lock_item(work: UnitOfWork, *, item_id: UUID) -> BillItem | None:
    """The item, locked until commit, or None."""
    row = await work.fetchrow(
        "SELECT * FROM reconcile_item WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        item_id,
    )
    return None if row is None else item_of(row)


async def resolve(work: UnitOfWork, *, item_id: UUID, by: str, note: str, at: datetime) -> BillItem:
    """End an open item with a note; the caller holds it."""
    row = await work.fetchrow(
        "UPDATE reconcile_item SET resolved_at = $3, resolved_by = $4, note = $5"
        " WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        item_id,
        at,
        by,
        note,
    )
    assert row is not None, "the caller holds the item"
    return item_of(row)


async def close(work: UnitOfWork, *, day_id: UUID, by: str, note: str, at: datetime) -> BillDay:
    """Close a compared day without open items; the caller holds it and has looked."""
    row = await work.fetchrow(
        "UPDATE reconcile_day SET state = 'CLOSED', closed_at = $3, closed_by = $4, note = $5"
        " WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        day_id,
        at,
        by,
        note,
    )
    assert row is not None, "the caller holds the day"
    return day_of(row)


async def days_page(
    work: UnitOfWork, *, project_id: UUID, only_open: bool, before: UUID | None, limit: int
) -> list[BillDay]:
    """Days of a project, planned last first, those before `before` (keyset); the caller has the right."""
    rows = await work.fetch(
        "SELECT * FROM reconcile_day WHERE group_id = $1 AND project_id = $2"
        " AND (NOT $3::bool OR state <> 'CLOSED') AND ($4::uuid IS NULL OR id < $4)"
        " ORDER BY id DESC LIMIT $5",
        work.group_id,
        project_id,
        only_open,
        before,
        limit,
    )
    return [day_of(row) for row in rows]


async def items_page(
    work: UnitOfWork, *, day_id: UUID, before: UUID | None, limit: int
) -> list[BillItem]:
    """Items of a day, newest first, those before `before` (keyset); the caller has the right."""
    rows = await work.fetch(
        "SELECT * FROM reconcile_item WHERE group_id = $1 AND day_id = $2"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        work.group_id,
        day_id,
        before,
        limit,
    )
    return [item_of(row) for row in rows]
