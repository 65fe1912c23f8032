"""Writes of charges: take turns on supplies, open positions, keep what was charged. Set-based."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import orjson

from backend.kernel.db import UnitOfWork

from .rules import Charge, Month, Point, Position, Ruling, Supply

_COLUMNS = (
    "group_id",
    "id",
    "project_id",
    "account_id",
    "purse_id",
    "assignment_id",
    "seq",
    "reason",
    "kind",
    "month",
    "day",
    "from_at",
    "to_at",
    "from_total",
    "to_total",
    "spike",
    "peak",
    "flat",
    "valley",
    "deep",
    "unbanded",
    "shared",
    "version_id",
    "season",
    "step_before",
    "use_before",
    "days",
    "detail",
    "energy_hao",
    "fixed_hao",
    "loss_hao",
    "public_hao",
    "service_hao",
    "entry_id",
    "charged_at",
)
# COPY is not for tables with row-level security, so it goes by way of a stage. Binary COPY knows no jsonb,
# and takes long over arrays: the detail goes as text, use and days as columns of their own. What is alike for
# all is not sent with each: the group, the instant, the entry of a project.
_USES = [f"use_{place}" for place in range(6)]
_DAYS = [f"day_{place}" for place in range(3)]
_ALIKE = {"group_id": "$1", "charged_at": "$2", "entry_id": "e.entry_id"}
_SENT = {"use_before": _USES, "days": _DAYS, "detail": ["detail_text"]} | {
    key: [] for key in _ALIKE
}
_STAGED = [sent for name in _COLUMNS for sent in _SENT.get(name, [name])]
_READ = _ALIKE | {
    "project_id": "c.project_id",
    "use_before": f"CASE WHEN use_0 IS NOT NULL THEN ARRAY[{', '.join(_USES)}] END",
    "days": f"CASE WHEN day_0 IS NOT NULL THEN ARRAY[{', '.join(_DAYS)}] END",
    "detail": "detail_text::jsonb",
}
_TYPES = dict.fromkeys(_USES, "bigint") | dict.fromkeys(_DAYS, "smallint") | {"detail_text": "text"}
_STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS charge_stage ON COMMIT DELETE ROWS AS SELECT "
    + ", ".join(f"NULL::{_TYPES[name]} AS {name}" if name in _TYPES else name for name in _STAGED)
    + " FROM charges_charge WITH NO DATA; DELETE FROM charge_stage"
)
_INSERT = (
    f"INSERT INTO charges_charge ({', '.join(_COLUMNS)})"
    f" SELECT {', '.join(_READ.get(name, name) for name in _COLUMNS)} FROM charge_stage c"
    " LEFT JOIN unnest($3::uuid[], $4::uuid[]) AS e(project_id, entry_id)"
    " ON e.project_id = c.project_id"
)
_NO_USE = (None,) * 6
_NO_DAYS = (None,) * 3
# Figures that move go by way of stages too: COPY takes a fraction of what arrays take to send. Their rows are
# found where they were read: the supply was held by then, so nobody moves them but us. To look for them by
# their keys once more costs as much as to write them.
_POSITION_STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS position_stage (place tid, id uuid, at timestamptz, total bigint,"
    " spike bigint, peak bigint, flat bigint, valley bigint, deep bigint, seq integer, price bigint,"
    " estimated boolean, held_at timestamptz, hold text) ON COMMIT DELETE ROWS;"
    " DELETE FROM position_stage"
)
_POSITION_COLUMNS = (
    "place",
    "id",
    "at",
    "total",
    "spike",
    "peak",
    "flat",
    "valley",
    "deep",
    "seq",
    "price",
    "estimated",
    "held_at",
    "hold",
)
_MOVE = (
    "UPDATE charges_position p SET rated_at = n.at, total = n.total, spike_wh = n.spike,"
    " peak_wh = n.peak, flat_wh = n.flat, valley_wh = n.valley, deep_wh = n.deep, seq = n.seq,"
    " price_hao = n.price, estimated = n.estimated, held_at = n.held_at, hold = n.hold"
    " FROM position_stage AS n"
    " WHERE p.ctid = n.place AND p.group_id = $1 AND p.assignment_id = n.id"
)
_MONTH_STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS month_stage (place tid, project_id uuid, account_id uuid,"
    " kind text, month date, rated_until timestamptz, used bigint, segments text, energy_hao bigint,"
    " fixed_hao bigint, loss_hao bigint, public_hao bigint, service_hao bigint)"
    " ON COMMIT DELETE ROWS; DELETE FROM month_stage"
)
_MONTH_COLUMNS = (
    "place",
    "project_id",
    "account_id",
    "kind",
    "month",
    "rated_until",
    "used",
    "segments",
    "energy_hao",
    "fixed_hao",
    "loss_hao",
    "public_hao",
    "service_hao",
)
_ADD_MONTHS = (
    "INSERT INTO charges_month (group_id, project_id, account_id, kind, month, rated_until, used,"
    " segments, energy_hao, fixed_hao, loss_hao, public_hao, service_hao)"
    " SELECT $1, project_id, account_id, kind, month, rated_until, used, segments::json, energy_hao,"
    " fixed_hao, loss_hao, public_hao, service_hao FROM month_stage WHERE place IS NULL"
)
_MOVE_MONTHS = (
    "UPDATE charges_month m SET rated_until = n.rated_until, used = n.used,"
    " segments = n.segments::json, energy_hao = n.energy_hao, fixed_hao = n.fixed_hao,"
    " loss_hao = n.loss_hao, public_hao = n.public_hao, service_hao = n.service_hao"
    " FROM month_stage AS n WHERE m.ctid = n.place AND m.group_id = $1"
    " AND m.account_id = n.account_id AND m.kind = n.kind AND m.month = n.month"
)


# A batch is a small part of what its group has, and what is charged each half hour is in memory: as if it
# were on a disk the planner would rather read all months and all positions, for each batch anew.
_IN_MEMORY = "SET LOCAL random_page_cost = 0.1; SET LOCAL seq_page_cost = 0.1"
# Nothing is held, and nothing told, while one of them is not there yet.
_HOLD_SUPPLIES = (
    "WITH found AS MATERIALIZED (SELECT ctid AS place FROM charges_supply"
    "  WHERE group_id = $1 AND kind = $2 AND account_id = ANY($3))"
    " SELECT s.account_id, s.started_at FROM found JOIN charges_supply s ON s.ctid = found.place"
    " WHERE s.group_id = $1 AND (SELECT count(*) FROM found) = cardinality($3)"
    " ORDER BY s.account_id FOR UPDATE OF s"
)


class Misplaced(RuntimeError):
    """A row that only who holds its supply may move was moved by somebody else: nothing is kept."""


async def hold_supplies(
    work: UnitOfWork, *, supplies: Mapping[Supply, tuple[UUID, datetime]]
) -> dict[Supply, datetime]:
    """Take turns on supplies (each with its project and its opening, for one not seen before) until commit,
    in one order for everybody; since when each is charged."""
    await work.execute(_IN_MEMORY)
    of_kind: dict[str, list[UUID]] = {}
    for account_id, kind in supplies:
        of_kind.setdefault(kind, []).append(account_id)
    held = await _hold(work, of_kind) if len(of_kind) == 1 else {}
    if len(held) < len(supplies):
        # Nothing may be held yet while one that is new waits for somebody else's: all of them are there
        # first, then they are held.
        wanted = sorted(supplies)
        await work.execute(
            "INSERT INTO charges_supply (group_id, project_id, account_id, kind, started_at)"
            " SELECT $1, s.* FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[]) AS s"
            " ON CONFLICT DO NOTHING",
            work.group_id,
            [supplies[each][0] for each in wanted],
            [each.account_id for each in wanted],
            [each.kind for each in wanted],
            [supplies[each][1] for each in wanted],
        )
        held = await _hold(work, of_kind)
    return held


async def _hold(work: UnitOfWork, of_kind: Mapping[str, list[UUID]]) -> dict[Supply, datetime]:
    """Hold the supplies of accounts, kind by kind."""
    held: dict[Supply, datetime] = {}
    for kind in sorted(of_kind):
        rows = await work.fetch(_HOLD_SUPPLIES, work.group_id, kind, of_kind[kind])
        held.update((Supply(account_id, kind), started_at) for account_id, started_at in rows)
    return held


async def open_positions(work: UnitOfWork, *, positions: Sequence[Position]) -> None:
    """Begin to charge assignments from their baselines; one that is charged already stays as it is."""
    bands = list(zip(*(each.baseline.bands for each in positions), strict=True))
    await work.execute(
        "INSERT INTO charges_position (group_id, assignment_id, project_id, account_id, kind,"
        " meter_id, baseline_at, rated_at, total, spike_wh, peak_wh, flat_wh, valley_wh, deep_wh,"
        " baseline) SELECT $1, n.id, n.project, n.account, n.kind, n.meter, n.at, n.at, n.total,"
        "  n.spike, n.peak, n.flat, n.valley, n.deep, n.baseline::jsonb"
        " FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::timestamptz[],"
        "  $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[],"
        "  $14::text[]) AS n(id, project, account, kind, meter, at, total, spike, peak, flat, valley,"
        "  deep, baseline) ON CONFLICT DO NOTHING",
        work.group_id,
        [each.assignment_id for each in positions],
        [each.project_id for each in positions],
        [each.account_id for each in positions],
        [each.kind for each in positions],
        [each.meter_id for each in positions],
        [each.baseline.at for each in positions],
        [each.baseline.total for each in positions],
        *bands,
        [_as_json(each.baseline) for each in positions],
    )


def _as_json(point: Point) -> str:
    return json.dumps([point.at.isoformat(), point.total, list(point.bands)])


async def write_charges(
    work: UnitOfWork, *, charges: Sequence[Charge], entries: Mapping[UUID, UUID], at: datetime
) -> None:
    """Keep charges of one instant by one COPY, with the entry of each one's project. An assignment's
    sequence number is there once, whatever happens."""
    await work.execute(_STAGE)
    await work.copy(
        "charge_stage",
        columns=_STAGED,
        records=[
            (
                *each[:14],
                *each[14],
                *each[15:19],
                *(each[19] or _NO_USE),
                *(each[20] or _NO_DAYS),
                None if each[21] is None else json.dumps(each[21]),
                *each[22],
            )
            for each in charges
        ],
    )
    await work.execute(_INSERT, work.group_id, at, list(entries), list(entries.values()))


async def move_positions(work: UnitOfWork, *, positions: Sequence[Position]) -> None:
    """Keep how far assignments are charged now. Raises Misplaced."""
    if not positions:
        return
    await work.execute(_POSITION_STAGE)
    await work.copy(
        "position_stage",
        columns=_POSITION_COLUMNS,
        records=[
            (
                each.place,
                each.assignment_id,
                each.last.at,
                each.last.total,
                *each.last.bands,
                each.seq,
                each.price_hao,
                each.estimated,
                each.held_at,
                each.hold,
            )
            for each in positions
        ],
    )
    if await work.execute(_MOVE, work.group_id) != len(positions):
        raise Misplaced("a position is not where it was read")


async def write_months(work: UnitOfWork, *, months: Sequence[Month]) -> None:
    """Keep months to date. The caller holds their supplies. Raises Misplaced."""
    if not months:
        return
    await work.execute(_MONTH_STAGE)
    await work.copy(
        "month_stage",
        columns=_MONTH_COLUMNS,
        records=[
            (
                each.place,
                each.project_id,
                each.account_id,
                each.kind,
                each.month,
                each.rated_until,
                each.used,
                orjson.dumps(each.segments).decode(),
                *each.posted,
            )
            for each in months
        ],
    )
    written = 0
    if any(each.place is None for each in months):
        written += await work.execute(_ADD_MONTHS, work.group_id)
    written += await work.execute(_MOVE_MONTHS, work.group_id)
    if written != len(months):
        raise Misplaced("a month is not where it was read")


async def rule(
    work: UnitOfWork,
    *,
    position: Position,
    ruling: Ruling,
    reading_at: datetime,
    by: str,
    note: str,
    at: datetime,
) -> bool:
    """Keep what a person ruled of a reading that went back; False when it was ruled before."""
    return bool(
        await work.execute(
            "INSERT INTO charges_ruling"
            " (group_id, project_id, assignment_id, at, ruling, ruled_by, ruled_at, note)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            work.group_id,
            position.project_id,
            position.assignment_id,
            reading_at,
            ruling,
            by,
            at,
            note,
        )
    )
