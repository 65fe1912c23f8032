"""What became of the readings: use by hour and day; what of the field cannot be read, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from functools import partial
from typing import Annotated

import strawberry

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.metering import episodes, queries, rollups

from .context import Info
from .meters import BandTotal, Gateway, Meter, gateway_of, meter_of
from .paging import Connection, cut, key_of, page, project_page, size
from .resolvers import field
from .scalars import DecimalText, ref, thousandths, uuid_of

_MOST = {"HOUR": timedelta(days=32), "DAY": timedelta(days=400)}

strawberry.enum(
    episodes.EpisodeKind,
    description="LOST: a meter missed its sweeps. SILENT: a gateway's line is down. CLOCK: a clock is"
    " off by more than five minutes.",
)


@strawberry.enum(description="By what use is summed up.")
class UseBy(Enum):
    """Hour or business day."""

    HOUR = "HOUR"
    DAY = "DAY"


@strawberry.type(
    description="What went through a meter, in its unit; for charts, not for charging."
)
class MeterUse:
    """用量."""

    day: date
    hour: int | None = strawberry.field(description="Hours after the day's midnight.")
    epoch: int = strawberry.field(description="Which assignment it served, counted; 0 for none.")
    opening: DecimalText | None = strawberry.field(description="The total it began with: of days.")
    closing: DecimalText | None
    used: DecimalText = strawberry.field(description="Negative when the meter went back.")
    bands: list[BandTotal]
    cold: DecimalText | None
    max_power: int | None = strawberry.field(description="W")
    samples: int
    gaps: int = strawberry.field(
        description="Pauses that ended here: some of the use may belong to earlier."
    )
    backward: int = strawberry.field(description="How often a day's total went back.")


@strawberry.type(description="A meter that cannot be read.")
class LostMeter:
    """失联表计."""

    meter: Meter
    gateway: Gateway
    since: datetime
    because_of_gateway: bool = strawberry.field(
        description="Its gateway is silent: of the meter nothing is known."
    )


@strawberry.type(description="From when to when something of the field was lost or off.")
class FieldEpisode:
    """失联、时钟偏差."""

    key: strawberry.Private[str]
    kind: episodes.EpisodeKind
    gateway: strawberry.ID
    gateway_serial: str
    meter: strawberry.ID | None
    meter_serial: str | None
    started_at: datetime
    ended_at: datetime | None
    drift_seconds: int | None = strawberry.field(description="Positive when the clock is ahead.")
    meters_behind: int | None = strawberry.field(description="Meters of a silent gateway.")


def use_of(found: rollups.Use) -> MeterUse:
    """A roll-up as the schema shows it."""
    return MeterUse(
        day=found.day,
        hour=found.hour,
        epoch=found.epoch,
        opening=None if found.opening is None else thousandths(found.opening),
        closing=None if found.closing is None else thousandths(found.closing),
        used=thousandths(found.used),
        bands=[BandTotal(band=name, total=thousandths(wh)) for name, wh in found.bands.items()],
        cold=None if found.cold_wh is None else thousandths(found.cold_wh),
        max_power=found.max_power_w,
        samples=found.samples,
        gaps=found.gaps,
        backward=found.backward,
    )


def episode_of(found: episodes.Episode) -> FieldEpisode:
    """An episode as the schema shows it."""
    return FieldEpisode(
        key=str(found.id),
        kind=found.kind,
        gateway=ref("Gateway", found.gateway_id),
        gateway_serial=found.gateway_serial,
        meter=None if found.meter_id is None else ref("Meter", found.meter_id),
        meter_serial=found.meter_serial,
        started_at=found.started_at,
        ended_at=found.ended_at,
        drift_seconds=found.drift_s,
        meters_behind=found.meters_behind,
    )


async def _lost_meters(work: UnitOfWork, rows: Sequence[episodes.Unread]) -> list[LostMeter]:
    latest = await queries.latest_of_meters(work, meter_ids=[row.meter.id for row in rows])
    return [
        LostMeter(
            meter=meter_of(row.meter, row.gateway, latest),
            gateway=gateway_of(row.gateway),
            since=row.since,
            because_of_gateway=row.because_of_gateway,
        )
        for row in rows
    ]


def _check_span(first: date, last: date, by: UseBy) -> None:
    if not timedelta(0) <= last - first < _MOST[by.value]:
        most = _MOST[by.value].days
        raise InvalidInput(f"from and to are 1 to {most} days of a {by.value.lower()}", field="to")


@strawberry.type
class HistoryQueries:
    """Reads."""

    @field(description="Use of a meter by hour (at most 32 days) or day (at most 400).")
    async def meter_use(
        self,
        info: Info,
        meter: strawberry.ID,
        first: Annotated[date, strawberry.argument(name="from")],
        last: Annotated[date, strawberry.argument(name="to")],
        by: UseBy = UseBy.DAY,
    ) -> list[MeterUse]:
        """Business days `from` to `to`, both included. Raises NotFound, InvalidInput."""
        meter_id = uuid_of(meter, "Meter")
        _check_span(first, last, by)
        read = rollups.use_by_day if by is UseBy.DAY else rollups.use_by_hour
        async with info.context.work() as work:
            await queries.meter(work, scope=info.context.caller(), meter_id=meter_id)
            found = await read(work, meter_id=meter_id, first=first, last=last)
        return [use_of(each) for each in found]

    @field(description="The meters of a project that cannot be read now, by serial.")
    async def lost_meters(
        self, info: Info, project: strawberry.ID, first: int = 50, after: str | None = None
    ) -> Connection[LostMeter]:
        """A page by a few statements. Raises NotFound, InvalidInput."""
        project_id, after_serial = uuid_of(project, "Project"), key_of(after)
        async with info.context.work() as work:
            found = await episodes.unread_meters(
                work,
                scope=info.context.caller(),
                project_id=project_id,
                after_serial=after_serial,
                limit=size(first) + 1,
            )
            rows, more = cut(found, first)
            nodes = await _lost_meters(work, rows)
        return page(nodes, more=more, key=lambda node: node.meter.serial)

    @field(description="Episodes of a project's gateways and meters, the newest first.")
    async def field_episodes(
        self,
        info: Info,
        project: strawberry.ID,
        only_open: bool = False,
        first: int = 50,
        after: str | None = None,
    ) -> Connection[FieldEpisode]:
        """A page. Raises NotFound, InvalidInput."""
        rows = partial(episodes.episodes_page, only_open=only_open)
        return await project_page(info, project, first, after, rows=rows, node=episode_of)
