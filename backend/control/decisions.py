"""Decisions over supplies that changed, kept with all that they were taken from (C19, C23)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.ids import uuid7

from .command_rules import CommandKind
from .supplies import MeterSupply
from .supply_rules import Decision, Want, Why


class NewDecision(NamedTuple):
    """A decision that differs from the one before, with the facts that it was taken from."""

    supply: MeterSupply
    decision: Decision
    inputs: Mapping[str, Any]


async def keep_decisions(
    work: UnitOfWork, *, decisions: Sequence[NewDecision], at: datetime
) -> None:
    """Keep decisions that changed with all that they were taken from, by two statements. The caller holds
    the rows."""
    if not decisions:
        return
    meter_ids = [each.supply.meter_id for each in decisions]
    wants = [each.decision.want for each in decisions]
    whys = [each.decision.why for each in decisions]
    kinds = [each.decision.command for each in decisions]
    await work.execute(
        "UPDATE control_supply s SET want = d.want, why = d.why, command = d.command, decided_at = $2"
        " FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[]) AS d(meter_id, want, why, command)"
        " WHERE s.group_id = $1 AND s.meter_id = ANY($3) AND s.meter_id = d.meter_id",
        work.group_id,
        at,
        meter_ids,
        wants,
        whys,
        kinds,
    )
    await work.execute(
        "INSERT INTO control_decision (group_id, id, project_id, meter_id, decided_at, want, why,"
        " held_back, command, inputs) SELECT $1, d.id, d.project_id, d.meter_id, $2, d.want, d.why,"
        " string_to_array(d.held_back, ' '), d.command, d.inputs"
        " FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::uuid[], $9::text[],"
        "  $10::jsonb[]) AS d(meter_id, want, why, command, id, project_id, held_back, inputs)",
        work.group_id,
        at,
        meter_ids,
        wants,
        whys,
        kinds,
        [uuid7(at) for _ in decisions],
        [each.supply.project_id for each in decisions],
        [" ".join(each.decision.held_back) for each in decisions],
        [dict(each.inputs) for each in decisions],
    )


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """A decision as it was kept. `inputs`: the fields of Supply, spans in seconds, money in hao."""

    id: UUID
    decided_at: datetime
    want: Want
    why: Why
    held_back: tuple[Why, ...]
    command: CommandKind | None
    inputs: Mapping[str, Any]


async def decisions_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID], limit: int
) -> dict[UUID, list[KeptDecision]]:
    """The newest decisions of each meter, at most `limit` each: one statement for a page."""
    rows = await work.fetch(
        "SELECT d.* FROM unnest($2::uuid[]) AS m(id) CROSS JOIN LATERAL ("
        "   SELECT * FROM control_decision WHERE group_id = $1 AND meter_id = m.id"
        "   ORDER BY id DESC LIMIT $3) d",
        work.group_id,
        list(meter_ids),
        limit,
    )
    found: dict[UUID, list[KeptDecision]] = {meter_id: [] for meter_id in meter_ids}
    for row in rows:
        found[row["meter_id"]].append(
            KeptDecision(
                id=row["id"],
                decided_at=row["decided_at"],
                want=Want(row["want"]),
                why=Why(row["why"]),
                held_back=tuple(map(Why, row["held_back"])),
                command=None if row["command"] is None else CommandKind(row["command"]),
                inputs=row["inputs"],
            )
        )
    return found
