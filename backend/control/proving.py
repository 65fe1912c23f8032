"""What vends and commands tell of meters, as a nightly proof asks for it (C11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.band_calendar import BANDS
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money


@dataclass(frozen=True, slots=True)
class Said:
    """What a meter said: its purchase count at an instant, within a counter epoch that began at
    `opening_no`. `slack_from`, `slack_to`: the instant less and plus what clocks may differ."""

    meter_id: UUID
    counter_epoch: int
    opening_no: int
    count: int
    slack_from: datetime
    slack_to: datetime


@dataclass(frozen=True, slots=True)
class Sold:
    """The vends of an epoch against a count: the count that those verified before the reading make
    (`least`), that those written down by then can make (`most`), and that the verified ones up to the
    meter's count make (`counted`); how many up to it are not verified; the money of those after it that
    were verified when the meter had spoken already."""

    least: int
    most: int
    counted: int
    waiting: int
    later: Money


async def sold_against(work: UnitOfWork, *, said: Sequence[Said]) -> dict[UUID, Sold]:
    """The vends of each meter's epoch against what it said, by meter: one statement for all."""
    rows = await work.fetch(
        "SELECT k.meter_id, k.opening_no,"
        " max(v.purchase_no) FILTER (WHERE v.state = 'VERIFIED' AND v.verified_at <= k.slack_from)"
        "  AS least,"
        " max(v.purchase_no) FILTER (WHERE v.created_at <= k.slack_to) AS most,"
        " count(*) FILTER (WHERE v.state = 'VERIFIED' AND v.purchase_no <= k.said) AS counted,"
        " count(*) FILTER (WHERE v.state IN ('QUEUED', 'SENT', 'STOPPED')"
        "  AND v.purchase_no <= k.said) AS waiting,"
        " coalesce(sum(v.amount_fen) FILTER (WHERE v.state = 'VERIFIED'"
        "  AND v.purchase_no > k.said AND v.verified_at > k.slack_from), 0)::bigint AS later"
        " FROM unnest($2::uuid[], $3::integer[], $4::integer[], $5::integer[], $6::timestamptz[],"
        "  $7::timestamptz[]) AS k(meter_id, epoch, opening_no, said, slack_from, slack_to)"
        " LEFT JOIN control_vend v ON v.group_id = $1 AND v.meter_id = k.meter_id"
        "  AND v.counter_epoch = k.epoch GROUP BY k.meter_id, k.opening_no",
        work.group_id,
        [one.meter_id for one in said],
        [one.counter_epoch for one in said],
        [one.opening_no for one in said],
        [one.count for one in said],
        [one.slack_from for one in said],
        [one.slack_to for one in said],
    )
    return {
        row["meter_id"]: Sold(
            least=row["opening_no"] if row["least"] is None else row["least"],
            most=row["opening_no"] if row["most"] is None else row["most"],
            counted=row["opening_no"] + row["counted"],
            waiting=row["waiting"],
            later=Money.of_fen(row["later"]),
        )
        for row in rows
    }


async def prices_since(
    work: UnitOfWork, *, since: Sequence[tuple[UUID, datetime]]
) -> dict[UUID, tuple[int, int]]:
    """The cheapest and the dearest price (hao per kWh) that each meter may have had since an instant: by
    the PRICES it had verified then, and all that were sent to it later. A meter whose prices we never
    set in all the bands that every meter has is not there; the deep valley, which only some have, is
    taken for free unless it was set as well."""
    rows = await work.fetch(
        "SELECT k.meter_id, c.settings, c.finished_at <= k.since AS before"
        " FROM unnest($2::uuid[], $3::timestamptz[]) AS k(meter_id, since) CROSS JOIN LATERAL ("
        " (SELECT settings, finished_at FROM control_command WHERE group_id = $1"
        "   AND meter_id = k.meter_id AND family = 'PRICES' AND state = 'VERIFIED'"
        "   AND finished_at <= k.since ORDER BY id DESC LIMIT 1)"
        " UNION ALL (SELECT settings, finished_at FROM control_command WHERE group_id = $1"
        "   AND meter_id = k.meter_id AND family = 'PRICES' AND sent_at IS NOT NULL"
        "   AND coalesce(finished_at, 'infinity') > k.since)) AS c",
        work.group_id,
        [meter_id for meter_id, _ in since],
        [at for _, at in since],
    )
    asked: dict[UUID, list[tuple[int, int]]] = {}
    known: set[UUID] = set()
    for row in rows:
        settings: dict[str, int] = row["settings"]
        if row["before"] and set(BANDS) - {"deep"} <= settings.keys():
            known.add(row["meter_id"])
        cheapest = min(settings.values()) if "deep" in settings else 0
        asked.setdefault(row["meter_id"], []).append((cheapest, max(settings.values())))
    return {
        meter_id: (min(low for low, _ in bounds), max(high for _, high in bounds))
        for meter_id, bounds in asked.items()
        if meter_id in known
    }
