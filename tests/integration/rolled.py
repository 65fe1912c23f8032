"""What roll-ups must say, computed from the readings one by one: the slow and plain way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from backend.kernel.clock import CHINA, business_day, day_period
from backend.metering.models import MeterAssignment
from backend.metering.readings import Reading
from backend.metering.rollups import Use

_TICK = timedelta(microseconds=1)


@dataclass
class _Sum:
    used: int = 0
    bands: dict[str, int] = field(default_factory=dict)
    cold: int | None = None
    max_power: int | None = None
    samples: int = 0
    gaps: int = 0
    backward: int = 0
    closing: int = 0


@dataclass
class _Last:
    """What was last known within one epoch."""

    at: datetime
    total: int
    bands: dict[str, int]
    cold: int | None


def rolled(
    readings: Iterable[Reading],
    assignments: Sequence[MeterAssignment],
    *,
    pause: timedelta,
    zone: ZoneInfo = CHINA,
) -> tuple[list[Use], list[Use]]:
    """The days and the hours of one meter of a project in `zone`."""
    last: dict[int, _Last] = {}
    days: dict[tuple[date, int], _Sum] = defaultdict(_Sum)
    hours: dict[tuple[date, int, int], _Sum] = defaultdict(_Sum)
    for at, _turn, epoch, total, reading in sorted(
        _events(list(readings), assignments), key=lambda event: event[:2]
    ):
        day = business_day(at - _TICK, zone)
        hour = int((at - _TICK - day_period(day, zone).start) / timedelta(hours=1))
        before = last.get(epoch)
        for found in (days[day, epoch], hours[day, epoch, hour]):
            _add(found, before, at, total, reading, pause)
        last[epoch] = _after(before, at, total, reading)
    of_days = [_use(day, None, epoch, found) for (day, epoch), found in sorted(days.items())]
    of_hours = [_use(d, hour, epoch, found) for (d, epoch, hour), found in sorted(hours.items())]
    return (
        [use for use in of_days if use.samples or use.used],
        [use for use in of_hours if use.samples or use.used],
    )


Event = tuple[datetime, int, int, int, Reading | None]


def _events(readings: Sequence[Reading], assignments: Sequence[MeterAssignment]) -> Iterable[Event]:
    for held in assignments:
        yield held.started_at, 0, held.counter_epoch, held.opening_total, None
        if held.ended_at is not None and held.closing_total is not None:
            yield held.ended_at, 2, held.counter_epoch, held.closing_total, None
    for reading in readings:
        epoch = next(
            (
                held.counter_epoch
                for held in assignments
                if held.started_at <= reading.at
                and (held.ended_at is None or reading.at < held.ended_at)
            ),
            0,
        )
        yield reading.at, 1, epoch, reading.total, reading


def _add(
    found: _Sum,
    before: _Last | None,
    at: datetime,
    total: int,
    reading: Reading | None,
    pause: timedelta,
) -> None:
    if before is not None:
        found.used += total - before.total
        found.backward += total < before.total
    found.closing = total
    after = _after(before, at, total, reading)
    if before is not None:
        for name, value in before.bands.items():  # what a reading lacks is as it was
            found.bands[name] = found.bands.get(name, 0) + after.bands[name] - value
        if before.cold is not None and after.cold is not None:
            found.cold = (found.cold or 0) + after.cold - before.cold
    if reading is None:
        return
    found.samples += 1
    found.gaps += before is not None and at - before.at > pause
    if reading.power_w is not None:
        known = [] if found.max_power is None else [found.max_power]
        found.max_power = max([reading.power_w, *known])


def _after(before: _Last | None, at: datetime, total: int, reading: Reading | None) -> _Last:
    bands = {} if before is None else before.bands
    cold = None if before is None else before.cold
    if reading is not None:
        bands = {**bands, **reading.bands}
        cold = cold if reading.cold_wh is None else reading.cold_wh
    return _Last(at, total, dict(bands), cold)


def _use(day: date, hour: int | None, epoch: int, found: _Sum) -> Use:
    return Use(
        day=day,
        hour=hour,
        epoch=epoch,
        opening=found.closing - found.used if hour is None else None,
        closing=found.closing if hour is None else None,
        used=found.used,
        bands=found.bands,
        cold_wh=found.cold,
        max_power_w=found.max_power,
        samples=found.samples,
        gaps=found.gaps,
        backward=found.backward if hour is None else 0,
    )
