"""Loads that a circuit may not have: seen, locked, told to everybody of the room, given back (A24, C21).

What is found locks the circuit's supply; the engine of every supply trips it, and gives it back when the lock
is over: after the guard's minutes by itself, after its trips a day by an operator, by a payment never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.alerts.alarm_rules import LEVELS, AlarmKind
from backend.alerts.alarms import NewAlarm, end_alarms, raise_alarms
from backend.audit.operations import record
from backend.control import load_guards, safety_trips
from backend.control.calendars import cut_calendars
from backend.control.command_rules import check_reason
from backend.control.load_guards import Guarded, KeptGuard
from backend.control.load_rules import Found, Load, find_load, restore_at
from backend.control.safety_trips import SafetyTrip
from backend.control.supply_rules import FRESH_PERIODS, SafetyLock
from backend.kernel.clock import Period, business_day
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.scope import Actor, Scope
from backend.metering import queries as metering
from backend.metering.history import readings_of_meters
from backend.metering.readings import Reading
from backend.metering.supplied import SuppliedMeter, supplied_meters
from backend.tenancy.rules import Permission

from .news import china_time, tell_customers

GUARD = Actor("system", "load guard", "load guard")
_AT_ONCE = 500  # meters of one transaction
_AT_MOST = 2_000  # meters that an operator names at a time
_WORDS = {SafetyLock.OVERLOAD: "用电超过允许功率", SafetyLock.MALIGNANT_LOAD: "使用违规电器"}


async def guard_meters(
    *,
    scope: Scope,
    guard_id: UUID | None,
    meter_ids: Sequence[UUID],
    reason: str,
    at: datetime,
) -> int:
    """Let a guard look at the loads of meters of its project, or (None) none any more; how many.

    Raises NotFound, Forbidden, InvalidInput.
    """
    told = check_reason(reason)
    if len(meter_ids) > _AT_MOST:
        raise InvalidInput(f"name {_AT_MOST} meters at most", field="meters")
    async with unit_of_work(scope.group_id) as work:
        meters = await metering.meters_together(work, scope=scope, meter_ids=meter_ids)
        project_id = meters[0].project_id
        scope.require(Permission.METER_CONTROL, project_id)
        guard = await _guard_of_project(work, scope, guard_id, project_id)
        ids = [each.id for each in meters]
        await load_guards.put_under(
            work, project_id=project_id, meter_ids=ids, guard_id=guard_id, at=at
        )
        await record(
            work,
            actor=scope.actor,
            action="load:meters:guard",
            subject=str(guard_id or project_id),
            at=at,
            project_id=project_id,
            after={
                "guard": None if guard is None else guard.name,
                "meters": [str(each) for each in ids[:20]],
                "count": len(ids),
                "reason": told,
            },
        )
    return len(ids)


async def _guard_of_project(
    work: UnitOfWork, scope: Scope, guard_id: UUID | None, project_id: UUID
) -> KeptGuard | None:
    if guard_id is None:
        return None
    guard = await load_guards.guard(work, scope=scope, guard_id=guard_id)
    if guard.project_id != project_id:
        raise InvalidInput("the guard is another project's", field="guard")
    return guard


async def unlock_circuit(*, scope: Scope, meter_id: UUID, note: str, at: datetime) -> SafetyTrip:
    """End a lock: what else is wanted of the supply decides again. The trip as it ended.

    Raises NotFound, Forbidden, InvalidInput (no note), Conflict (it is not locked, or by its meter).
    """
    told = check_reason(note)
    async with unit_of_work(scope.group_id) as work:
        meter = await metering.meter(work, scope=scope, meter_id=meter_id)
        scope.require(Permission.METER_CONTROL, meter.project_id)
        trip = await safety_trips.lock_running(work, meter_id=meter.id)
        if trip is None:
            raise Conflict("this circuit is not locked")
        if trip.by_meter:
            raise Conflict(
                "the meter locked itself: it ends that, or somebody at the meter; or keep power on"
            )
        await end_locks(work, [trip], by=scope.actor.name, note=told, at=at)
        await record(
            work,
            actor=scope.actor,
            action="load:circuit:unlock",
            subject=str(meter.id),
            at=at,
            project_id=meter.project_id,
            before={"lock": str(trip.kind), "since": trip.tripped_at.isoformat()},
            after={"note": told},
        )
    return replace(trip, ended_at=at, ended_by=scope.actor.name, note=told)


@dataclass(slots=True)
class Tended:
    """What a look did: circuits that were locked, and that are locked no more."""

    locked: int = 0
    restored: int = 0


async def tend_loads(*, group_id: int, at: datetime) -> Tended:
    """End the locks whose time is over, then look at what was read since the last look."""
    done = Tended()
    async with unit_of_work(group_id) as work:
        due = await safety_trips.lock_due(work, at=at, limit=_AT_ONCE)
        await end_locks(work, due, by=GUARD.name, note="its time is over", at=at)
        done.restored = len(due)
        seen = await load_guards.guarded_meters(work)
        latest = await metering.latest_of_meters(work, meter_ids=list(seen)) if seen else {}
    news = sorted(each for each, reading in latest.items() if reading.at > seen[each])
    for start in range(0, len(news), _AT_ONCE):
        async with unit_of_work(group_id) as work:
            done.locked += await _look(work, news[start : start + _AT_ONCE], at)
    return done


async def _look(work: UnitOfWork, meter_ids: Sequence[UUID], at: datetime) -> int:
    """Look at the newest two readings of each meter; how many circuits were locked."""
    guarded = await load_guards.lock_guarded(work, meter_ids=meter_ids)
    meters = await supplied_meters(work, meter_ids=[each.meter_id for each in guarded])
    guarded = [each for each in guarded if each.meter_id in meters]
    longest = max((FRESH_PERIODS * each.period for each in meters.values()), default=None)
    if longest is None:
        return 0
    # So far back that an old reading just stored is seen to be one, and is looked at no more.
    period = Period(at - 2 * longest, None)
    read = await readings_of_meters(work, meter_ids=list(meters), period=period, limit=2)
    bad: list[_Bad] = []
    for each in guarded:
        meter, newest = meters[each.meter_id], read[each.meter_id]
        found = _found(each, meter, newest, at)
        if found is not None:
            bad.append(_Bad(each, meter, found))
    seen = {each.meter_id: meters[each.meter_id].read_at or each.seen_at for each in guarded}
    await load_guards.note_seen(work, seen=seen)
    await _lock(work, bad, at)
    return len(bad)


def _found(
    guarded: Guarded, meter: SuppliedMeter, newest: Sequence[Reading], at: datetime
) -> Found | None:
    """A load that is on now: what a late reading tells of hours ago switches nobody off."""
    within = FRESH_PERIODS * meter.period
    if not newest or newest[0].at <= guarded.seen_at or at - newest[0].at > within:
        return None
    now, *before = map(_load, newest)
    return find_load(guarded.guard, before=before[0] if before else None, now=now, within=within)


def _load(reading: Reading) -> Load:
    return Load(reading.at, reading.power_w, reading.voltage_mv, reading.current_ma)


async def note_flagged(
    work: UnitOfWork, *, flagged: Mapping[UUID, SafetyLock], at: datetime
) -> int:
    """Meters told by themselves that their load is not allowed: those under a guard are locked. How many."""
    guarded = await load_guards.lock_guarded(work, meter_ids=list(flagged))
    meters = await supplied_meters(work, meter_ids=[each.meter_id for each in guarded])
    bad = [
        _Bad(each, meters[each.meter_id], Found(flagged[each.meter_id], {"told_by": "meter"}))
        for each in guarded
        if each.meter_id in meters
    ]
    await _lock(work, bad, at)
    return len(bad)


class _Bad(NamedTuple):
    """A circuit with what was found at it."""

    guarded: Guarded
    meter: SuppliedMeter
    found: Found


async def _lock(work: UnitOfWork, bad: Sequence[_Bad], at: datetime) -> None:
    """Lock circuits, raise their alarms and tell everybody who is bound to their accounts."""
    projects = {each.guarded.project_id for each in bad}
    calendars = await cut_calendars(work, project_ids=projects, at=at) if bad else {}
    alarms = []
    for guarded, meter, found in bad:
        day = business_day(at, calendars[guarded.project_id].zone)
        trips = await safety_trips.trips_of_day(work, meter_id=meter.id, day=day)
        trip = await safety_trips.lock_circuit(
            work,
            project_id=guarded.project_id,
            meter_id=guarded.meter_id,
            kind=found.lock,
            by_meter=False,
            detail=found.detail,
            day=day,
            restore_at=restore_at(guarded.guard, trips_today=trips, at=at),
            at=at,
        )
        alarms.append(alarm_of(trip, meter))
        if meter.account_id is not None:
            await tell_room(work, trip, meter.account_id, at)
    await raise_alarms(work, alarms=alarms, at=at)


def alarm_of(trip: SafetyTrip, meter: SuppliedMeter) -> NewAlarm:
    """The alarm of a trip."""
    kind = AlarmKind(trip.kind.value)
    return NewAlarm(
        project_id=trip.project_id,
        kind=kind,
        subject=str(trip.id),
        account_id=meter.account_id,
        meter_id=meter.id,
        gateway_id=meter.gateway_id,
        level=LEVELS[kind],
        detail=dict(trip.detail),
    )


async def tell_room(work: UnitOfWork, trip: SafetyTrip, account_id: UUID, at: datetime) -> None:
    """Tell everybody who is bound to the account why the power went, and when it comes back."""
    back = "今日已多次断电，请联系管理员解锁"
    if trip.by_meter:
        back = "请先关闭该电器，若未自动恢复请联系管理员"
    if trip.restore_at is not None:
        back = f"请先关闭该电器，{china_time(trip.restore_at)} 自动恢复"
    await tell_customers(
        work,
        account_id=account_id,
        event="load_cut",
        key=f"load-{trip.id.hex}",
        params={"reason": _WORDS[trip.kind], "time": china_time(at), "back": back},
        at=at,
    )


async def end_locks(
    work: UnitOfWork, trips: Sequence[SafetyTrip], *, by: str, note: str, at: datetime
) -> None:
    """End trips and their alarms. The caller holds the rows of their supplies."""
    await safety_trips.end_trips(work, trips=trips, by=by, note=note, at=at)
    for kind in SafetyLock:
        subjects = [str(each.id) for each in trips if each.kind is kind]
        await end_alarms(work, kind=AlarmKind(kind.value), subjects=subjects, note=note, at=at)
