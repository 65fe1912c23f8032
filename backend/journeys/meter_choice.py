"""Which meters of a project are meant: by area with all below, by label, by what is typed into a search
field, by state. One rule for the list that operators page through and for a batch (A21)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from backend.accounts.queries import area as area_door
from backend.accounts.queries import area_paths
from backend.control.state_rules import MeterState
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput, NotFound
from backend.kernel.scope import Scope
from backend.metering.rules import CreditMode
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .meter_states import meter_states

# `$5`: letters of a serial or a name, or a whole account number, in small letters; `$6`: those behind it.
_CHOSEN = (
    "WITH RECURSIVE places AS (SELECT id FROM accounts_area"
    "   WHERE group_id = $1 AND project_id = $2 AND id = ANY($3)"
    "  UNION SELECT a.id FROM accounts_area a JOIN places p ON a.parent_id = p.id WHERE a.group_id = $1)"
    " SELECT m.id, m.serial FROM metering_meter m WHERE m.group_id = $1 AND m.project_id = $2"
    "  AND m.removed_at IS NULL AND ($3::uuid[] IS NULL OR EXISTS (SELECT FROM metering_assignment s"
    "   JOIN accounts_account c ON c.group_id = s.group_id AND c.id = s.account_id"
    "   WHERE s.group_id = $1 AND s.meter_id = m.id AND s.ended_at IS NULL"
    "    AND c.area_id IN (SELECT id FROM places)))"
    "  AND ($4::text[] IS NULL OR EXISTS (SELECT FROM metering_tag t WHERE t.group_id = $1"
    "   AND t.project_id = $2 AND t.tag = ANY($4) AND t.meter_id = m.id))"
    "  AND ($5::text IS NULL OR strpos(lower(m.serial), $5) > 0"
    "   OR EXISTS (SELECT FROM metering_assignment s"
    "    JOIN accounts_account c ON c.group_id = s.group_id AND c.id = s.account_id"
    "    WHERE s.group_id = $1 AND s.meter_id = m.id AND s.ended_at IS NULL"
    "     AND (lower(c.no) = $5 OR strpos(lower(c.name), $5) > 0)))"
    "  AND ($6::text IS NULL OR m.serial > $6) ORDER BY m.serial LIMIT $7"
)
_SERVED = (
    "SELECT s.meter_id, c.project_id, c.id, c.no, c.name, c.area_id, m.credit_mode"
    " FROM metering_assignment s JOIN metering_meter m ON m.group_id = s.group_id AND m.id = s.meter_id"
    " JOIN accounts_account c ON c.group_id = s.group_id AND c.id = s.account_id"
    " WHERE s.group_id = $1 AND s.meter_id = ANY($2) AND s.ended_at IS NULL"
)
_LOOKED_AT = 1_000  # meters whose state is taken at once


@dataclass(frozen=True, slots=True)
class Choice:
    """Those in one of the areas (with all below), with one of the tags, in one of the states, and found by
    `search`: some letters of their serial or account's name, or its whole number."""

    areas: Sequence[UUID] = ()
    states: Sequence[MeterState] = ()
    tags: Sequence[str] = ()
    search: str = ""


class Served(NamedTuple):
    """Whom a meter serves now. `cloud`: his money is in the cloud and not in the meter."""

    project_id: UUID
    account_id: UUID
    no: str
    name: str
    place: str
    cloud: bool


async def chosen_meters(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    choice: Choice,
    after: str | None = None,
    limit: int | None = None,
) -> list[tuple[UUID, str]]:
    """Id and serial of those that are meant whatever their state, by serial. Raises NotFound (an area)."""
    for area_id in choice.areas:
        if (await area_door(work, scope=scope, area_id=area_id)).project_id != project_id:
            raise NotFound("no such area")
    rows = await work.fetch(
        _CHOSEN,
        work.group_id,
        project_id,
        list(choice.areas) or None,
        list(choice.tags) or None,
        choice.search.strip().lower() or None,
        after,
        limit,
    )
    return [(row["id"], row["serial"]) for row in rows]


async def page_of_meters(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    choice: Choice,
    after: str | None,
    limit: int,
) -> list[UUID]:
    """At most `limit` of those that are meant, by serial, behind the serial `after`. Raises NotFound,
    Forbidden, InvalidInput.

    A state is kept nowhere, so it is taken of a thousand meters after the other until the page is full.
    """
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    if choice.search:
        scope.require(Permission.ACCOUNT_READ, project_id)  # it would tell who lives where
    if len(choice.search) > 50:
        raise InvalidInput("search for at most 50 characters", field="search")
    found: list[UUID] = []
    step = _LOOKED_AT if choice.states else limit
    while True:
        rows = await chosen_meters(
            work, scope=scope, project_id=project_id, choice=choice, after=after, limit=step
        )
        ids = [meter_id for meter_id, _ in rows]
        if choice.states:
            states = await meter_states(work, meter_ids=ids)
            ids = [each for each in ids if states[each] in choice.states]
        found += ids
        if len(found) >= limit or len(rows) < step:
            return found[:limit]
        after = rows[-1][1]


async def served_by_meters(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, Served]:
    """Whom each meter serves, by two statements; who serves nobody is not in it."""
    rows = await work.fetch(_SERVED, work.group_id, list(meter_ids))
    places = await area_paths(work, area_ids=list({row["area_id"] for row in rows}))
    return {
        row["meter_id"]: Served(
            row["project_id"],
            row["id"],
            row["no"],
            row["name"],
            places.get(row["area_id"], ""),
            row["credit_mode"] == CreditMode.CLOUD,
        )
        for row in rows
    }
