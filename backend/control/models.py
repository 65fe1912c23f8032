"""A vend as its table row tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row
from backend.kernel.money import Money

from .rules import VendSource, VendState, Wallet


@dataclass(frozen=True, slots=True)
class Vend:
    """A numbered credit for a meter. `before` and `after` are the meter's own wallet read around it;
    `source_id` is what the money comes from (a TOPUP's order)."""

    id: UUID
    project_id: UUID
    meter_id: UUID
    assignment_id: UUID
    purchase_no: int
    amount: Money
    source: VendSource
    source_id: UUID
    state: VendState
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    verified_at: datetime | None
    before: Wallet | None
    after: Wallet | None
    relay_closed_after: bool | None
    last_error: str | None


def vend_of(row: Row) -> Vend:
    """A vend from its table row."""
    return Vend(
        id=row["id"],
        project_id=row["project_id"],
        meter_id=row["meter_id"],
        assignment_id=row["assignment_id"],
        purchase_no=row["purchase_no"],
        amount=Money.of_fen(row["amount_fen"]),
        source=VendSource(row["source"]),
        source_id=row["source_id"],
        state=VendState(row["state"]),
        attempts=row["attempts"],
        created_at=row["created_at"],
        sent_at=row["sent_at"],
        verified_at=row["verified_at"],
        before=_wallet(row, "before"),
        after=_wallet(row, "after"),
        relay_closed_after=None if row["relay_after"] is None else bool(row["relay_after"]),
        last_error=row["last_error"],
    )


def _wallet(row: Row, when: str) -> Wallet | None:
    number = row[f"{when}_purchase_no"]
    return None if number is None else Wallet(number, Money(row[f"{when}_remaining_hao"]))
