"""Flow by two readings: registers that move while their relay is open or their valve is shut (A26), and
valves that nothing flows through.

What moves while it is shut goes around the relay, or the valve does not shut any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .rules import MeterKind, register_gain

# A register shows steps of 10 (0.01 kWh, 0.01 m³): what was under way when the relay opened may come out as
# one step more, and is no flow.
ONE_STEP = 10
_PAIRS = (
    "SELECT m.id, m.project_id, m.gateway_id, m.kind, a.account_id, r.at AS since, r.total AS before,"
    " l.at, l.total FROM metering_latest l"
    " JOIN metering_meter m ON m.group_id = l.group_id AND m.id = l.meter_id"
    " LEFT JOIN metering_assignment a ON a.group_id = m.group_id AND a.meter_id = m.id"
    "  AND a.ended_at IS NULL"
    " CROSS JOIN LATERAL (SELECT r.at, r.total, r.relay FROM metering_reading r"
    "  WHERE r.group_id = $1 AND r.meter_id = l.meter_id AND r.at < l.at"
    "  AND r.at > l.at - interval '1 day' ORDER BY r.at DESC LIMIT 1) r"
    " WHERE l.group_id = $1 AND l.relay = 0 AND r.relay = 0 AND l.total <> r.total"
    " AND m.removed_at IS NULL ORDER BY m.id"
)


class ClosedFlow(NamedTuple):
    """What went through a meter, in the unit of its kind, between two readings that both showed it shut."""

    meter_id: UUID
    project_id: UUID
    gateway_id: UUID
    account_id: UUID | None
    kind: MeterKind
    moved: int
    since: datetime
    until: datetime


def moved_while_shut(
    before: int, after: int, *, kind: MeterKind, since: datetime, until: datetime
) -> int:
    """What passed between two readings of a meter that was shut at both; 0 when nothing did, or when the
    register went back (another rule's business, C14)."""
    gained = register_gain(before, after, kind=kind, elapsed=until - since)
    return 0 if gained is None or gained <= ONE_STEP else gained


async def closed_flows(work: UnitOfWork) -> list[ClosedFlow]:
    """The meters in service whose last two readings show them shut and their registers moving."""
    found = []
    for row in await work.fetch(_PAIRS, work.group_id):
        kind = MeterKind(row["kind"])
        moved = moved_while_shut(
            row["before"], row["total"], kind=kind, since=row["since"], until=row["at"]
        )
        if moved:
            found.append(
                ClosedFlow(
                    row["id"],
                    row["project_id"],
                    row["gateway_id"],
                    row["account_id"],
                    kind,
                    moved,
                    row["since"],
                    row["at"],
                )
            )
    return found


async def resting_valves(
    work: UnitOfWork, *, project_id: UUID, models: Sequence[str], since: datetime
) -> list[UUID]:
    """The water meters in service of these models whose valve was seen open at `since` or later, and that
    nothing flowed through between their last two readings."""
    rows = await work.fetch(
        "SELECT m.id FROM metering_meter m JOIN metering_latest l"
        " ON l.group_id = m.group_id AND l.meter_id = m.id"
        " CROSS JOIN LATERAL (SELECT r.total FROM metering_reading r"
        "  WHERE r.group_id = $1 AND r.meter_id = l.meter_id AND r.at < l.at"
        "  AND r.at > l.at - interval '1 day' ORDER BY r.at DESC LIMIT 1) r"
        " WHERE m.group_id = $1 AND m.project_id = $2 AND m.kind = 'WATER' AND m.profile = ANY($3)"
        " AND m.removed_at IS NULL AND l.relay = 1 AND l.at >= $4 AND l.total = r.total"
        " ORDER BY m.id",
        work.group_id,
        project_id,
        list(models),
        since,
    )
    return [row["id"] for row in rows]
