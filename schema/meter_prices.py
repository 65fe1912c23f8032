"""Prices and hours inside meters (电价下发): which version each should hold, and who lags."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import strawberry

from backend.control.prices import MeterPrices as MeterPricesRow
from backend.control.prices import price_laggards
from backend.kernel.band_calendar import BANDS
from backend.kernel.money import Money

from .context import Info
from .loaders import serial_of
from .meter_calendars import MeterCalendar, calendar_shown
from .paging import Connection, cut, page, size, uuid_key
from .resolvers import field
from .scalars import ref, uuid_of
from .tariff_terms import BandPrice


@strawberry.type(description="A meter that does not hold the prices or the hours that it should.")
class MeterPrices:
    """电价未同步的表计."""

    key: strawberry.Private[UUID]
    meter: strawberry.ID
    desired_version: strawberry.ID
    desired: list[BandPrice]
    desired_calendar: MeterCalendar | None = strawberry.field(
        description="Null when its tariff tells no hours: then the meter's own will do."
    )
    desired_since: datetime
    actual_version: strawberry.ID | None = strawberry.field(
        description="Null when it holds what no version says, or was never read back."
    )
    actual: list[BandPrice]
    actual_at: datetime | None
    actual_calendar: MeterCalendar | None = strawberry.field(
        description="Null when it was never read back."
    )
    actual_calendar_at: datetime | None
    unfit: str | None = strawberry.field(
        description="Why the meter cannot hold such a price at all."
    )
    under_way: strawberry.ID | None = strawberry.field(description="The command under way.")
    tries: int
    next_try_at: datetime
    problem: str | None = strawberry.field(description="What became of the last command.")

    @field(description="The meter's number.")
    async def serial(self, info: Info) -> str:
        """By one statement for all meters that are asked for."""
        return await serial_of(info.context, self.key)


def _bands(prices: Mapping[str, int] | None) -> list[BandPrice]:
    held = prices or {}
    return [BandPrice(band=band, price=Money(held[band])) for band in BANDS if band in held]


def meter_prices_of(row: MeterPricesRow) -> MeterPrices:
    """A meter's prices as the schema shows them."""
    actual = row.actual_version
    return MeterPrices(
        key=row.meter_id,
        meter=ref("Meter", row.meter_id),
        desired_version=ref("TariffVersion", row.desired_version),
        desired=_bands(row.desired_prices),
        desired_calendar=calendar_shown(row.desired_calendar),
        desired_since=row.desired_at,
        actual_version=None if actual is None else ref("TariffVersion", actual),
        actual=_bands(row.actual_prices),
        actual_at=row.actual_at,
        actual_calendar=calendar_shown(row.actual_calendar),
        actual_calendar_at=row.actual_calendar_at,
        unfit=row.unfit,
        under_way=None if row.command_id is None else ref("Command", row.command_id),
        tries=row.tries,
        next_try_at=row.next_try_at,
        problem=row.problem,
    )


@strawberry.type
class MeterPriceQueries:
    """Reads."""

    @field(
        description="Meters of a project that do not hold the prices or hours that they should, by id."
    )
    async def price_laggards(
        self, info: Info, project: strawberry.ID, first: int = 50, after: str | None = None
    ) -> Connection[MeterPrices]:
        """Raises NotFound, InvalidInput."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        async with info.context.work() as work:
            found = await price_laggards(
                work,
                scope=scope,
                project_id=project_id,
                after=uuid_key(after),
                limit=size(first) + 1,
            )
        rows, more = cut(found, first)
        return page([meter_prices_of(row) for row in rows], more=more, key=lambda n: str(n.key))
