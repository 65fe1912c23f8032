"""Supply as rows: what operators want of a meter, what protects it, what the cloud made of its relay, and
what was decided (C19, C23). Locked by row, a meter's decisions one after another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .command_rules import CommandKind
from .supply_rules import Force, OwnCut, SafetyLock, SupplyPolicy, Want, Why


@dataclass(frozen=True, slots=True)
class Said:
    """Who said something of a supply, why and when."""

    reason: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class MeterSupply:
    """供电: a meter's row. `until`: the policy is AUTO again then. `review_at`: when a person looks whether
    the protection is still needed. `force`: what the cloud made of the relay, or may have made of it by a
    write that was announced at `force_at`, and has not taken back. `own_cut`: what the meter says that it
    opened the relay for by itself, since `own_cut_at`. `want`, `why`: what was decided last, None before
    that; `decided_at`: since when."""

    meter_id: UUID
    project_id: UUID
    policy: SupplyPolicy
    until: datetime | None
    policy_said: Said | None
    protected: Said | None
    review_at: datetime | None
    emergency: Said | None
    safety: SafetyLock | None
    force: Force | None
    force_at: datetime | None
    own_cut: OwnCut | None
    own_cut_at: datetime | None
    want: Want | None
    why: Why | None
    command: CommandKind | None
    decided_at: datetime | None

    def policy_at(self, at: datetime) -> SupplyPolicy:
        """The policy that holds at an instant (C23: until when)."""
        over = self.until is not None and self.until <= at
        return SupplyPolicy.AUTO if over else self.policy


def _supply_of(row: Row) -> MeterSupply:
    force = row["force"]
    return MeterSupply(
        meter_id=row["meter_id"],
        project_id=row["project_id"],
        policy=SupplyPolicy(row["policy"]),
        until=row["policy_until"],
        policy_said=_said(row, "policy"),
        protected=_said(row, "protected"),
        review_at=row["review_at"],
        emergency=_said(row, "emergency"),
        safety=None if row["safety"] is None else SafetyLock(row["safety"]),
        force=None if force is None else Force(CommandKind(force), Why(row["force_why"])),
        force_at=row["force_at"],
        own_cut=None if row["own_cut"] is None else OwnCut(row["own_cut"]),
        own_cut_at=row["own_cut_at"],
        want=None if row["want"] is None else Want(row["want"]),
        why=None if row["why"] is None else Why(row["why"]),
        command=None if row["command"] is None else CommandKind(row["command"]),
        decided_at=row["decided_at"],
    )


def _said(row: Row, what: str) -> Said | None:
    reason, by, at = row[f"{what}_reason"], row[f"{what}_by"], row[f"{what}_at"]
    return None if at is None else Said(reason, by, at)


async def make_supplies(work: UnitOfWork, *, meters: Mapping[UUID, UUID]) -> None:
    """Rows of meters (with their projects) that have none yet."""
    await work.execute(
        "INSERT INTO control_supply (group_id, meter_id, project_id)"
        " SELECT $1, m.* FROM unnest($2::uuid[], $3::uuid[]) AS m(meter_id, project_id)"
        " ORDER BY m.meter_id ON CONFLICT DO NOTHING",
        work.group_id,
        list(meters),
        list(meters.values()),
    )


async def lock_supply(work: UnitOfWork, *, project_id: UUID, meter_id: UUID) -> MeterSupply:
    """A meter's row, made on first sight, locked until commit."""
    return (await lock_supplies(work, meters={meter_id: project_id}))[meter_id]


async def lock_supplies(
    work: UnitOfWork, *, meters: Mapping[UUID, UUID]
) -> dict[UUID, MeterSupply]:
    """The rows of meters (with their projects), made on first sight, locked until commit, by meter."""
    await make_supplies(work, meters=meters)
    return await _lock(work, meters)


async def _lock(work: UnitOfWork, meter_ids: Collection[UUID]) -> dict[UUID, MeterSupply]:
    if not meter_ids:
        return {}
    rows = await work.fetch(
        "SELECT * FROM control_supply WHERE group_id = $1 AND meter_id = ANY($2)"
        " ORDER BY meter_id FOR UPDATE",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: _supply_of(row) for row in rows}


async def supplies_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID]
) -> dict[UUID, MeterSupply]:
    """The rows of those meters that have one: one statement for a page."""
    rows = await work.fetch(
        "SELECT * FROM control_supply WHERE group_id = $1 AND meter_id = ANY($2)",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: _supply_of(row) for row in rows}


async def lock_wanted(
    work: UnitOfWork,
    *,
    at: datetime,
    off: Sequence[UUID],
    after: UUID | None,
    limit: int,
) -> list[MeterSupply]:
    """Meters of which something is wanted (or was, and is not taken back), whose account owes, which are
    locked for safety or follow a timetable that is `off`, and that have no unfinished command over their
    relay: those that follow `after` by id, held until commit."""
    rows = await work.fetch(
        "SELECT s.* FROM control_supply s WHERE s.group_id = $1"
        " AND ($4::uuid IS NULL OR s.meter_id > $4)"
        " AND (s.policy <> 'AUTO' AND coalesce(s.policy_until > $3, true) OR s.protected_at IS NOT NULL"
        "  OR s.emergency_at IS NOT NULL OR s.force IS NOT NULL OR s.owing"
        "  OR s.safety IS NOT NULL"
        "  OR s.timetable_id IS NOT NULL AND s.timetable_id = ANY($5))"
        " AND NOT EXISTS (SELECT FROM control_command c WHERE c.group_id = $1"
        "  AND c.meter_id = s.meter_id AND c.family = 'RELAY' AND c.finished_at IS NULL)"
        " ORDER BY s.meter_id LIMIT $2 FOR UPDATE OF s SKIP LOCKED",
        work.group_id,
        limit,
        at,
        after,
        list(off),
    )
    return [_supply_of(row) for row in rows]


_TRIPPED_FOR = (
    "(s.force = 'TRIP' AND s.force_why = $3 OR EXISTS (SELECT FROM control_command c"
    "  WHERE c.group_id = $1 AND c.meter_id = s.meter_id AND c.kind = 'TRIP' AND c.why = $3"
    "  AND c.finished_at IS NULL))"
)


async def lock_and_say(
    work: UnitOfWork,
    *,
    meters: Mapping[UUID, UUID],
    policy: SupplyPolicy,
    until: datetime | None,
    said: Said,
) -> dict[UUID, MeterSupply]:
    """The rows of those of the meters (with their projects) that have one, locked until commit, by meter; one
    that has none gets it with what the operator wants of it, for nothing else is known of it."""
    held = await _lock(work, meters)
    fresh = {meter_id: project for meter_id, project in meters.items() if meter_id not in held}
    if not fresh:
        return held
    rows = await work.fetch(
        "INSERT INTO control_supply (group_id, meter_id, project_id, policy, policy_until, policy_reason,"
        " policy_by, policy_at) SELECT $1, m.*, $4, $5, $6, $7, $8"
        " FROM unnest($2::uuid[], $3::uuid[]) AS m(meter_id, project_id)"
        " ORDER BY m.meter_id ON CONFLICT DO NOTHING RETURNING meter_id",
        work.group_id,
        list(fresh),
        list(fresh.values()),
        policy,
        None if policy is SupplyPolicy.AUTO else until,
        said.reason,
        said.by,
        said.at,
    )
    made = {row["meter_id"] for row in rows}
    return held | await _lock(work, [each for each in fresh if each not in made])


async def lock_tripped(
    work: UnitOfWork, *, meter_ids: Sequence[UUID], why: Why
) -> list[MeterSupply]:
    """Those of the meters that were, or are about to be, tripped for a reason, held until commit."""
    rows = await work.fetch(
        "SELECT s.* FROM control_supply s WHERE s.group_id = $1 AND s.meter_id = ANY($2)"
        f" AND {_TRIPPED_FOR} ORDER BY s.meter_id FOR UPDATE OF s",
        work.group_id,
        list(meter_ids),
        why,
    )
    return [_supply_of(row) for row in rows]


async def tripped(work: UnitOfWork, *, meter_ids: Sequence[UUID], why: Why) -> frozenset[UUID]:
    """Those of the meters that were, or are about to be, tripped for a reason."""
    rows = await work.fetch(
        "SELECT s.meter_id FROM control_supply s WHERE s.group_id = $1 AND s.meter_id = ANY($2)"
        f" AND {_TRIPPED_FOR}",
        work.group_id,
        list(meter_ids),
        why,
    )
    return frozenset(row["meter_id"] for row in rows)


async def note_owing(work: UnitOfWork, *, meters: Mapping[UUID, UUID]) -> None:
    """Keep which meters (with their projects) are looked at because their accounts owe, and which no more."""
    await work.execute(
        "INSERT INTO control_supply AS s (group_id, project_id, meter_id, owing)"
        " SELECT $1, m.project_id, m.meter_id, true"
        " FROM unnest($2::uuid[], $3::uuid[]) AS m(meter_id, project_id)"
        " WHERE NOT EXISTS (SELECT FROM control_supply o WHERE o.group_id = $1"
        "  AND o.meter_id = m.meter_id AND o.owing) ORDER BY m.meter_id"
        " ON CONFLICT (group_id, meter_id) DO UPDATE SET owing = true",
        work.group_id,
        list(meters),
        list(meters.values()),
    )
    await work.execute(
        "UPDATE control_supply SET owing = false WHERE group_id = $1 AND owing"
        " AND meter_id <> ALL($2)",
        work.group_id,
        list(meters),
    )


async def set_policy(
    work: UnitOfWork,
    *,
    meter_ids: Sequence[UUID],
    policy: SupplyPolicy,
    until: datetime | None,
    said: Said,
) -> None:
    """What the operator wants of meters from now on. The caller holds the rows."""
    await work.execute(
        "UPDATE control_supply SET policy = $3, policy_until = $4, policy_reason = $5,"
        " policy_by = $6, policy_at = $7 WHERE group_id = $1 AND meter_id = ANY($2)",
        work.group_id,
        list(meter_ids),
        policy,
        None if policy is SupplyPolicy.AUTO else until,
        said.reason,
        said.by,
        said.at,
    )


async def set_protection(
    work: UnitOfWork, *, meter_id: UUID, said: Said | None, review_at: datetime | None
) -> None:
    """Put a meter on the protected list, or (`said` None) take it off. The caller holds the row."""
    await work.execute(
        "UPDATE control_supply SET protected_reason = $3, protected_by = $4, protected_at = $5,"
        " review_at = $6 WHERE group_id = $1 AND meter_id = $2",
        work.group_id,
        meter_id,
        said and said.reason,
        said and said.by,
        said and said.at,
        review_at,
    )


async def set_emergency(work: UnitOfWork, *, meter_id: UUID, said: Said | None) -> None:
    """Begin an emergency trip, or (None) end it. The caller holds the row."""
    await work.execute(
        "UPDATE control_supply SET emergency_reason = $3, emergency_by = $4, emergency_at = $5"
        " WHERE group_id = $1 AND meter_id = $2",
        work.group_id,
        meter_id,
        said and said.reason,
        said and said.by,
        said and said.at,
    )


async def lock_supplies_of_commands(
    work: UnitOfWork, *, command_ids: Sequence[UUID]
) -> frozenset[UUID]:
    """Hold the rows of the commands' meters until commit, before the commands' own: everybody in one
    order. Gives those of the meters that are protected."""
    rows = await work.fetch(
        "SELECT meter_id, protected_at FROM control_supply WHERE group_id = $1 AND meter_id = ANY("
        " ARRAY(SELECT meter_id FROM control_command WHERE group_id = $1 AND id = ANY($2)))"
        " ORDER BY meter_id FOR UPDATE",
        work.group_id,
        list(command_ids),
    )
    return frozenset(row["meter_id"] for row in rows if row["protected_at"] is not None)


async def note_written(work: UnitOfWork, *, forces: Mapping[UUID, tuple[Force, datetime]]) -> None:
    """Writes that force relays may reach their meters from now on; whether they do, nobody may ever say.
    The caller holds the rows."""
    await work.execute(
        "UPDATE control_supply SET force = ($3::text[])[array_position($2::uuid[], meter_id)],"
        " force_why = ($4::text[])[array_position($2::uuid[], meter_id)],"
        " force_at = ($5::timestamptz[])[array_position($2::uuid[], meter_id)]"
        " WHERE group_id = $1 AND meter_id = ANY($2)",
        work.group_id,
        list(forces),
        [force.kind for force, _ in forces.values()],
        [force.why for force, _ in forces.values()],
        [at for _, at in forces.values()],
    )


async def note_obeyed(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> None:
    """Meters obeyed commands that leave their relays to the money, or to another business (a takedown): they
    are forced no more, and nothing of it is the supply's to take back. The caller holds the rows."""
    await work.execute(
        "UPDATE control_supply SET force = NULL, force_why = NULL, force_at = NULL"
        " WHERE group_id = $1 AND meter_id = ANY($2) AND force IS NOT NULL",
        work.group_id,
        list(meter_ids),
    )
