"""A rule of cuts replayed on what was: who would have been cut, when, and until when (C20). Pure.

An estimate for a decision. Readings are taken for fresh and messages for delivered at once; what was used
after a cut, until money came, would not have been used; limits of trips are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backend.kernel.clock import business_day
from backend.kernel.errors import InvalidInput
from backend.kernel.money import HAO_PER_YUAN

from .calendar_rules import CutCalendar, Mark, next_window, no_cut_day, public_holiday
from .timetable_rules import Timetable, plan_on

# Offices are closed and nobody is out: dark then is worst (reference/domain-notes.md 2.15).
_NIGHT_FROM, _NIGHT_TO = 20, 8
_MOST = 100_000 * HAO_PER_YUAN


@dataclass(frozen=True, slots=True)
class CutRule:
    """What is tried: the calendar (window, weekdays, notice, marked days), the level at which customers are
    warned and how far above it a warning is armed again, and what may be overdrawn; hao."""

    calendar: CutCalendar
    level: int
    armed_above: int
    overdraft: int


class Move(NamedTuple):
    """Money that came into a purse (positive), or was charged (negative), at an instant; hao."""

    at: datetime
    hao: int


class WouldBeCut(NamedTuple):
    """A cut that the rule would have made. `owed`: hao below zero then; `restored_at`: when money came, None
    when it did not until the end; `nights`: midnights in the dark; `at_night`: the cut was between 20:00
    and 08:00; `on_holiday`: on a weekend or a holiday."""

    at: datetime
    warned_at: datetime
    restored_at: datetime | None
    owed: int
    nights: int
    at_night: bool
    on_holiday: bool


def check_rule(*, level: int, overdraft: int) -> None:
    """Raises InvalidInput for a level or an overdraft that nobody can mean."""
    if not 0 <= level <= _MOST:
        raise InvalidInput("a level of warning is 0 to 100,000 yuan", field="level")
    if not 0 <= overdraft <= _MOST:
        raise InvalidInput("an overdraft is 0 to 100,000 yuan", field="overdraft")


def replay(
    *, opening: int, moves: Iterable[Move], rule: CutRule, start: datetime, end: datetime
) -> list[WouldBeCut]:
    """The cuts of a purse from `start` to `end`, with what it held at the start and what moved in it, in
    order of time. Who is below the level at the start was warned before it."""
    run = _Run(rule, start, opening)
    if opening <= rule.level:
        run.warned_at = start - rule.calendar.window.notice
    for move in moves:
        run.until(move.at)
        run.take(move)
    run.until(end)
    return run.cuts(end)


@dataclass(slots=True)
class _Run:
    """A purse on its way through the time."""

    rule: CutRule
    now: datetime
    balance: int
    warned_at: datetime | None = None
    dark: tuple[datetime, datetime, int] | None = None  # cut at, warned at, owed
    ended: list[tuple[datetime, datetime, int, datetime | None]] = field(default_factory=list)

    def until(self, at: datetime) -> None:
        """Nothing moves until then: is it cut meanwhile?"""
        owes = self.balance + self.rule.overdraft <= 0
        if owes and self.dark is None and self.warned_at is not None:
            calendar = self.rule.calendar
            due = max(self.now, self.warned_at + calendar.window.notice)
            cut = next_window(calendar, due) if due < at else None
            if cut is not None and cut < at:
                self.dark = cut, self.warned_at, -self.balance
        self.now = max(self.now, at)

    def take(self, move: Move) -> None:
        """Money moves; in the dark nothing is used."""
        if self.dark is not None and move.hao < 0:
            return
        self.balance += move.hao
        if self.balance > self.rule.level + self.rule.armed_above:
            self.warned_at = None
        elif self.balance <= self.rule.level and self.warned_at is None:
            self.warned_at = move.at
        if self.dark is not None and self.balance + self.rule.overdraft > 0:
            self._close(move.at)

    def _close(self, restored_at: datetime | None) -> None:
        assert self.dark is not None
        self.ended.append((*self.dark, restored_at))
        self.dark = None

    def cuts(self, end: datetime) -> list[WouldBeCut]:
        """All cuts, the last one open when no money came."""
        if self.dark is not None:
            self._close(None)
        zone, calendar = self.rule.calendar.zone, self.rule.calendar
        return [
            WouldBeCut(
                at=cut,
                warned_at=warned,
                restored_at=restored,
                owed=owed,
                nights=(business_day(restored or end, zone) - business_day(cut, zone)).days,
                at_night=is_night(cut, zone),
                on_holiday=_is_off(calendar, cut),
            )
            for cut, warned, owed, restored in self.ended
        ]


def is_night(at: datetime, zone: ZoneInfo) -> bool:
    """Whether an instant is between 20:00 and 08:00."""
    hour = at.astimezone(zone).hour
    return hour >= _NIGHT_FROM or hour < _NIGHT_TO


def _is_off(calendar: CutCalendar, at: datetime) -> bool:
    day = business_day(at, calendar.zone)
    return day.isoweekday() > 5 or public_holiday(day) or no_cut_day(calendar, day)


class OffUse(NamedTuple):
    """What a timetable would have kept somebody from using: days that are known, minutes without power, those
    of them between 20:00 and 08:00, and the use in them (base units)."""

    days: int
    off_minutes: int
    at_night: int
    used: int


def replay_timetable(
    timetable: Timetable,
    marks: Mapping[date, frozenset[Mark]],
    days: Iterable[tuple[date, Sequence[int]]],
) -> OffUse:
    """A timetable on days whose use is known hour by hour; within an hour use is taken for even."""
    known = off = night = used = 0
    for day, hours in days:
        known += 1
        for hour, minutes in enumerate(_off_by_hour(timetable, marks, day)):
            off += minutes
            night += minutes if hour >= _NIGHT_FROM or hour < _NIGHT_TO else 0
            used += hours[hour] * minutes // 60
    return OffUse(known, off, night, used)


def _off_by_hour(
    timetable: Timetable, marks: Mapping[date, frozenset[Mark]], day: date
) -> list[int]:
    """The minutes of each hour of a day in which the circuit is off."""
    found = [0] * 24
    slots = plan_on(timetable, marks, day)
    ends = [*(slot.minute for slot in slots[1:]), 24 * 60]
    for slot, end in zip(slots, ends, strict=True):
        for minute in range(slot.minute, end) if not slot.on else ():
            found[minute // 60] += 1
    return found
