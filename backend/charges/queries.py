"""Reads of charges: positions and months for charging, charges for people, the three figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

import orjson

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound

from .rules import Amounts, Charge, Hold, Month, Point, Position, Reason, Ruling, Supply

_NARROW = (
    "assignment_id, project_id, account_id, kind, meter_id, baseline_at, rated_at, total, spike_wh,"
    " peak_wh, flat_wh, valley_wh, deep_wh, seq, price_hao, estimated, held_at, hold, ctid"
)
_BANDS = ("spike_wh", "peak_wh", "flat_wh", "valley_wh", "deep_wh")


async def positions_of(work: UnitOfWork, *, assignment_ids: Sequence[UUID]) -> list[Position]:
    """The positions of assignments; one that was never charged has none. Their baselines are not whole:
    of these the instant is known alone."""
    rows = await work.fetch(
        f"SELECT {_NARROW} FROM charges_position WHERE group_id = $1 AND assignment_id = ANY($2)",
        work.group_id,
        list(assignment_ids),
    )
    return [_narrow(row) for row in rows]


def _narrow(row: Row) -> Position:
    """By place: a row of a batch of thousands."""
    id_, project_id, account_id, kind, meter_id, since, at, total, *bands = row
    spike, peak, flat, valley, deep, seq, price, estimated, held_at, hold, place = bands
    return Position(
        id_,
        project_id,
        account_id,
        kind,
        meter_id,
        Point(since, 0),
        Point(at, total, (spike, peak, flat, valley, deep)),
        seq,
        price,
        estimated,
        held_at,
        None if hold is None else Hold(hold),
        place,
    )


async def held_position(work: UnitOfWork, *, meter_id: UUID) -> Position | None:
    """The position of a meter's assignment that waits for a ruling, or None."""
    row = await work.fetchrow(
        "SELECT *, ctid FROM charges_position"
        " WHERE group_id = $1 AND meter_id = $2 AND hold <> 'NO_TARIFF'"
        " ORDER BY baseline_at DESC LIMIT 1",
        work.group_id,
        meter_id,
    )
    return None if row is None else _position_of(row)


async def held_assignments(work: UnitOfWork, *, assignment_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Those of the assignments of which the use is not known: they wait for a person (C14)."""
    rows = await work.fetch(
        "SELECT assignment_id FROM charges_position"
        " WHERE group_id = $1 AND assignment_id = ANY($2) AND hold IS NOT NULL",
        work.group_id,
        list(assignment_ids),
    )
    return frozenset(row["assignment_id"] for row in rows)


async def positions_of_supplies(work: UnitOfWork, *, supplies: Sequence[Supply]) -> list[Position]:
    """The positions of all assignments of supplies, those that ended included."""
    rows = await work.fetch(
        "SELECT p.*, p.ctid FROM unnest($2::uuid[], $3::text[]) AS s(account_id, kind)"
        " JOIN charges_position p ON p.group_id = $1 AND p.account_id = s.account_id"
        "  AND p.kind = s.kind ORDER BY p.baseline_at, p.assignment_id",
        work.group_id,
        [supply.account_id for supply in supplies],
        [supply.kind for supply in supplies],
    )
    return [_position_of(row) for row in rows]


def _position_of(row: Row) -> Position:
    at, total, bands = row["baseline"]
    return Position(
        assignment_id=row["assignment_id"],
        project_id=row["project_id"],
        account_id=row["account_id"],
        kind=row["kind"],
        meter_id=row["meter_id"],
        baseline=Point(datetime.fromisoformat(at), total, tuple(bands)),
        last=Point(row["rated_at"], row["total"], tuple(row[band] for band in _BANDS)),
        seq=row["seq"],
        price_hao=row["price_hao"],
        estimated=row["estimated"],
        held_at=row["held_at"],
        hold=None if row["hold"] is None else Hold(row["hold"]),
        place=row["ctid"],
    )


async def months_of(
    work: UnitOfWork, *, supplies: Sequence[Supply], first: date
) -> dict[tuple[Supply, date], Month]:
    """The months to date of supplies from `first` on."""
    of_kind: dict[str, list[UUID]] = {}
    for account_id, kind in supplies:
        of_kind.setdefault(str(kind), []).append(account_id)
    found: dict[tuple[Supply, date], Month] = {}
    for kind, account_ids in of_kind.items():
        # Segments as text: the connection's own reader of JSON takes three times as long.
        rows = await work.fetch(
            "SELECT account_id, month, project_id, rated_until, used, segments::text, energy_hao,"
            " fixed_hao, loss_hao, public_hao, service_hao, ctid FROM charges_month"
            " WHERE group_id = $1 AND kind = $2 AND account_id = ANY($3) AND month >= $4",
            work.group_id,
            kind,
            account_ids,
            first,
        )
        for account_id, month, project_id, until, used, segments, *posted, place in rows:
            found[Supply(account_id, kind), month] = Month(
                account_id,
                project_id,
                kind,
                month,
                until,
                used,
                orjson.loads(segments),
                Amounts._make(posted),
                place,
            )
    return found


async def rulings_of(
    work: UnitOfWork, *, assignment_ids: Sequence[UUID]
) -> dict[UUID, dict[datetime, Ruling]]:
    """What was ruled of readings of assignments."""
    rows = await work.fetch(
        "SELECT assignment_id, at, ruling FROM charges_ruling"
        " WHERE group_id = $1 AND assignment_id = ANY($2)",
        work.group_id,
        list(assignment_ids),
    )
    found: dict[UUID, dict[datetime, Ruling]] = {each: {} for each in assignment_ids}
    for row in rows:
        found[row["assignment_id"]][row["at"]] = Ruling(row["ruling"])
    return found


def _amounts_of(row: Row) -> Amounts:
    names = ("energy_hao", "fixed_hao", "loss_hao", "public_hao", "service_hao")
    return Amounts(*(row[name] for name in names))


def charge_of(row: Row) -> Charge:
    """A charge from its table row."""
    bands = ("spike", "peak", "flat", "valley", "deep", "unbanded")
    return Charge(
        id=row["id"],
        project_id=row["project_id"],
        account_id=row["account_id"],
        purse_id=row["purse_id"],
        assignment_id=row["assignment_id"],
        seq=row["seq"],
        reason=Reason(row["reason"]),
        kind=row["kind"],
        month=row["month"],
        day=row["day"],
        from_at=row["from_at"],
        to_at=row["to_at"],
        from_total=row["from_total"],
        to_total=row["to_total"],
        use=tuple(row[band] for band in bands),
        shared=row["shared"],
        version_id=row["version_id"],
        season=row["season"],
        step_before=row["step_before"],
        use_before=row["use_before"],
        days=row["days"],
        detail=row["detail"],
        amounts=_amounts_of(row),
        entry_id=row["entry_id"],
        charged_at=row["charged_at"],
    )


async def charges_of_account(
    work: UnitOfWork, *, account_id: UUID, before: UUID | None, limit: int
) -> list[Charge]:
    """The charges of an account, newest first, those before the charge `before` (keyset)."""
    rows = await work.fetch(
        "SELECT * FROM charges_charge WHERE group_id = $1 AND account_id = $2"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        work.group_id,
        account_id,
        before,
        limit,
    )
    return [charge_of(row) for row in rows]


async def charge_by_id(work: UnitOfWork, *, charge_id: UUID) -> Charge:
    """One charge of this group. Raises NotFound."""
    row = await work.fetchrow(
        "SELECT * FROM charges_charge WHERE group_id = $1 AND id = $2", work.group_id, charge_id
    )
    if row is None:
        raise NotFound("no such charge")
    return charge_of(row)


async def standing_estimates(work: UnitOfWork, *, assignment_ids: Sequence[UUID]) -> list[Charge]:
    """The provisional charges of assignments that were not taken back yet, oldest first."""
    rows = await work.fetch(
        "SELECT c.* FROM charges_charge c WHERE c.group_id = $1 AND c.assignment_id = ANY($2)"
        " AND c.reason = 'ESTIMATE' AND NOT EXISTS (SELECT FROM charges_charge r"
        "  WHERE r.group_id = $1 AND r.assignment_id = c.assignment_id"
        "  AND r.reason = 'ESTIMATE_REVERSED' AND r.detail ->> 'reverses' = c.id::text)"
        " ORDER BY c.seq",
        work.group_id,
        list(assignment_ids),
    )
    return [charge_of(row) for row in rows]
