"""What the demo's homes used in the weeks before it began: made up, as all of them are, so that how long
their money lasts is known at once and not after a week."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from backend.journeys.forecast import tend_forecasts
from backend.kernel.clock import business_day
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.tenancy.queries import group_of_code

from .plan import DemoGroup

_DAYS = 28
_DAY = timedelta(days=1)
# Percent of a home's mean power hour by hour: a shop is open from 9 to 22, a home is used in the evening.
_SHOP = (30,) * 9 + (150,) * 13 + (30, 30)
_HOME = (40,) * 6 + (90, 120, 90) + (70,) * 8 + (110, 190, 240, 240, 200, 140, 80)
_WEEKEND = 120
_METERS = (
    "SELECT m.serial, m.id, m.project_id, s.counter_epoch, s.started_at, p.kind FROM metering_meter m"
    " JOIN metering_assignment s ON s.group_id = m.group_id AND s.meter_id = m.id AND s.ended_at IS NULL"
    " JOIN tenancy_project p ON p.group_id = m.group_id AND p.id = m.project_id WHERE m.group_id = $1"
)
_PUT = (
    "INSERT INTO metering_hours (group_id, project_id, meter_id, epoch, day, hours, used, samples)"
    " SELECT $1, n.project_id, n.meter_id, n.epoch, n.day, (1 << 24) - 1, n.used, $7"
    " FROM unnest($2::uuid[], $3::uuid[], $4::integer[], $5::date[], $6::text[])"
    "  AS n(project_id, meter_id, epoch, day, used) ON CONFLICT DO NOTHING"
)


async def live_before(groups: Sequence[DemoGroup], *, at: datetime) -> None:
    """Give every home of the plan its four weeks before its meter was hung, once, and look at forecasts."""
    for group in groups:
        group_id = await group_of_code(group.code)
        assert group_id is not None, "its group was seeded"
        power = {home.meter: home.average_w for site in group.sites for home in site.homes}
        async with unit_of_work(group_id) as work:
            await _put(work, power)
        await tend_forecasts(group_id=group_id, at=at)


async def _put(work: UnitOfWork, power: dict[str, int]) -> None:
    lived: list[tuple[UUID, UUID, int, date, str]] = []
    for serial, id_, project_id, epoch, started_at, kind in await work.fetch(
        _METERS, work.group_id
    ):
        if serial not in power:
            continue
        shape = _SHOP if kind == "SHOPS" else _HOME
        for day, used in _days(power[serial], shape, business_day(started_at)):
            lived.append((project_id, id_, epoch, day, used))
    for day in {day.replace(day=1) for _, _, _, day, _ in lived}:
        await work.execute("SELECT metering_ensure_month($1)", day)
    columns = [list(column) for column in zip(*lived, strict=True)] or [[]] * 5
    await work.execute(_PUT, work.group_id, *columns, ",".join(["2"] * 24))


def _days(watts: int, shape: Sequence[int], hung: date) -> Iterator[tuple[date, str]]:
    """The days before `hung` with their use by the hour; no two are quite alike."""
    for ago in range(1, _DAYS + 1):
        day = hung - ago * _DAY
        percent = _WEEKEND if day.weekday() >= 5 else 100
        percent += (ago * 7 + watts) % 21 - 10
        yield day, ",".join(str(watts * each * percent // 10_000) for each in shape)
