"""Labels 标签 on meters: by what operators find again what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .queries import meters_together

_MOST = 1_000  # meters of one call


async def tag_meters(
    work: UnitOfWork, *, scope: Scope, meter_ids: Sequence[UUID], tag: str, on: bool, at: datetime
) -> int:
    """Put a label (1 to 30 characters) on meters of one project, or take it off; gives of how many it
    changed. Raises NotFound, Forbidden, InvalidInput."""
    told = tag.strip()
    if not 1 <= len(told) <= 30 or not told.isprintable():
        raise InvalidInput("a tag has 1 to 30 characters", field="tag")
    if not 1 <= len(meter_ids) <= _MOST:
        raise InvalidInput(f"1 to {_MOST} meters at once", field="meters")
    meters = await meters_together(work, scope=scope, meter_ids=meter_ids)
    project_id = meters[0].project_id
    scope.require(Permission.METER_WRITE, project_id)
    ids = [meter.id for meter in meters]
    if on:
        changed = await work.execute(
            "INSERT INTO metering_tag (group_id, project_id, tag, meter_id)"
            " SELECT $1, $2, $3, m.id FROM unnest($4::uuid[]) AS m(id) ON CONFLICT DO NOTHING",
            work.group_id,
            project_id,
            told,
            ids,
        )
    else:
        changed = await work.execute(
            "DELETE FROM metering_tag WHERE group_id = $1 AND project_id = $2 AND tag = $3"
            " AND meter_id = ANY($4)",
            work.group_id,
            project_id,
            told,
            ids,
        )
    await record(
        work,
        actor=scope.actor,
        action="meter:tag:set",
        subject=told,
        at=at,
        project_id=project_id,
        after={"on": on, "meters": [str(meter_id) for meter_id in ids]},
    )
    return changed


async def tags_of_project(work: UnitOfWork, *, scope: Scope, project_id: UUID) -> dict[str, int]:
    """The labels of a project, each with how many meters it is on. Raises NotFound, Forbidden (C29)."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    rows = await work.fetch(
        "SELECT tag, count(*)::integer AS meters FROM metering_tag"
        " WHERE group_id = $1 AND project_id = $2 GROUP BY tag ORDER BY tag",
        work.group_id,
        project_id,
    )
    return {row["tag"]: row["meters"] for row in rows}


async def tags_of_meters(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The labels of each meter, in order: one statement for a page."""
    rows = await work.fetch(
        "SELECT meter_id, array_agg(tag ORDER BY tag) AS tags FROM metering_tag"
        " WHERE group_id = $1 AND meter_id = ANY($2) GROUP BY meter_id",
        work.group_id,
        list(meter_ids),
    )
    return {meter_id: [] for meter_id in meter_ids} | {row["meter_id"]: row["tags"] for row in rows}
