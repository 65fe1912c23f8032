"""Commands to meters as they are read (C19, C22). How they are written stands in command_steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .command_rules import (
    CommandKind,
    CommandState,
    over_at,
)
from .supply_rules import Why


class Command(NamedTuple):
    """指令: an operator's order to one meter. Relays: True is closed, None was not read or not told.

    `sent_at`: the last of `writes` writes was announced;
    `accepted_at`: the meter answered that write. `outcome`: how it ended, or why it waits. `why`: the rule
    of the supply that it serves, None for one of another business.
    """

    id: UUID
    project_id: UUID
    meter_id: UUID
    kind: CommandKind
    settings: Mapping[str, int]
    state: CommandState
    reason: str
    requested_by: str
    issued_at: datetime
    expires_at: datetime
    writes: int
    sent_at: datetime | None
    accepted_at: datetime | None
    finished_at: datetime | None
    relay_before: bool | None
    relay_after: bool | None
    outcome: str | None
    why: Why | None

    @property
    def over_at(self) -> datetime:
        """See command_rules.over_at."""
        return over_at(kind=self.kind, expires_at=self.expires_at, sent_at=self.sent_at)


_KINDS = {each.value: each for each in CommandKind}
_STATES = {each.value: each for each in CommandState}
_WHYS = {None: None} | {each.value: each for each in Why}
_CLOSED = {None: None, 0: False, 1: True}


def command_of(row: Row) -> Command:
    """A command from its table row."""
    return Command(  # by place and by tables: a batch reads each of thousands five times on its way
        row["id"],
        row["project_id"],
        row["meter_id"],
        _KINDS[row["kind"]],
        row["settings"],
        _STATES[row["state"]],
        row["reason"],
        row["requested_by"],
        row["issued_at"],
        row["expires_at"],
        row["writes"],
        row["sent_at"],
        row["accepted_at"],
        row["finished_at"],
        _CLOSED[row["relay_before"]],
        _CLOSED[row["relay_after"]],
        row["outcome"],
        _WHYS[row["why"]],
    )


async def command(work: UnitOfWork, *, scope: Scope, command_id: UUID) -> Command:
    """One command for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM control_command WHERE group_id = $1 AND id = $2", work.group_id, command_id
    )
    if row is None or not scope.may(Permission.METER_READ, row["project_id"]):
        raise NotFound("no such command")
    return command_of(row)


async def commands_by_id(work: UnitOfWork, *, command_ids: Sequence[UUID]) -> list[Command]:
    """Commands of this group in the order in which they were given, for jobs."""
    rows = await work.fetch(
        "SELECT * FROM control_command WHERE group_id = $1 AND id = ANY($2) ORDER BY id",
        work.group_id,
        list(command_ids),
    )
    return [command_of(row) for row in rows]


async def last_trips(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, Command]:
    """The newest trip that each of the meters obeyed, if any."""
    rows = await work.fetch(
        "SELECT c.* FROM unnest($2::uuid[]) AS m(id) CROSS JOIN LATERAL ("
        "   SELECT * FROM control_command WHERE group_id = $1 AND meter_id = m.id AND kind = 'TRIP'"
        "   AND state = 'VERIFIED' ORDER BY id DESC LIMIT 1) c",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: command_of(row) for row in rows}


async def commands_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID], limit: int
) -> dict[UUID, list[Command]]:
    """The newest commands of each meter, at most `limit` each: one statement for a page."""
    rows = await work.fetch(
        "SELECT c.* FROM unnest($2::uuid[]) AS m(id) CROSS JOIN LATERAL ("
        "   SELECT * FROM control_command WHERE group_id = $1 AND meter_id = m.id"
        "   ORDER BY id DESC LIMIT $3) c",
        work.group_id,
        list(meter_ids),
        limit,
    )
    found: dict[UUID, list[Command]] = {meter_id: [] for meter_id in meter_ids}
    for row in rows:
        found[row["meter_id"]].append(command_of(row))
    return found


async def unfinished(work: UnitOfWork) -> list[Command]:
    """The group's commands that wait or may be half done, oldest first: the janitor's list."""
    rows = await work.fetch(
        "SELECT * FROM control_command WHERE group_id = $1 AND finished_at IS NULL ORDER BY id",
        work.group_id,
    )
    return [command_of(row) for row in rows]


async def last_relay_commands(
    work: UnitOfWork, *, meter_ids: Sequence[UUID]
) -> dict[UUID, Command]:
    """The newest command over its relay that each of the meters was given, if any."""
    # The meter is said twice: where statistics know no numbers yet, one is taken for a two-hundredth of all
    # commands, and the key of the whole group is read beside its index for each.
    rows = await work.fetch(
        "SELECT c.* FROM unnest($2::uuid[]) AS m(id) CROSS JOIN LATERAL ("
        "   SELECT * FROM control_command WHERE group_id = $1 AND meter_id = m.id"
        "   AND meter_id BETWEEN m.id AND m.id AND family = 'RELAY' ORDER BY id DESC LIMIT 1) c",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: command_of(row) for row in rows}


async def trips_given(
    work: UnitOfWork, *, project_ids: Sequence[UUID], by: str, since: datetime
) -> dict[UUID, int]:
    """How many trips were given by `by` in each project since an instant."""
    rows = await work.fetch(
        "SELECT project_id, count(*)::integer AS trips FROM control_command"
        " WHERE group_id = $1 AND project_id = ANY($2) AND kind = 'TRIP' AND requested_by = $3"
        "  AND issued_at >= $4 GROUP BY project_id",
        work.group_id,
        list(project_ids),
        by,
        since,
    )
    return {row["project_id"]: row["trips"] for row in rows}


async def trips_given_at_gateway(
    work: UnitOfWork, *, gateway_id: UUID, by: str, since: datetime
) -> int:
    """How many trips were given by `by` to the meters of a gateway since an instant."""
    given: int = await work.fetchval(
        "SELECT count(*)::integer FROM control_command c JOIN metering_meter m"
        " ON m.group_id = c.group_id AND m.id = c.meter_id AND m.gateway_id = $2"
        " WHERE c.group_id = $1 AND c.kind = 'TRIP' AND c.issued_at >= $4 AND c.requested_by = $3",
        work.group_id,
        gateway_id,
        by,
        since,
    )
    return given


async def trips_given_on_the_platform(
    work: UnitOfWork, *, by: str, since: datetime
) -> tuple[int, int]:
    """How many trips were given by `by` in all groups since an instant, and how many meters they have:
    two numbers, and nothing else of another group (C29)."""
    row = await work.fetchrow("SELECT * FROM control_trips_of_platform($1, $2)", by, since)
    assert row is not None, "a function of one row"
    return row["trips"], row["meters"]
