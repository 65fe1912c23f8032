"""Writes of charges: take turns on supplies, open positions, keep what was charged. Set-based."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .rules import Charge, Month, Position, Ruling, Supply

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
# COPY is not for tables with row-level security, so it goes by way of a stage; and binary COPY knows no
# jsonb, so the detail goes as text.
_STAGED = [f"{name}_text" if name == "detail" else name for name in _COLUMNS]
_STAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS charge_stage (LIKE charges_charge INCLUDING DEFAULTS,"
    " detail_text text) ON COMMIT DELETE ROWS; DELETE FROM charge_stage"
)
_INSERT = (
    f"INSERT INTO charges_charge ({', '.join(_COLUMNS)})"
    f" SELECT {', '.join('detail_text::jsonb' if name == 'detail' else name for name in _COLUMNS)}"
    " FROM charge_stage WHERE group_id = $1"
)
_MOVE = (
    "UPDATE charges_position p SET rated_at = n.at, total = n.total, spike_wh = n.spike,"
    " peak_wh = n.peak, flat_wh = n.flat, valley_wh = n.valley, deep_wh = n.deep, seq = n.seq,"
    " price_hao = n.price, estimated = n.estimated, held_at = n.held_at, hold = n.hold"
    " FROM unnest($2::uuid[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],"
    "  $8::bigint[], $9::bigint[], $10::integer[], $11::bigint[], $12::boolean[], $13::timestamptz[],"
    "  $14::text[]) AS n(id, at, total, spike, peak, flat, valley, deep, seq, price, estimated,"
    "  held_at, hold) WHERE p.group_id = $1 AND p.assignment_id = n.id"
)
_MONTH_COLUMNS = (
    "project_id, account_id, kind, month, rated_until, used, segments, energy_hao, fixed_hao,"
    " loss_hao, public_hao, service_hao"
)
_FROM_MONTHS = (
    " FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::date[], $6::timestamptz[], $7::bigint[],"
    f"  $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])"
    f"  AS n({_MONTH_COLUMNS})"
)
_ADD_MONTHS = (
    f"INSERT INTO charges_month (group_id, {_MONTH_COLUMNS})"
    f" SELECT $1, {_MONTH_COLUMNS.replace('segments', 'segments::jsonb')}{_FROM_MONTHS}"
)
_MOVE_MONTHS = (
    "UPDATE charges_month m SET rated_until = n.rated_until, used = n.used, segments = n.segments::jsonb,"
    " energy_hao = n.energy_hao, fixed_hao = n.fixed_hao, loss_hao = n.loss_hao,"
    f" public_hao = n.public_hao, service_hao = n.service_hao{_FROM_MONTHS}"
    " WHERE m.group_id = $1 AND m.account_id = n.account_id AND m.kind = n.kind AND m.month = n.month"
)


async def hold_supplies(
    work: UnitOfWork, *, supplies: Iterable[tuple[Supply, UUID, datetime]]
) -> None:
    """Take turns on supplies (with their project, and their opening for one not seen before) until
    commit, in one order for everybody."""
    ordered = sorted(supplies)
    keys = [each for each, _, _ in ordered]
    arguments = (
        work.group_id,
        [project_id for _, project_id, _ in ordered],
        [supply.account_id for supply in keys],
        [supply.kind for supply in keys],
        [started_at for _, _, started_at in ordered],
    )
    await work.execute(
        "INSERT INTO charges_supply (group_id, project_id, account_id, kind, started_at)"
        " SELECT $1, s.* FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[]) AS s"
        " ORDER BY 3, 4 ON CONFLICT DO NOTHING",
        *arguments,
    )
    await work.execute(
        "SELECT FROM charges_supply s"
        " JOIN unnest($2::uuid[], $3::text[]) AS k(account_id, kind)"
        "  ON s.account_id = k.account_id AND s.kind = k.kind WHERE s.group_id = $1"
        " ORDER BY s.account_id, s.kind FOR UPDATE OF s",
        work.group_id,
        arguments[2],
        arguments[3],
    )


async def open_positions(work: UnitOfWork, *, positions: Sequence[Position]) -> None:
    """Begin to charge assignments from their baselines; one that is charged already stays as it is."""
    for each in positions:
        at, total, bands = each.baseline
        await work.execute(
            "INSERT INTO charges_position (group_id, assignment_id, project_id, account_id, kind,"
            " meter_id, baseline_at, rated_at, total, spike_wh, peak_wh, flat_wh, valley_wh, deep_wh,"
            " baseline) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10, $11, $12, $13, $14)"
            " ON CONFLICT DO NOTHING",
            work.group_id,
            each.assignment_id,
            each.project_id,
            each.account_id,
            each.kind,
            each.meter_id,
            at,
            total,
            *bands,
            [at.isoformat(), total, list(bands)],
        )


async def write_charges(
    work: UnitOfWork, *, charges: Sequence[Charge], entries: Mapping[UUID, UUID]
) -> None:
    """Keep charges by one COPY, with the entry of each one's project. An assignment's sequence number is
    there once, whatever happens."""
    await work.execute(_STAGE)
    group_id = work.group_id
    await work.copy(
        "charge_stage",
        columns=_STAGED,
        records=[
            (
                group_id,
                *each[:14],
                *each.use,
                *each[15:21],
                None if each.detail is None else json.dumps(each.detail),
                *each.amounts,
                entries.get(each.project_id),
                each.charged_at,
            )
            for each in charges
        ],
    )
    await work.execute(_INSERT, group_id)


async def move_positions(work: UnitOfWork, *, positions: Sequence[Position]) -> None:
    """Keep how far assignments are charged now."""
    if not positions:
        return
    bands = list(zip(*(each.last.bands for each in positions), strict=True))
    await work.execute(
        _MOVE,
        work.group_id,
        [each.assignment_id for each in positions],
        [each.last.at for each in positions],
        [each.last.total for each in positions],
        *bands,
        [each.seq for each in positions],
        [each.price_hao for each in positions],
        [each.estimated for each in positions],
        [each.held_at for each in positions],
        [each.hold for each in positions],
    )


async def write_months(work: UnitOfWork, *, months: Sequence[Month]) -> None:
    """Keep months to date. The caller holds their supplies."""
    for statement, some in (
        (_ADD_MONTHS, [month for month in months if month.new]),
        (_MOVE_MONTHS, [month for month in months if not month.new]),
    ):
        if some:
            await work.execute(
                statement,
                work.group_id,
                [each.project_id for each in some],
                [each.account_id for each in some],
                [each.kind for each in some],
                [each.month for each in some],
                [each.rated_until for each in some],
                [each.used for each in some],
                [json.dumps(each.segments) for each in some],
                *zip(*(each.posted for each in some), strict=True),
            )


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
