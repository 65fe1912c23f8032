"""The life of a purse as the book tells it: opening + in - out = closing."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.money import ZERO, Money

from .rules import AccountKind, LotKind


@dataclass(frozen=True, slots=True)
class LotLeft:
    """A lot that is not used up. `source`: what opened it."""

    id: UUID
    kind: LotKind
    source: str
    left: Money


async def lots_left(work: UnitOfWork, *, purse: UUID) -> list[LotLeft]:
    """The lots of a purse (its ref) that something is left of, grants first, then the oldest."""
    rows = await work.fetch(
        "SELECT l.id, l.kind, l.source, l.amount_hao - l.used_hao AS left_hao FROM ledger_account a"
        " JOIN ledger_lot l ON l.group_id = a.group_id AND l.purse_id = a.id"
        " WHERE a.group_id = $1 AND a.kind = 'PURSE' AND a.ref = $2 AND l.used_hao < l.amount_hao"
        " ORDER BY l.kind <> 'GRANT', l.created_at, l.id",
        work.group_id,
        purse,
    )
    return [
        LotLeft(row["id"], LotKind(row["kind"]), row["source"], Money(row["left_hao"]))
        for row in rows
    ]


async def moved_by_kind(work: UnitOfWork, *, kind: AccountKind, ref: UUID) -> dict[str, Money]:
    """What an account of the book got (positive) or gave (negative), by kind of entry."""
    rows = await work.fetch(
        "SELECT e.kind, sum(-p.amount_hao)::bigint AS got FROM ledger_account a"
        " JOIN ledger_posting p ON p.group_id = a.group_id AND p.account_id = a.id"
        " JOIN ledger_entry e ON e.group_id = p.group_id AND e.id = p.entry_id"
        " WHERE a.group_id = $1 AND a.kind = $2 AND a.ref = $3 GROUP BY e.kind ORDER BY e.kind",
        work.group_id,
        kind,
        ref,
    )
    return {row["kind"]: Money(row["got"]) for row in rows}


# To a meter and back: what is used there is what does not come back.
_AT_METERS = ("VEND_RESERVED", "METER_MONEY_MOVED", "OPENING_AT_METER")


def statement_of(moved: dict[str, Money]) -> dict[str, str]:
    """A purse's life by line, in yuan: what came, what went, what was used at meters; `opening` + `in` -
    `out` = `closing`. Lines are kinds of entries."""
    used = -sum((moved.get(kind, ZERO) for kind in _AT_METERS), start=ZERO)
    lines = {kind: amount for kind, amount in moved.items() if kind not in _AT_METERS and amount}
    if used:
        lines["USED_AT_METER"] = -used
    came = sum((amount for amount in lines.values() if amount > ZERO), start=ZERO)
    went = -sum((amount for amount in lines.values() if amount < ZERO), start=ZERO)
    told = {kind: str(amount) for kind, amount in sorted(lines.items())}
    return {
        "opening": str(ZERO),
        "in": str(came),
        "out": str(went),
        "closing": str(came - went),
        **told,
    }
