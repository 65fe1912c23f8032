"""Prices in meters and the hours of their bands as rows: wanted, sent, read back; and who lags behind (A14).

`actual_version` is there only while the meter holds both; one that is to hold no hours (an empty calendar)
may hold any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .price_rules import again_after

_LAGS = (
    "(p.actual_version IS DISTINCT FROM p.desired_version"
    " OR p.actual_prices IS DISTINCT FROM p.desired_prices)"
)
_WANT = (
    "INSERT INTO control_meter_prices AS p (group_id, project_id, meter_id, desired_version,"
    " desired_prices, desired_calendar, desired_at, unfit, next_try_at)"
    " SELECT $1, w.project_id, w.meter_id, w.version, w.prices, w.calendar, $8, nullif(w.unfit, ''), $8"
    " FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::jsonb[], $6::jsonb[], $7::text[])"
    "   AS w(project_id, meter_id, version, prices, calendar, unfit)"
    " ON CONFLICT (group_id, meter_id) DO UPDATE SET desired_version = excluded.desired_version,"
    " desired_prices = excluded.desired_prices, desired_calendar = excluded.desired_calendar,"
    " desired_at = excluded.desired_at,"
    " unfit = excluded.unfit, command_id = NULL, tries = 0, next_try_at = excluded.next_try_at,"
    " problem = NULL,"
    # The same prices and hours under a new version: nothing is to be sent.
    " actual_version = CASE WHEN p.actual_prices = excluded.desired_prices"
    "   AND excluded.desired_calendar IN ('{}', p.actual_calendar)"
    "   AND excluded.unfit IS NULL THEN excluded.desired_version END"
    " WHERE (p.desired_version, p.desired_prices, p.desired_calendar, p.unfit) IS DISTINCT FROM"
    "   (excluded.desired_version, excluded.desired_prices, excluded.desired_calendar, excluded.unfit)"
    " RETURNING p.meter_id"
)
# Every command that was read back since we last knew, an operator's too, the newest on top.
_LEARN = (
    "UPDATE control_meter_prices p SET"
    " actual_prices = coalesce(p.actual_prices, '{}') || c.settings, actual_at = c.at,"
    " actual_version = CASE WHEN coalesce(p.actual_prices, '{}') || c.settings = p.desired_prices"
    "   AND p.desired_calendar IN ('{}', p.actual_calendar)"
    "   AND p.unfit IS NULL THEN p.desired_version END,"
    " command_id = NULL, tries = 0, problem = NULL"
    " FROM (SELECT q.meter_id, c.settings, c.at FROM control_meter_prices q CROSS JOIN LATERAL ("
    "   SELECT jsonb_object_agg(e.key, e.value ORDER BY k.id) AS settings,"
    "     max(k.finished_at) AS at"
    "   FROM control_command k CROSS JOIN LATERAL jsonb_each(k.settings) e"
    "   WHERE k.group_id = $1 AND k.meter_id = q.meter_id AND k.family = 'PRICES'"
    "     AND k.state = 'VERIFIED' AND (q.actual_at IS NULL OR k.finished_at > q.actual_at)) c"
    "   WHERE q.group_id = $1 AND c.settings IS NOT NULL) c"
    " WHERE p.group_id = $1 AND p.meter_id = c.meter_id RETURNING p.meter_id"
)
# A calendar is whole: the newest is what the meter holds.
_LEARN_CALENDAR = (
    "UPDATE control_meter_prices p SET actual_calendar = c.settings, actual_calendar_at = c.finished_at,"
    " actual_version = CASE WHEN p.actual_prices = p.desired_prices AND c.settings = p.desired_calendar"
    "   AND p.unfit IS NULL THEN p.desired_version END,"
    " command_id = NULL, tries = 0, problem = NULL"
    " FROM (SELECT q.meter_id, k.settings, k.finished_at FROM control_meter_prices q CROSS JOIN LATERAL ("
    "   SELECT c.settings, c.finished_at FROM control_command c WHERE c.group_id = $1"
    "     AND c.meter_id = q.meter_id AND c.family = 'CALENDAR' AND c.state = 'VERIFIED'"
    "   ORDER BY c.id DESC LIMIT 1) k"
    "   WHERE q.group_id = $1 AND q.desired_calendar <> '{}'"
    "     AND (q.actual_calendar_at IS NULL OR k.finished_at > q.actual_calendar_at)) c"
    " WHERE p.group_id = $1 AND p.meter_id = c.meter_id RETURNING p.meter_id"
)
_FAILED = (
    "SELECT p.meter_id, p.tries, c.state, c.outcome FROM control_meter_prices p"
    " CROSS JOIN LATERAL (SELECT state, outcome FROM control_command"
    "  WHERE group_id = $1 AND id = p.command_id OFFSET 0) c"
    " WHERE p.group_id = $1 AND p.command_id IS NOT NULL AND c.state IN ('FAILED', 'EXPIRED', 'SUPERSEDED')"
)
_DUE = (
    "SELECT p.* FROM control_meter_prices p WHERE p.group_id = $1 AND "
    + _LAGS
    + " AND p.unfit IS NULL AND p.command_id IS NULL AND p.next_try_at <= $2"
    # An operator's own command is under way: it comes first, and is read back like ours.
    " AND NOT EXISTS (SELECT FROM control_command c WHERE c.group_id = $1"
    "   AND c.meter_id = p.meter_id AND c.family IN ('PRICES', 'CALENDAR') AND c.finished_at IS NULL"
    "   AND c.requested_by <> $4)"
    " ORDER BY p.next_try_at, p.meter_id LIMIT $3"
)
_LAGGARDS = (
    "SELECT p.* FROM control_meter_prices p WHERE p.group_id = $1 AND p.project_id = $2 AND "
    + _LAGS
    + " AND ($3::uuid IS NULL OR p.meter_id > $3) ORDER BY p.meter_id LIMIT $4"
)
_LONG = (
    "SELECT p.* FROM control_meter_prices p WHERE p.group_id = $1 AND "
    + _LAGS
    + " AND (p.desired_at <= $2 OR p.unfit IS NOT NULL) ORDER BY p.meter_id LIMIT $3"
)
_CAUGHT_UP = (
    "SELECT p.meter_id FROM control_meter_prices p WHERE p.group_id = $1"
    " AND p.meter_id = ANY($2) AND NOT " + _LAGS
)


class Wanted(NamedTuple):
    """What a meter is to hold from now on: prices by band under the name of a version, and the hours of the
    bands as kernel.band_calendar has them (none: any will do); `unfit`: why the model cannot hold it, empty
    when it can."""

    project_id: UUID
    meter_id: UUID
    version: UUID
    prices: Mapping[str, int]
    calendar: Mapping[str, int]
    unfit: str


@dataclass(frozen=True, slots=True)
class MeterPrices:
    """Prices of a meter, hao per kWh by band, and its calendar: `desired` since when, `actual` as read back.

    `tries`: commands that came to nothing since it was desired; `problem`: what became of the last one.
    """

    project_id: UUID
    meter_id: UUID
    desired_version: UUID
    desired_prices: Mapping[str, int]
    desired_calendar: Mapping[str, int]
    desired_at: datetime
    unfit: str | None
    actual_version: UUID | None
    actual_prices: Mapping[str, int] | None
    actual_at: datetime | None
    actual_calendar: Mapping[str, int] | None
    actual_calendar_at: datetime | None
    command_id: UUID | None
    tries: int
    next_try_at: datetime
    problem: str | None


def prices_of(row: Row) -> MeterPrices:
    """The prices of a meter from its table row."""
    return MeterPrices(**{name: row[name] for name in MeterPrices.__dataclass_fields__})


async def want_prices(work: UnitOfWork, *, wanted: Sequence[Wanted], at: datetime) -> list[UUID]:
    """Write down what meters are to hold; gives those for which that is something new."""
    rows = await work.fetch(
        _WANT,
        work.group_id,
        [each.project_id for each in wanted],
        [each.meter_id for each in wanted],
        [each.version for each in wanted],
        [dict(each.prices) for each in wanted],
        [dict(each.calendar) for each in wanted],
        [each.unfit for each in wanted],
        at,
    )
    return [row["meter_id"] for row in rows]


async def forget_prices(
    work: UnitOfWork, *, after: UUID | None, last: UUID | None, kept: Sequence[UUID]
) -> list[UUID]:
    """Drop what is wanted of meters whose id lies in a span (None: open) and is not among those kept:
    they serve nobody, or their account pays by no tariff. Gives them."""
    rows = await work.fetch(
        "DELETE FROM control_meter_prices WHERE group_id = $1 AND ($2::uuid IS NULL OR meter_id > $2)"
        " AND ($3::uuid IS NULL OR meter_id <= $3) AND NOT meter_id = ANY($4) RETURNING meter_id",
        work.group_id,
        after,
        last,
        list(kept),
    )
    return [row["meter_id"] for row in rows]


async def learn_prices(work: UnitOfWork, *, at: datetime) -> list[UUID]:
    """Take in what was read back since, and what came to nothing, which is tried again later; gives the
    meters that were read back."""
    learnt = [row["meter_id"] for row in await work.fetch(_LEARN, work.group_id)]
    learnt += [row["meter_id"] for row in await work.fetch(_LEARN_CALENDAR, work.group_id)]
    failed = await work.fetch(_FAILED, work.group_id)
    await work.execute(
        "UPDATE control_meter_prices p SET tries = p.tries + 1, command_id = NULL,"
        " problem = f.problem, next_try_at = f.again FROM"
        " unnest($2::uuid[], $3::text[], $4::timestamptz[]) AS f(meter_id, problem, again)"
        " WHERE p.group_id = $1 AND p.meter_id = f.meter_id",
        work.group_id,
        [row["meter_id"] for row in failed],
        [f"{row['state']}: {row['outcome']}" for row in failed],
        [at + again_after(row["tries"] + 1) for row in failed],
    )
    return learnt


async def due_prices(
    work: UnitOfWork, *, sender: str, at: datetime, limit: int
) -> list[MeterPrices]:
    """Meters that lag and wait for a command, those first that wait longest. One to which somebody else
    than `sender` sends prices just now is left alone."""
    rows = await work.fetch(_DUE, work.group_id, at, limit, sender)
    return [prices_of(row) for row in rows]


async def lock_due_prices(work: UnitOfWork, *, due: MeterPrices) -> bool:
    """Whether the same is still wanted and nobody sent it meanwhile; the row is locked until commit."""
    found = await work.fetchval(
        "SELECT 1 FROM control_meter_prices WHERE group_id = $1 AND meter_id = $2"
        " AND desired_at = $3 AND desired_prices = $4 AND desired_calendar = $5 AND command_id IS NULL"
        " FOR UPDATE",
        work.group_id,
        due.meter_id,
        due.desired_at,
        dict(due.desired_prices),
        dict(due.desired_calendar),
    )
    return found is not None


async def mark_prices_sent(work: UnitOfWork, *, meter_id: UUID, command_id: UUID) -> None:
    """A command is under way."""
    await work.execute(
        "UPDATE control_meter_prices SET command_id = $3 WHERE group_id = $1 AND meter_id = $2",
        work.group_id,
        meter_id,
        command_id,
    )


async def long_lagging(work: UnitOfWork, *, since: datetime, limit: int) -> list[MeterPrices]:
    """Meters that lag since then or longer, or cannot hold what is wanted at all."""
    return [prices_of(row) for row in await work.fetch(_LONG, work.group_id, since, limit)]


async def caught_up(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> list[UUID]:
    """Those of some meters that hold what is wanted."""
    rows = await work.fetch(_CAUGHT_UP, work.group_id, list(meter_ids))
    return [row["meter_id"] for row in rows]


async def price_laggards(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, after: UUID | None, limit: int
) -> list[MeterPrices]:
    """Meters of a project that do not hold what they should, by id. Raises NotFound (C29)."""
    if not scope.may(Permission.METER_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(_LAGGARDS, work.group_id, project_id, after, limit)
    return [prices_of(row) for row in rows]
