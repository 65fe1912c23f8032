"""When which rate band holds in a meter (费率时段), as the schema shows and takes it."""

from __future__ import annotations

from collections.abc import Mapping

import strawberry

from backend.kernel.band_calendar import Calendar, YearZone, calendar_of

from .tariff_terms import TariffSlot, TariffSlotInput, slots_given, slots_shown


@strawberry.type(description="From a day of each year on, one of the day tables holds.")
class MeterZone:
    """年时区."""

    month: int
    day: int
    table: int = strawberry.field(description="The number of its day table, from 1.")


@strawberry.type(
    description="Year zones and day tables (DL/T 645). Before its first zone of a year the last one holds."
)
class MeterCalendar:
    """时区时段表."""

    zones: list[MeterZone]
    tables: list[list[TariffSlot]]


@strawberry.input(description="See MeterZone.")
class MeterZoneInput:
    """年时区."""

    month: int
    day: int
    table: int


@strawberry.input(
    description="The whole calendar of a meter: up to 14 zones, 8 day tables and 14 slots a day; many a"
    " meter holds fewer. Zones rise within the year, slots from 00:00 on."
)
class MeterCalendarInput:
    """时区时段表."""

    zones: list[MeterZoneInput]
    tables: list[list[TariffSlotInput]]


def calendar_given(given: MeterCalendarInput | None) -> Calendar | None:
    """What a caller means. Raises InvalidInput for a text that is no time; the rest is checked where an
    order is made."""
    if given is None:
        return None
    return Calendar(
        tuple(YearZone(each.month, each.day, each.table) for each in given.zones),
        slots_given(given.tables, "tables"),
    )


def calendar_shown(numbers: Mapping[str, int] | None) -> MeterCalendar | None:
    """Numbers of a calendar as the schema shows them; None for none."""
    if not numbers:
        return None
    calendar = calendar_of(numbers)
    return MeterCalendar(
        zones=[MeterZone(month=z.month, day=z.day, table=z.table) for z in calendar.zones],
        tables=slots_shown(calendar.tables),
    )
