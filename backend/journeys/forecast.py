"""The look of each hour at how long money lasts: learn the days that are over, say it, measure it, warn.

A place is looked at when it has a day to learn, which is each night; and each hour when its money ends soon.
A day is learned once, from the roll-ups of its hours at the prices of now; so a new installation, or a new
account, looks back as far as roll-ups go. What is said of a day before it is learned is compared with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.charges.forecast_rules import (
    LOOK_BACK,
    Basis,
    Forecast,
    Measured,
    Miss,
    Profile,
    forecast,
    learn,
    measure,
)
from backend.charges.forecasts import (
    Kept,
    add_misses,
    close_gone,
    keep,
    kept_of,
    last_looks,
)
from backend.charges.rules import Supply
from backend.kernel.clock import day_period
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.metering.hourly_use import HoursUsed, hours_used, rolled_up
from backend.metering.rules import CreditMode
from backend.tenancy import queries as tenancy
from backend.tenancy.models import Project

from .forecast_places import Place, left_at, places
from .forecast_prices import HourPrices, hour_prices
from .forecast_warning import Looked, end_warnings, warn

_AT_ONCE = 64  # places of one transaction: their lesson keeps the others of a loop waiting
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended('forecasts', $1))"
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_SOON = timedelta(days=10)  # more than what is warned of: the longest holiday, and use that rises
# The last readings of a day have arrived and are rolled up; at noon what is there is all there is.
_FROM, _AT_LAST = time(3, 0), time(12, 0)


@dataclass(slots=True)
class Tended:
    """What a look did: places it looked at, days it learned, customers' episodes it began."""

    places: int = 0
    days: int = 0
    warned: int = 0


async def tend_forecasts(*, group_id: int, at: datetime) -> Tended:
    """Look at all places of a group where money is used up. Another process that does it ends this one."""
    async with unit_of_work(group_id) as work:
        projects = {
            each.id: _Site(each, await _last_day(work, each, at))
            for each in await tenancy.all_projects(work)
        }
        found = await places(work)
        looks = await last_looks(work)
    done = Tended()
    for project_id, site in projects.items():
        of_project = [each for each in found if each.project_id == project_id]
        due = [each for each in of_project if site.is_due(looks.get(each.ref), at)]
        for place in range(0, len(due), _AT_ONCE):
            some = due[place : place + _AT_ONCE]
            async with unit_of_work(group_id) as work:
                if not await work.fetchval(_ALONE, group_id):
                    return done
                looked, days = await _look(work, site, some, at)
                done.warned += await warn(work, project=site.project, looked=looked, at=at)
            done.places += len(some)
            done.days += days
        async with unit_of_work(group_id) as work:
            gone = await close_gone(
                work, project_id=project_id, refs=[each.ref for each in of_project], at=at
            )
            await end_warnings(work, refs=gone, at=at)
    return done


@dataclass(frozen=True, slots=True)
class _Site:
    """A project and the last of its days that can be learned."""

    project: Project
    last: date

    def is_due(self, look: tuple[date, datetime | None] | None, at: datetime) -> bool:
        """Whether a place is looked at: never was, has a day to learn, or its money ends soon."""
        if look is None or look[0] < self.last:
            return True
        soon = at + timedelta(days=self.project.warn_days_left) + _SOON
        return look[1] is not None and look[1] < soon

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.project.time_zone)

    @property
    def slack(self) -> int:
        """Hours without a reading that are no silence: two sweeps."""
        minutes: int = 2 * self.project.sweep_minutes
        return -(-minutes // 60)


async def _last_day(work: UnitOfWork, project: Project, at: datetime) -> date:
    local = at.astimezone(ZoneInfo(project.time_zone))
    day = local.date() - _DAY
    if local.time() >= _AT_LAST:
        return day
    ready = local.time() >= _FROM and await rolled_up(work, day=day)
    return day if ready else day - _DAY


async def _look(
    work: UnitOfWork, site: _Site, some: Sequence[Place], at: datetime
) -> tuple[list[Looked], int]:
    """Learn and look at some places; what was found of each, and how many days were learned."""
    kept = await kept_of(work, refs=[each.ref for each in some])
    left = await left_at(work, some)
    lesson = await _lesson(work, site, some, kept, at)
    looked, changed = [], []
    for place in some:
        before = kept.get(place.ref)
        profile, measured, priced = lesson.of(place, before)
        found = _found(profile, left.get(place.ref), at, site.zone, priced)
        now = Kept(
            place.ref,
            place.project_id,
            place.account_id,
            place.assignment_id,
            profile,
            measured,
            found,
            at,
        )
        meter_id = None if place.in_cloud else place.members[0].meter_id
        looked.append(Looked(now, left.get(place.ref, 0), meter_id))
        if before is None or before.profile != profile or _moved(before.found, found):
            changed.append(now)
    await keep(work, forecasts=changed)
    await add_misses(work, misses=lesson.misses)
    return looked, lesson.days


def _found(
    profile: Profile, left: int | None, at: datetime, zone: ZoneInfo, priced: bool
) -> Forecast:
    if not priced and not profile.known:
        return Forecast(Basis.NO_PRICE)
    return Forecast(Basis.LEARNING) if left is None else forecast(profile, left, at, zone)


def _moved(before: Forecast, now: Forecast) -> bool:
    """Whether it is worth a write: zero stays where it is while use goes as it was said."""
    if before[:2] != now[:2] or (before.zero_at is None) != (now.zero_at is None):
        return True
    if before.zero_at is None or now.zero_at is None:
        return False
    return abs(before.zero_at - now.zero_at) > _HOUR


@dataclass(slots=True)
class _Lesson:
    """The days that some places have to learn, with what they used and what it costs."""

    site: _Site
    used: Mapping[tuple[UUID, date], Sequence[HoursUsed]]
    prices: Mapping[Supply, HourPrices]
    misses: dict[tuple[UUID, date], list[Miss]] = field(default_factory=dict)
    days: int = 0

    def of(self, place: Place, before: Kept | None) -> tuple[Profile, Measured, bool]:
        """What a place knows after its lesson, and whether all that it uses has a price."""
        first = _first(before, self.site.last)
        profile = before.profile if before else Profile(first - _DAY)
        measured = before.measured if before else Measured()
        if first > self.site.last:
            return profile, measured, True
        if not place.supplies <= self.prices.keys():
            return profile, measured, False
        day = first
        if first > profile.day + _DAY:  # days that nobody looked at are not known
            measured = measure(measured, profile, first, None)
        while day <= self.site.last:
            came = self._came(place, day)
            told = measure(measured, profile, day, came)
            if came is not None:
                self.days += 1
                if profile.known:
                    self.misses.setdefault((place.project_id, day), []).append(told.days[-1])
            profile, measured = learn(profile, day, came), told
            day += _DAY
        return profile, measured, True

    def _came(self, place: Place, day: date) -> list[int] | None:
        """What a day cost by the hour; None when some of its meters does not tell the whole of it."""
        rows = self.used.get((place.ref, day), ())
        begins = day_period(day, self.site.zone).start
        told = {row.assignment_id for row in rows}
        if not rows or any(
            member.started_at <= begins and member.assignment_id not in told
            for member in place.members
        ):
            return None
        hours = [0] * 24
        for row in rows:
            by_hour = row.by_hour(self.site.slack)
            if by_hour is None:
                return None
            prices = self.prices[Supply(row.account_id, row.kind)]
            for hour, used in enumerate(by_hour):
                hours[hour] += prices.cost(hour, used)
        if place.in_cloud:
            hours[-1] += sum(self.prices[each].daily for each in place.supplies)
        return hours


def _first(before: Kept | None, last: date) -> date:
    """The first day to learn: no further back than a profile is made of."""
    earliest = last - timedelta(days=LOOK_BACK - 1)
    return earliest if before is None else max(before.profile.day + _DAY, earliest)


async def _lesson(
    work: UnitOfWork,
    site: _Site,
    some: Sequence[Place],
    kept: Mapping[UUID, Kept],
    at: datetime,
) -> _Lesson:
    due = {each.ref: _first(kept.get(each.ref), site.last) for each in some}
    due = {ref: first for ref, first in due.items() if first <= site.last}
    if not due:
        return _Lesson(site, {}, {})
    supplies: dict[Supply, bool] = {}
    for place in some:
        if place.ref in due:
            for supply in place.supplies:
                supplies[supply] = supplies.get(supply, False) or place.in_cloud
    prices = await hour_prices(work, supplies=supplies, day=site.last, at=at, zone=site.zone)
    priced = [each for each in some if each.ref in due and each.supplies <= prices.keys()]
    firsts: dict[UUID, date] = {}
    for place in priced:
        for supply in place.supplies:
            before = firsts.get(supply.account_id, site.last)
            firsts[supply.account_id] = min(due[place.ref], before)
    rows = await hours_used(work, firsts=list(firsts.items()), last=site.last)
    return _Lesson(site, _by_place(priced, rows), prices)


def _by_place(
    due: Iterable[Place], rows: Iterable[HoursUsed]
) -> dict[tuple[UUID, date], list[HoursUsed]]:
    """Each row at the place that it is paid from. What an earlier meter of the household used counts where
    the money of its kind is now."""
    of_assignment: dict[UUID, UUID] = {}
    of_supply: dict[tuple[Supply, bool], list[UUID]] = defaultdict(list)
    for place in due:
        for member in place.members:
            of_assignment[member.assignment_id] = place.ref
        for supply in place.supplies:
            of_supply[supply, place.in_cloud].append(place.ref)
    found: dict[tuple[UUID, date], list[HoursUsed]] = defaultdict(list)
    for row in rows:
        if row.live:
            refs = [of_assignment[row.assignment_id]] if row.assignment_id in of_assignment else []
        else:
            supply = Supply(row.account_id, row.kind)
            refs = of_supply.get((supply, row.credit_mode == CreditMode.CLOUD), [])
        for ref in refs:
            found[ref, row.day].append(row)
    return found
