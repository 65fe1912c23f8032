"""Watch over the field and its history: what is lost or damaged becomes a case (A10)."""

from __future__ import annotations

from datetime import datetime

from backend.alerts.operations import NewCase, close_cases, open_case, open_cases
from backend.kernel.clock import business_day, day_period
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.metering.episodes import (
    Changes,
    Episode,
    EpisodeKind,
    look_at_lines,
    look_at_meters,
)
from backend.metering.queries import meter_by_id
from backend.metering.rollups import roll_up

# A clock that is off is in the list of episodes; nobody has to come for it at once.
CASES = {EpisodeKind.LOST: "METER_LOST", EpisodeKind.SILENT: "GATEWAY_SILENT"}
HEARD_AGAIN = "heard again: closed by itself"


async def watch_lines(*, group_id: int, at: datetime) -> Changes:
    """Begin and end the episodes of the group's gateways, with a case each."""
    async with unit_of_work(group_id) as work:
        changes = await look_at_lines(work, at=at)
        await _tell(work, changes, at)
    return changes


async def watch_meters(*, group_id: int, at: datetime) -> Changes:
    """Begin and end the episodes of the group's meters, with a case for each that is lost."""
    async with unit_of_work(group_id) as work:
        changes = await look_at_meters(work, at=at)
        await _tell(work, changes, at)
    return changes


async def roll_up_history(*, group_id: int, at: datetime) -> int:
    """Roll up all that was stored of the days that are over at `at`, some gateways a transaction;
    returns how many meter-days were computed. A meter whose packed samples are damaged keeps the
    figures it has and gets a case."""
    midnight = day_period(business_day(at)).start
    computed = 0
    while True:
        async with unit_of_work(group_id) as work:
            rolled = await roll_up(work, until=midnight)
            for meter_id in rolled.damaged:
                meter = await meter_by_id(work, meter_id=meter_id)
                await open_case(
                    work,
                    project_id=meter.project_id,
                    kind="HISTORY_DAMAGED",
                    subject=str(meter_id),
                    detail={"meter": meter.serial},
                    at=at,
                )
        if not rolled.batches:
            return computed
        computed += rolled.meter_days


async def _tell(work: UnitOfWork, changes: Changes, at: datetime) -> None:
    for kind, case in CASES.items():
        over = [_subject(episode) for episode in changes.ended if episode.kind is kind]
        if over:
            await close_cases(work, kind=case, subjects=over, note=HEARD_AGAIN, at=at)
    new = [_case(episode) for episode in changes.began if episode.kind in CASES]
    await open_cases(work, cases=new, at=at)


def _subject(episode: Episode) -> str:
    return str(episode.meter_id or episode.gateway_id)


def _case(episode: Episode) -> NewCase:
    detail = {
        "gateway": episode.gateway_serial,
        "since": episode.started_at.isoformat(timespec="seconds"),
    }
    if episode.meter_serial is not None:
        detail["meter"] = episode.meter_serial
    if episode.meters_behind is not None:
        detail["meters"] = str(episode.meters_behind)
    return NewCase(episode.project_id, CASES[episode.kind], _subject(episode), detail)
