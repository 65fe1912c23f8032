"""Calendars as rows: when a project may be cut for arrears, and the marks of its days (C20, A24)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.audit.operations import record
from backend.kernel.clock import business_day
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .calendar_rules import (
    DEFAULT,
    CutCalendar,
    CutWindow,
    Mark,
    check_days,
    check_marking,
)

_AROUND = timedelta(days=45)  # as far as `next_window` and a timetable's next change look


class MarkedDay(NamedTuple):
    """A day of a project that is marked, by whom."""

    day: date
    mark: Mark
    name: str
    by: str


async def set_cut_window(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, window: CutWindow, at: datetime
) -> CutCalendar:
    """When the project may be cut for arrears from now on. Raises NotFound, Forbidden."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.PROJECT_WRITE, project_id)
    before = (await cut_calendars(work, project_ids=[project_id], at=at))[project_id].window
    await work.execute(
        "INSERT INTO control_cut_window (group_id, project_id, opens, closes, weekdays, notice_hours)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (group_id, project_id) DO UPDATE SET"
        " opens = EXCLUDED.opens, closes = EXCLUDED.closes, weekdays = EXCLUDED.weekdays,"
        " notice_hours = EXCLUDED.notice_hours",
        work.group_id,
        project_id,
        window.opens,
        window.closes,
        list(window.weekdays),
        _hours(window),
    )
    await record(
        work,
        actor=scope.actor,
        action="project:cutwindow:set",
        subject=str(project_id),
        at=at,
        project_id=project_id,
        before=_worded(before),
        after=_worded(window),
    )
    return (await cut_calendars(work, project_ids=[project_id], at=at))[project_id]


def _hours(window: CutWindow) -> int:
    return window.notice // timedelta(hours=1)


def _worded(window: CutWindow) -> dict[str, str | int]:
    return {
        "opens": "{:02d}:{:02d}".format(*divmod(window.opens, 60)),
        "closes": "{:02d}:{:02d}".format(*divmod(window.closes, 60)),
        "weekdays": " ".join(map(str, window.weekdays)),
        "noticeHours": _hours(window),
    }


async def mark_days(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    days: Sequence[date],
    mark: Mark,
    name: str,
    at: datetime,
) -> list[MarkedDay]:
    """Mark days of a project; those that were marked so get the new name. The marked days from today on.

    Raises NotFound, Forbidden, InvalidInput (a day that is over, a holiday that is worked).
    """
    today = await _today(work, scope, project_id, at)
    told = check_marking(days=days, mark=mark, name=name, today=today)
    clash = {Mark.HOLIDAY: Mark.WORKDAY, Mark.WORKDAY: Mark.HOLIDAY}.get(mark)
    if clash is not None:
        other = await work.fetchval(
            "SELECT min(day) FROM control_marked_day WHERE group_id = $1 AND project_id = $2"
            " AND mark = $3 AND day = ANY($4)",
            work.group_id,
            project_id,
            clash,
            list(days),
        )
        if other is not None:
            raise InvalidInput(f"{other} is marked {clash}: take that off first", field="days")
    await work.execute(
        "INSERT INTO control_marked_day (group_id, project_id, day, mark, name, marked_by)"
        " SELECT $1, $2, d, $4, $5, $6 FROM unnest($3::date[]) AS d"
        " ON CONFLICT (group_id, project_id, day, mark) DO UPDATE SET name = EXCLUDED.name,"
        " marked_by = EXCLUDED.marked_by",
        work.group_id,
        project_id,
        sorted(set(days)),
        mark,
        told,
        scope.actor.name,
    )
    await _record(work, scope, "calendar:days:mark", project_id, days, mark, told, at)
    return await marked_days(work, scope=scope, project_id=project_id, since=today)


async def unmark_days(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    days: Sequence[date],
    mark: Mark,
    at: datetime,
) -> list[MarkedDay]:
    """Take a mark off days, of those that have it. The marked days from today on.

    Raises NotFound, Forbidden, InvalidInput (a day that is over: what happened on it is explained by it).
    """
    today = await _today(work, scope, project_id, at)
    check_days(days=days, today=today)
    await work.execute(
        "DELETE FROM control_marked_day WHERE group_id = $1 AND project_id = $2 AND mark = $3"
        " AND day = ANY($4)",
        work.group_id,
        project_id,
        mark,
        list(days),
    )
    await _record(work, scope, "calendar:days:unmark", project_id, days, mark, "", at)
    return await marked_days(work, scope=scope, project_id=project_id, since=today)


async def _today(work: UnitOfWork, scope: Scope, project_id: UUID, at: datetime) -> date:
    found = await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.PROJECT_WRITE, project_id)
    return business_day(at, ZoneInfo(found.time_zone))


async def _record(
    work: UnitOfWork,
    scope: Scope,
    action: str,
    project_id: UUID,
    days: Sequence[date],
    mark: Mark,
    name: str,
    at: datetime,
) -> None:
    await record(
        work,
        actor=scope.actor,
        action=action,
        subject=str(project_id),
        at=at,
        project_id=project_id,
        after={"mark": str(mark), "name": name, "days": [str(day) for day in sorted(set(days))]},
    )


async def marked_days(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, since: date
) -> list[MarkedDay]:
    """The marked days of a project from a day on, in order. Raises NotFound."""
    await project_door(work, scope=scope, project_id=project_id)
    rows = await work.fetch(
        "SELECT day, mark, name, marked_by FROM control_marked_day"
        " WHERE group_id = $1 AND project_id = $2 AND day >= $3 ORDER BY day, mark",
        work.group_id,
        project_id,
        since,
    )
    return [MarkedDay(row[0], Mark(row[1]), row[2], row[3]) for row in rows]


async def cut_calendar(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, at: datetime
) -> CutCalendar:
    """One project's calendar around an instant. Raises NotFound."""
    await project_door(work, scope=scope, project_id=project_id)
    return (await cut_calendars(work, project_ids=[project_id], at=at))[project_id]


async def cut_calendars(
    work: UnitOfWork, *, project_ids: Iterable[UUID], at: datetime
) -> dict[UUID, CutCalendar]:
    """The calendars of projects with the marks of the days around an instant, by two statements. A project
    that set nothing has the default window."""
    wanted = list(project_ids)
    today = business_day(at)
    marks: dict[UUID, dict[date, frozenset[Mark]]] = defaultdict(dict)
    for row in await work.fetch(
        "SELECT project_id, day, mark FROM control_marked_day WHERE group_id = $1"
        " AND project_id = ANY($2) AND day BETWEEN $3 AND $4",
        work.group_id,
        wanted,
        today - timedelta(days=2),
        today + _AROUND,
    ):
        of_day = marks[row["project_id"]]
        of_day[row["day"]] = of_day.get(row["day"], frozenset()) | {Mark(row["mark"])}
    rows = await work.fetch(
        "SELECT p.id, p.time_zone, w.* FROM tenancy_project p LEFT JOIN control_cut_window w"
        " ON w.group_id = p.group_id AND w.project_id = p.id WHERE p.group_id = $1 AND p.id = ANY($2)",
        work.group_id,
        wanted,
    )
    return {
        row["id"]: CutCalendar(
            DEFAULT if row["opens"] is None else _window_of(row),
            marks.get(row["id"], {}),
            ZoneInfo(row["time_zone"]),
        )
        for row in rows
    }


def _window_of(row: Row) -> CutWindow:
    notice = timedelta(hours=row["notice_hours"])
    return CutWindow(row["opens"], row["closes"], tuple(row["weekdays"]), notice)
