"""Bill days and their items as their table rows tell them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from backend.kernel.db import Row

from .rules import BillClass


class DayState(StrEnum):
    """WAITING: the bill has not come. FETCHED: its lines are stored. MATCHED: compared. CLOSED."""

    WAITING = "WAITING"
    FETCHED = "FETCHED"
    MATCHED = "MATCHED"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class BillDay:
    """对账日: a merchant account's bill of a China day. Sums in fen (see rules.Matching)."""

    id: UUID
    project_id: UUID
    credential_id: UUID
    day: date
    state: DayState
    planned_at: datetime
    fetched_at: datetime | None
    matched_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    note: str | None
    lines: int
    matched: int
    theirs_paid_fen: int
    theirs_refund_fen: int
    ours_paid_fen: int
    ours_refund_fen: int
    carried_fen: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class BillItem:
    """差异: where bill and book differ; open until a note ends it. Amounts in fen, None: nothing there."""

    id: UUID
    project_id: UUID
    day_id: UUID
    kind: BillClass
    order_no: str
    transaction_id: str
    refund_no: str
    ours_fen: int | None
    theirs_fen: int | None
    reason: str
    found_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    note: str | None


def day_of(row: Row) -> BillDay:
    """A day from its table row."""
    return BillDay(
        id=row["id"],
        project_id=row["project_id"],
        credential_id=row["credential_id"],
        day=row["day"],
        state=DayState(row["state"]),
        planned_at=row["planned_at"],
        fetched_at=row["fetched_at"],
        matched_at=row["matched_at"],
        closed_at=row["closed_at"],
        closed_by=row["closed_by"],
        note=row["note"],
        lines=row["lines"],
        matched=row["matched"],
        theirs_paid_fen=row["theirs_paid_fen"],
        theirs_refund_fen=row["theirs_refund_fen"],
        ours_paid_fen=row["ours_paid_fen"],
        ours_refund_fen=row["ours_refund_fen"],
        carried_fen=row["carried_fen"],
        last_error=row["last_error"],
    )


def item_of(row: Row) -> BillItem:
    """An item from its table row."""
    return BillItem(
        id=row["id"],
        project_id=row["project_id"],
        day_id=row["day_id"],
        kind=BillClass(row["kind"]),
        order_no=row["order_no"],
        transaction_id=row["transaction_id"],
        refund_no=row["refund_no"],
        ours_fen=row["ours_fen"],
        theirs_fen=row["theirs_fen"],
        reason=row["reason"],
        found_at=row["found_at"],
        resolved_at=row["resolved_at"],
        resolved_by=row["resolved_by"],
        note=row["note"],
    )
