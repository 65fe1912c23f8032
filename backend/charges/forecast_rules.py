"""How long money lasts, from what an account itself used by weekday and hour. Pure; amounts are hao.

A profile is the money of each of the 168 hours of a week, and a level: how far the last days lie above or
below it. Each day that is known all through is learned once. The first four of a weekday count alike, after
them the newest counts a quarter, so that the weeks before fade. How far the forecast is off is measured day
by day, before the day is learned. Peers tell days left (reference/domain-notes.md P23, seen in an excerpt
only); that a balance that rises is a top-up and no negative use is from section 3 there: use is learned from
registers, never from balances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backend.kernel.clock import CHINA, utc

HOURS = 24
WEEK = 7 * HOURS
MOST_DAYS = 1000  # as far as anybody is told
LOOK_BACK = 42  # days that a new profile is made of, where they are there
_ENOUGH = 7  # days known, or nothing is said
_FADE = 4  # of a weekday: the newest of them counts a quarter
_EVEN = 1000  # a level is in thousandths
_LEVELS = (100, 10_000)
_CLIP = (
    500,
    2000,
)  # a single day moves the level as if it were half or twice what was said at most
_GAIN = 6  # and by a sixth of that
_AWAY_DAYS = 14  # next to no use for so long is how it is now, and no holiday
_AWAY = 10  # a tenth of what was said
_DAYS_MEASURED = 28
_WEEKS_MEASURED = 8
_MOST_OFF = 10_000  # thousandths
_HOUR_S = 3600


class Basis(StrEnum):
    """What a forecast rests on. LEARNING: fewer than seven days are known, nothing is said. IDLE: nothing is
    used. NO_PRICE: what a unit costs is not known. OWN_USE: the profile."""

    LEARNING = "LEARNING"
    IDLE = "IDLE"
    NO_PRICE = "NO_PRICE"
    OWN_USE = "OWN_USE"


@dataclass(frozen=True, slots=True)
class Profile:
    """What the hours of a week cost. `hours`: 168 from Monday midnight of the project's zone; `seen`: how
    many Mondays to Sundays were learned; `level` in thousandths; `away`: days in a row with next to no use;
    `day`: the last day that was looked at, known or not."""

    day: date
    hours: tuple[int, ...] = (0,) * WEEK
    seen: tuple[int, ...] = (0,) * 7
    level: int = _EVEN
    away: int = 0

    @property
    def known(self) -> bool:
        """Whether enough days were learned to say something."""
        return sum(self.seen) >= _ENOUGH


class Miss(NamedTuple):
    """A measured span: by how much its forecast missed what came, either way; and what came."""

    missed: int
    came: int


@dataclass(frozen=True, slots=True)
class Measured:
    """How far forecasts were off, the newest last: of the next day, and of the next seven days. The seven
    days under way: since when, what was said of them, what came so far."""

    days: tuple[Miss, ...] = ()
    weeks: tuple[Miss, ...] = ()
    week_from: date | None = None
    week_said: int = 0
    week_came: int = 0


class Forecast(NamedTuple):
    """How long money lasts. Of LEARNING, IDLE and NO_PRICE nothing is said; `zero_at` is None as well when it
    is more than a thousand days away."""

    basis: Basis
    days_left: int | None = None
    zero_at: datetime | None = None


@lru_cache(maxsize=1)  # measuring, learning and forecasting ask it of one profile after the other
def costs(profile: Profile) -> tuple[int, ...]:
    """What each hour of a week is expected to cost, from Monday midnight. A weekday that was never known is
    like the mean of the others."""
    hours, level = profile.hours, profile.level
    found = [(each * level + _EVEN // 2) // _EVEN for each in hours]
    known = [weekday for weekday in range(7) if profile.seen[weekday]]
    if 0 < len(known) < 7:
        for hour in range(HOURS):
            alike = sum(found[HOURS * weekday + hour] for weekday in known) // len(known)
            for weekday in range(7):
                if not profile.seen[weekday]:
                    found[HOURS * weekday + hour] = alike
    return tuple(found)


def expected(profile: Profile, day: date) -> int:
    """What a day is expected to cost."""
    return sum(costs(profile)[HOURS * day.weekday() :][:HOURS])


def learn(profile: Profile, day: date, came: Sequence[int] | None) -> Profile:
    """The profile after a day, `came` what its 24 hours cost; None: it is not known all through.

    A day with next to no use (a holiday, an empty week) is no sign of less use: it is passed over, until
    there were fourteen of them. Then it is how it is now, and so is the first use after a time of none.
    """
    if came is None:
        return replace(profile, day=day)
    away = 0
    level = profile.level
    total = sum(came)
    if profile.known:
        week = costs(profile)
        said = sum(week[HOURS * day.weekday() :][:HOURS])
        if not sum(week) and total:
            return _anew(day, came)
        if said * 7 * _AWAY >= sum(week):  # a day of rest tells nothing
            if total * _AWAY < said:
                if profile.away + 1 >= _AWAY_DAYS:
                    return _anew(day, came)
                return replace(profile, day=day, away=profile.away + 1)
            level = _moved(level, said, total)
        else:
            away = profile.away
    return replace(_folded(profile, day, came, level), away=away)


def _moved(level: int, said: int, total: int) -> int:
    """The level after a day that came to `total` where `said` was expected."""
    if not said:
        return level
    ratio = min(max(total * _EVEN // said, _CLIP[0]), _CLIP[1])
    moved = level + level * (ratio - _EVEN) // (_GAIN * _EVEN)
    return min(max(moved, _LEVELS[0]), _LEVELS[1])


def _folded(profile: Profile, day: date, came: Sequence[int], level: int) -> Profile:
    """The weekday's hours with those of a day, as they would be at an even level."""
    weekday = day.weekday()
    parts = min(profile.seen[weekday] + 1, _FADE)
    hours = list(profile.hours)
    for hour, cost in enumerate(came):
        place = HOURS * weekday + hour
        even = (cost * _EVEN + level // 2) // level
        hours[place] = (hours[place] * (parts - 1) + even + parts // 2) // parts
    seen = list(profile.seen)
    seen[weekday] += 1
    return Profile(day, tuple(hours), tuple(seen), level)


def _anew(day: date, came: Sequence[int]) -> Profile:
    """As if each day of a week had been like this one."""
    return Profile(day, tuple(came) * 7, (1,) * 7)


def measure(
    measured: Measured, profile: Profile, day: date, came: Sequence[int] | None
) -> Measured:
    """Compare what `profile` said of a day, before it is learned, with what came; and of seven days in a row.

    The last 28 days and eight weeks are kept. A week with a day that is not known is given up.
    """
    if not profile.known:
        return measured
    if came is None:
        return replace(measured, week_from=None, week_said=0, week_came=0)
    total = sum(came)
    days = (*measured.days, Miss(abs(expected(profile, day) - total), total))[-_DAYS_MEASURED:]
    begun, said = measured.week_from, measured.week_said
    if begun is None:
        begun, said = day, sum(costs(profile))
    week_came = measured.week_came + total
    if (day - begun).days < 6:
        return Measured(days, measured.weeks, begun, said, week_came)
    weeks = (*measured.weeks, Miss(abs(said - week_came), week_came))[-_WEEKS_MEASURED:]
    return Measured(days, weeks)


def mape(misses: Sequence[Miss]) -> int | None:
    """The mean absolute percentage error, in thousandths; a span in which nothing was used has none, and one
    is 1000 % off at most. None of nothing."""
    off = [min(_share(*each), _MOST_OFF) for each in misses if each.came]
    return _share(sum(off), _EVEN * len(off)) if off else None


def wape(misses: Sequence[Miss]) -> int | None:
    """All that was missed as a share of all that came, in thousandths: an empty day weighs as little as it
    costs. None where nothing was used."""
    came = sum(each.came for each in misses)
    return _share(sum(each.missed for each in misses), came) if came else None


def _share(part: int, whole: int) -> int:
    """Thousandths, half up."""
    return (part * 2 * _EVEN + whole) // (2 * whole)


def forecast(
    profile: Profile | None, available: int, at: datetime, zone: ZoneInfo = CHINA
) -> Forecast:
    """How long `available` hao last from an instant on: whole days left, and the instant of zero (UTC).

    What is used up already has no day left and is at zero now. A zone that shifts its clock is an hour
    off from then on.
    """
    if profile is None or not profile.known:
        return Forecast(Basis.LEARNING)
    week = costs(profile)
    whole = sum(week)
    if not whole:
        return Forecast(Basis.IDLE)
    now = utc(at)
    if available <= 0:
        return Forecast(Basis.OWN_USE, 0, now)
    local = at.astimezone(zone)
    place = HOURS * local.weekday() + local.hour
    begins = now - timedelta(
        minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )
    # As if the hour had begun with what it has used so far on top.
    gone = 60 * local.minute + local.second
    left = available + week[place] * gone // _HOUR_S
    weeks, left = divmod(left - 1, whole)
    left += 1
    if 7 * weeks >= MOST_DAYS:
        return Forecast(Basis.OWN_USE, MOST_DAYS, None)
    passed = 0
    while left > week[(place + passed) % WEEK]:
        left -= week[(place + passed) % WEEK]
        passed += 1
    within = timedelta(seconds=left * _HOUR_S // week[(place + passed) % WEEK])
    zero = max(begins + timedelta(days=7 * weeks, hours=passed) + within, now)
    return Forecast(Basis.OWN_USE, (zero - now) // timedelta(days=1), zero)
