"""Reads for charging: assignments of meters whose money the cloud holds, and their readings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .rules import MeterKind


class CloudAssignment(NamedTuple):
    """An assignment of a meter whose money the cloud holds, with its project's zone; see MeterAssignment."""

    id: UUID
    project_id: UUID
    account_id: UUID
    meter_id: UUID
    kind: MeterKind
    started_at: datetime
    ended_at: datetime | None
    opening_total: int
    closing_total: int | None
    time_zone: str


_CLOUD = (
    "SELECT a.id, a.project_id, a.account_id, a.meter_id, m.kind, a.started_at, a.ended_at,"
    " a.opening_total, a.closing_total FROM metering_assignment a"
    " JOIN metering_meter m ON m.group_id = a.group_id AND m.id = a.meter_id"
    " WHERE a.group_id = $1 AND m.credit_mode = 'CLOUD'"
)
_ZONES = "SELECT id, time_zone FROM tenancy_project WHERE group_id = $1 AND id = ANY($2)"

# Asked by one of them: an OR of both reads the whole table. Of meters both tables are asked in one go, in
# the order of their ids.
_OF_METERS = f"{_CLOUD} AND a.meter_id = ANY($2) AND m.id = ANY($2)"
_OF_ACCOUNTS = f"{_CLOUD} AND a.account_id = ANY($2)"


async def cloud_assignments(
    work: UnitOfWork, *, meter_ids: Sequence[UUID] = (), account_ids: Sequence[UUID] = ()
) -> list[CloudAssignment]:
    """The assignments, running and ended, of CLOUD meters: of these meters, or of these accounts."""
    sql, wanted = (_OF_METERS, meter_ids) if meter_ids else (_OF_ACCOUNTS, account_ids)
    rows = await work.fetch(sql, work.group_id, list(wanted))
    projects = list({row[1] for row in rows})
    zones: dict[UUID, str] = {
        id_: z for id_, z in await work.fetch(_ZONES, work.group_id, projects)
    }
    kinds = {str(kind): kind for kind in MeterKind}
    return [
        CloudAssignment._make((*row[:4], kinds[row[4]], *row[5:], zones[row[1]])) for row in rows
    ]


async def ends_of(
    work: UnitOfWork, *, assignment_ids: Sequence[UUID]
) -> list[tuple[UUID, datetime, int | None]]:
    """Those of the assignments that ended: when, and their closing totals."""
    rows = await work.fetch(
        "SELECT id, ended_at, closing_total FROM metering_assignment"
        " WHERE group_id = $1 AND id = ANY($2) AND ended_at IS NOT NULL",
        work.group_id,
        list(assignment_ids),
    )
    return [(row[0], row[1], row[2]) for row in rows]


_REGISTERS = "meter_id, at, total, spike_wh, peak_wh, flat_wh, valley_wh, deep_wh"
_ALL_SINCE = (
    f"SELECT {_REGISTERS} FROM metering_reading"
    " WHERE group_id = $1 AND meter_id = ANY($2) AND at > $3 ORDER BY at"
)
_SOME_OF_EACH = (
    "SELECT r.*, k.place FROM unnest($2::uuid[], $3::timestamptz[]) WITH ORDINALITY"
    f" AS k(id, after, place) CROSS JOIN LATERAL (SELECT {_REGISTERS}"
    "   FROM metering_reading WHERE group_id = $1 AND meter_id = k.id AND at > k.after"
    "   ORDER BY at LIMIT $4) AS r"
)


async def readings_after(
    work: UnitOfWork, *, meters: Sequence[tuple[UUID, datetime]], recent: datetime, limit: int
) -> list[list[Row]]:
    """For each meter and instant the raw rows after it, oldest first: registers only (meter, `at`, `total`
    and the bands). At most `limit` of one whose instant is before `recent`; of the others, mostly all there
    are, one look at what came lately tells: a look at each costs five times that."""
    found: list[list[Row]] = [[] for _ in meters]
    behind = [place for place, (_, after) in enumerate(meters) if after < recent]
    if behind:
        ids, afters = zip(*(meters[place] for place in behind), strict=True)
        for row in await work.fetch(_SOME_OF_EACH, work.group_id, ids, afters, limit):
            found[behind[row[8] - 1]].append(row)
    if len(behind) < len(meters):
        ids, afters = zip(*(each for each in meters if each[1] >= recent), strict=True)
        of_meter: dict[UUID, list[Row]] = {}
        for row in await work.fetch(_ALL_SINCE, work.group_id, ids, min(afters)):
            of_meter.setdefault(row[0], []).append(row)
        for place, (meter_id, after) in enumerate(meters):
            if after >= recent:
                found[place] = [row for row in of_meter.get(meter_id, ()) if row[1] > after]
    return found


async def packed_after(work: UnitOfWork, *, meters: Sequence[tuple[UUID, date]]) -> frozenset[UUID]:
    """Those of the meters that have packed readings of days after a UTC day: raw rows do not tell all."""
    rows = await work.fetch(
        "SELECT k.id FROM unnest($2::uuid[], $3::date[]) AS k(id, day) WHERE EXISTS ("
        " SELECT FROM metering_packed WHERE group_id = $1 AND meter_id = k.id AND day > k.day)",
        work.group_id,
        [meter_id for meter_id, _ in meters],
        [day for _, day in meters],
    )
    return frozenset(row["id"] for row in rows)
