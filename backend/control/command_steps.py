"""Commands to meters as they are written: asked for, taken, announced, ended (C19, C22).

Each step takes many commands at once, for a group commit carries all that come while the one before is on
its way. Row locks and conditional updates keep one unfinished command of a family per meter, and an ended
one as it ended; rows of many are locked by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.ids import uuid7s

from .command_rules import CommandState, Family, Order, family_of, life_of
from .commands import Command, command_of
from .supply_rules import Why

_TRIES = 8
# Looked for in what was found by id: as a condition it has a planner without statistics read all that are
# unfinished. Nor are lists joined to what they name: it takes them for ten long, and compares each with each.
_UNFINISHED = (CommandState.QUEUED, CommandState.SENT)


@dataclass(frozen=True, slots=True)
class NewCommand:
    """A command to be written down. `why`: the rule of the supply that it serves, None for one of another
    business."""

    project_id: UUID
    meter_id: UUID
    order: Order
    why: Why | None

    @property
    def family(self) -> Family:
        """See command_rules.family_of."""
        return family_of(self.order.kind)


async def queue_commands(
    work: UnitOfWork, *, commands: Sequence[NewCommand], requested_by: str, at: datetime
) -> tuple[list[Command], list[Command]]:
    """Write down commands of one family, one a meter; unfinished ones of it at these meters end as
    SUPERSEDED.

    Gives the commands in their order, and those that they superseded. Raises Conflict (others come at the
    same time).
    """
    made: dict[UUID, Command] = {}
    superseded: list[Command] = []
    for _ in range(_TRIES):
        left = [each for each in commands if each.meter_id not in made]
        ids = uuid7s(at, together=len(left))
        rows = await work.fetch(
            "INSERT INTO control_command (group_id, id, project_id, meter_id, kind, family, settings,"
            " state, reason, requested_by, issued_at, expires_at, why)"
            " SELECT $1, c.id, c.project_id, c.meter_id, c.kind, $2, c.settings, 'QUEUED', c.reason, $3,"
            "  $4, c.expires_at, c.why FROM unnest($5::uuid[], $6::uuid[], $7::uuid[], $8::text[],"
            "  $9::jsonb[], $10::text[], $11::timestamptz[], $12::text[])"
            "  AS c(id, project_id, meter_id, kind, settings, reason, expires_at, why)"
            " ON CONFLICT (group_id, meter_id, family) WHERE finished_at IS NULL"
            " DO NOTHING RETURNING *",
            work.group_id,
            left[0].family,
            requested_by,
            at,
            list(islice(ids, len(left))),
            [each.project_id for each in left],
            [each.meter_id for each in left],
            [each.order.kind for each in left],
            [dict(each.order.settings) for each in left],
            [each.order.reason for each in left],
            [at + life_of(each.order.kind) for each in left],
            [each.why for each in left],
        )
        made |= {row["meter_id"]: command_of(row) for row in rows}
        if len(made) == len(commands):
            return [made[each.meter_id] for each in commands], superseded
        # Where one is missing, an older one is unfinished, or was when we asked.
        superseded += await _supersede(
            work, [each for each in commands if each.meter_id not in made], at
        )
    raise Conflict("too many commands to this meter at the same time; try again")


async def _supersede(
    work: UnitOfWork, commands: Sequence[NewCommand], at: datetime
) -> list[Command]:
    rows = await work.fetch(
        "UPDATE control_command SET state = 'SUPERSEDED', finished_at = $4,"
        " outcome = 'a newer ' || $5 || ' came' WHERE group_id = $1 AND id IN ("
        "  SELECT id FROM control_command WHERE group_id = $1 AND meter_id = ANY($2) AND family = $3"
        "  AND finished_at IS NULL ORDER BY id FOR UPDATE) RETURNING *",
        work.group_id,
        [each.meter_id for each in commands],
        commands[0].family,
        at,
        commands[0].order.kind,
    )
    return [command_of(row) for row in rows]


async def unfinished_of(work: UnitOfWork, *, command_ids: Sequence[UUID]) -> dict[UUID, Command]:
    """Those of the commands that have not ended, as they are now."""
    rows = await work.fetch(
        "SELECT * FROM control_command WHERE group_id = $1 AND id = ANY($2)",
        work.group_id,
        list(command_ids),
    )
    return {row["id"]: command_of(row) for row in rows if row["state"] in _UNFINISHED}


async def lock_unfinished(work: UnitOfWork, *, command_ids: Sequence[UUID]) -> dict[UUID, Command]:
    """As `unfinished_of`, with their rows locked until commit."""
    rows = await work.fetch(
        "SELECT * FROM control_command WHERE group_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE",
        work.group_id,
        list(command_ids),
    )
    return {row["id"]: command_of(row) for row in rows if row["state"] in _UNFINISHED}


async def _lock(work: UnitOfWork, command_ids: Sequence[UUID]) -> None:
    """Hold the rows of commands until commit, in the order of all."""
    await work.execute(
        "SELECT FROM control_command WHERE group_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE",
        work.group_id,
        list(command_ids),
    )


class Writing(NamedTuple):
    """A write that is about to leave. `writes`: how many there were before it, as the worker knows;
    `relay_closed`: as just read."""

    command_id: UUID
    writes: int
    relay_closed: bool | None
    at: datetime


async def mark_writing(work: UnitOfWork, *, writes: Sequence[Writing]) -> dict[UUID, Command]:
    """Writes may reach their meters from now on. Committed before they leave, so that after a crash the
    meters are read first. The caller holds the rows by `lock_unfinished`."""
    rows = await work.fetch(
        "UPDATE control_command SET state = 'SENT', writes = writes + 1,"
        " sent_at = ($3::timestamptz[])[array_position($2::uuid[], id)],"
        " relay_before = coalesce(relay_before, ($4::smallint[])[array_position($2::uuid[], id)])"
        " WHERE group_id = $1 AND id = ANY($2) RETURNING *",
        work.group_id,
        [write.command_id for write in writes],
        [write.at for write in writes],
        [None if write.relay_closed is None else int(write.relay_closed) for write in writes],
    )
    return {row["id"]: command_of(row) for row in rows}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why the last try did not end a command. `accepted_at`: its meter answered the last write (None: nothing
    new of that)."""

    command_id: UUID
    why: str
    accepted_at: datetime | None = None


async def note_waiting(work: UnitOfWork, *, waiting: Sequence[Waiting]) -> None:
    """Keep why commands wait; of those that ended nothing."""
    await _lock(work, [each.command_id for each in waiting])
    await work.execute(
        "UPDATE control_command SET outcome = ($3::text[])[array_position($2::uuid[], id)],"
        " accepted_at = coalesce(($4::timestamptz[])[array_position($2::uuid[], id)], accepted_at)"
        " WHERE group_id = $1 AND id = ANY($2) AND state IN ('QUEUED', 'SENT')",
        work.group_id,
        [each.command_id for each in waiting],
        [each.why[:500] for each in waiting],
        [each.accepted_at for each in waiting],
    )


class End(NamedTuple):
    """How a command ended. `relay_after`: as last read; `accepted_at`: its meter answered the last write
    (None: as it is known already)."""

    command_id: UUID
    state: CommandState
    outcome: str
    relay_after: bool | None
    at: datetime
    accepted_at: datetime | None = None


async def end_commands(work: UnitOfWork, *, ends: Sequence[End]) -> dict[UUID, Command]:
    """End commands; those that had ended before are missing (what ended them first stays)."""
    await _lock(work, [end.command_id for end in ends])
    rows = await work.fetch(
        "UPDATE control_command SET state = ($3::text[])[array_position($2::uuid[], id)],"
        " outcome = ($4::text[])[array_position($2::uuid[], id)],"
        " relay_after = ($5::smallint[])[array_position($2::uuid[], id)],"
        " finished_at = ($6::timestamptz[])[array_position($2::uuid[], id)],"
        " accepted_at = coalesce(($7::timestamptz[])[array_position($2::uuid[], id)], accepted_at)"
        " WHERE group_id = $1 AND id = ANY($2) AND state IN ('QUEUED', 'SENT') RETURNING *",
        work.group_id,
        [end.command_id for end in ends],
        [end.state for end in ends],
        [end.outcome[:500] for end in ends],
        [None if end.relay_after is None else int(end.relay_after) for end in ends],
        [end.at for end in ends],
        [end.accepted_at for end in ends],
    )
    return {row["id"]: command_of(row) for row in rows}
