"""Proofs of meters as rows: one a meter and night (C11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.ids import uuid7
from backend.kernel.money import ZERO, Money

from .proof_rules import ProofVerdict


@dataclass(frozen=True, slots=True)
class Proof:
    """夜间核对: a meter against the book, see the table for its figures; a DRIFT ends with a note."""

    id: UUID
    project_id: UUID
    meter_id: UUID
    assignment_id: UUID
    day: date
    verdict: ProofVerdict
    reason: str
    proved_at: datetime
    read_at: datetime | None = None
    total: int | None = None
    ledger_count: int | None = None
    meter_count: int | None = None
    ledger: Money | None = None
    meter: Money | None = None
    used: int | None = None
    use: Money | None = None
    least: Money | None = None
    most: Money | None = None
    posted: Money = ZERO
    left: Money | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where the next proof of an assignment begins: the last reading whose gap is known. `left`: what
    the book was above the meter then."""

    read_at: datetime
    total: int
    left: Money


def proof_of(row: Row) -> Proof:
    """A proof from its table row."""
    return Proof(
        id=row["id"],
        project_id=row["project_id"],
        meter_id=row["meter_id"],
        assignment_id=row["assignment_id"],
        day=row["day"],
        verdict=ProofVerdict(row["verdict"]),
        reason=row["reason"],
        proved_at=row["proved_at"],
        read_at=row["read_at"],
        total=row["total"],
        ledger_count=row["ledger_count"],
        meter_count=row["meter_count"],
        ledger=_money(row["ledger_hao"]),
        meter=_money(row["meter_hao"]),
        used=row["used"],
        use=_money(row["use_hao"]),
        least=_money(row["least_hao"]),
        most=_money(row["most_hao"]),
        posted=Money(row["posted_hao"]),
        left=_money(row["left_hao"]),
        resolved_at=row["resolved_at"],
        resolved_by=row["resolved_by"],
        note=row["note"],
    )


def _money(hao: int | None) -> Money | None:
    return None if hao is None else Money(hao)


def _hao(money: Money | None) -> int | None:
    return None if money is None else money.hao


def new_id(at: datetime) -> UUID:
    """An id for a proof that is being made."""
    return uuid7(at)


async def add_proofs(work: UnitOfWork, *, proofs: Sequence[Proof]) -> None:
    """Keep proofs; each meter has one a day."""
    columns = list(
        zip(
            *(
                (
                    one.id,
                    one.project_id,
                    one.meter_id,
                    one.assignment_id,
                    one.day,
                    str(one.verdict),
                    one.reason,
                    one.proved_at,
                    one.read_at,
                    one.total,
                    one.ledger_count,
                    one.meter_count,
                    _hao(one.ledger),
                    _hao(one.meter),
                    one.used,
                    _hao(one.use),
                    _hao(one.least),
                    _hao(one.most),
                    one.posted.hao,
                    _hao(one.left),
                )
                for one in proofs
            ),
            strict=True,
        )
    )
    if not columns:
        return
    await work.execute(
        "INSERT INTO reconcile_proof (group_id, id, project_id, meter_id, assignment_id, day,"
        " verdict, reason, proved_at, read_at, total, ledger_count, meter_count, ledger_hao,"
        " meter_hao, used, use_hao, least_hao, most_hao, posted_hao, left_hao)"
        " SELECT $1, p.* FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::date[],"
        " $7::text[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::bigint[],"
        " $12::integer[], $13::integer[], $14::bigint[], $15::bigint[], $16::bigint[],"
        " $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[]) AS p",
        work.group_id,
        *map(list, columns),
    )


async def proved_of_day(work: UnitOfWork, *, meter_ids: Sequence[UUID], day: date) -> set[UUID]:
    """Those of the meters that have their proof of a day."""
    rows = await work.fetch(
        "SELECT meter_id FROM reconcile_proof"
        " WHERE group_id = $1 AND meter_id = ANY($2) AND day = $3",
        work.group_id,
        list(meter_ids),
        day,
    )
    return {row["meter_id"] for row in rows}


async def anchors(
    work: UnitOfWork, *, pairs: Sequence[tuple[UUID, UUID]], before: date
) -> dict[UUID, Anchor]:
    """Where the proofs of (meter, assignment) pairs go on, by assignment: at the last that agreed, or
    that a person has put right, of a day before `before`."""
    rows = await work.fetch(
        "SELECT p.assignment_id, p.read_at, p.total, p.left_hao"
        " FROM unnest($2::uuid[], $3::uuid[]) AS k(meter_id, assignment_id) CROSS JOIN LATERAL ("
        "  SELECT assignment_id, read_at, total, left_hao FROM reconcile_proof"
        "  WHERE group_id = $1 AND meter_id = k.meter_id AND assignment_id = k.assignment_id"
        "   AND day < $4 AND (verdict = 'AGREES' OR verdict = 'DRIFT' AND resolved_at IS NOT NULL)"
        "  ORDER BY day DESC LIMIT 1) AS p",
        work.group_id,
        [meter_id for meter_id, _ in pairs],
        [assignment_id for _, assignment_id in pairs],
        before,
    )
    return {
        row["assignment_id"]: Anchor(row["read_at"], row["total"], Money(row["left_hao"]))
        for row in rows
    }


async def agreed_after(work: UnitOfWork, *, proof: Proof) -> bool:
    """Whether a later night found the meter in agreement with the book."""
    found: bool = await work.fetchval(
        "SELECT EXISTS (SELECT FROM reconcile_proof WHERE group_id = $1 AND meter_id = $2"
        " AND assignment_id = $3 AND day > $4 AND verdict = 'AGREES')",
        work.group_id,
        proof.meter_id,
        proof.assignment_id,
        proof.day,
    )
    return found


async def proof_by_id(work: UnitOfWork, *, proof_id: UUID) -> Proof | None:
    """One proof of this group, or None."""
    row = await work.fetchrow(
        "SELECT * FROM reconcile_proof WHERE group_id = $1 AND id = $2", work.group_id, proof_id
    )
    return None if row is None else proof_of(row)


async def lock_drifts(work: UnitOfWork, *, meter_id: UUID) -> list[Proof]:
    """The drifts of a meter that no person has put right, oldest first, locked until commit."""
    rows = await work.fetch(
        "SELECT * FROM reconcile_proof WHERE group_id = $1 AND meter_id = $2"
        " AND verdict = 'DRIFT' AND resolved_at IS NULL ORDER BY day FOR UPDATE",
        work.group_id,
        meter_id,
    )
    return [proof_of(row) for row in rows]


async def resolve(
    work: UnitOfWork, *, proof: Proof, left: Money | None, by: str, note: str, at: datetime
) -> Proof:
    """A person put a drift right: the book is `left` above the meter as it was read then (None: as it
    was found). The row is locked."""
    row = await work.fetchrow(
        "UPDATE reconcile_proof SET resolved_at = $3, resolved_by = $4, note = $5,"
        " left_hao = coalesce($6, left_hao) WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        proof.id,
        at,
        by,
        note,
        _hao(left),
    )
    assert row is not None, "the caller holds the proof"
    return proof_of(row)


# Two texts: as a value `only_drift` keeps the index of those from being taken.
_OF_PROJECT = (
    "SELECT * FROM reconcile_proof WHERE group_id = $1 AND project_id = $2"
    " AND ($3::uuid IS NULL OR id < $3)"
)
_PAGE = f"{_OF_PROJECT} ORDER BY id DESC LIMIT $4"
_DRIFTS_PAGE = (
    f"{_OF_PROJECT} AND verdict = 'DRIFT' AND resolved_at IS NULL ORDER BY id DESC LIMIT $4"
)


async def proofs_page(
    work: UnitOfWork, *, project_id: UUID, only_drift: bool, before: UUID | None, limit: int
) -> list[Proof]:
    """Proofs of a project, newest first, those before `before` (keyset); the caller has the right."""
    rows = await work.fetch(
        _DRIFTS_PAGE if only_drift else _PAGE,
        work.group_id,
        project_id,
        before,
        limit,
    )
    return [proof_of(row) for row in rows]
