"""A project's calendar: when it may be cut for arrears, and the marks of its days (C20, A24)."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated

import strawberry

from backend.control import calendars
from backend.control.calendar_rules import CutCalendar as CalendarRow
from backend.control.calendar_rules import DayKind as DayKind
from backend.control.calendar_rules import Mark, day_kind, may_cut, next_window, window_of
from backend.control.calendars import MarkedDay as MarkedRow
from backend.kernel.clock import business_day
from backend.tenancy.rules import Permission

from .context import Info
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import clock_of, minute_of, uuid_of

strawberry.enum(
    Mark,
    name="DayMark",
    description="HOLIDAY: nobody is cut, holiday timetables hold. NO_CUT: nobody is cut (heat, a storm)."
    " WORKDAY 调休: a weekend's day that is worked. EXAM: exam timetables hold.",
)
strawberry.enum(
    DayKind,
    description="Which day plan of a timetable a day has: exams, then holidays, then weekdays.",
)


@strawberry.type(description="When a project may be cut for arrears.")
class CutCalendar:
    """停电日历."""

    opens: str = strawberry.field(description="HH:MM at which cuts may begin.")
    closes: str = strawberry.field(description="HH:MM from which on nobody is cut.")
    weekdays: list[int] = strawberry.field(description="1 is Monday, 7 is Sunday.")
    notice_hours: int = strawberry.field(
        description="So long before a cut its warning must have been delivered."
    )
    may_cut_now: bool
    no_cut_day: bool = strawberry.field(description="Nobody is cut today.")
    next_window: datetime | None = strawberry.field(
        description="When a cut may happen at the earliest; null when not within forty days."
    )
    day_kind: DayKind = strawberry.field(description="What today is to timetables.")


@strawberry.type(
    description="A marked day. Public holidays are days of no cuts without a mark too."
)
class MarkedDay:
    """特殊日."""

    day: date
    mark: Mark
    name: str
    by: str


@strawberry.type(description="The marked days of a project from today on.")
class MarkedDays:
    """特殊日列表."""

    days: list[MarkedDay]


CutCalendarResult = Annotated[CutCalendar | AnyProblem, strawberry.union("CutCalendarResult")]
MarkedDaysResult = Annotated[MarkedDays | AnyProblem, strawberry.union("MarkedDaysResult")]


def calendar_of(row: CalendarRow, at: datetime) -> CutCalendar:
    """A calendar as the schema shows it at an instant."""
    may = may_cut(row, at)
    return CutCalendar(
        opens=clock_of(row.window.opens),
        closes=clock_of(row.window.closes),
        weekdays=list(row.window.weekdays),
        notice_hours=row.window.notice // timedelta(hours=1),
        may_cut_now=bool(may),
        no_cut_day=may.no_cut_day,
        next_window=next_window(row, at),
        day_kind=day_kind(row.marks, business_day(at, row.zone)),
    )


def _days_of(rows: list[MarkedRow]) -> MarkedDays:
    return MarkedDays(
        days=[MarkedDay(day=row.day, mark=row.mark, name=row.name, by=row.by) for row in rows]
    )


@strawberry.type
class CalendarQueries:
    """Reads."""

    @field(description="When a project may be cut for arrears.")
    async def cut_calendar(self, info: Info, project: strawberry.ID) -> CutCalendar:
        """Raises NotFound."""
        context = info.context
        async with context.work() as work:
            row = await calendars.cut_calendar(
                work,
                scope=context.caller(),
                project_id=uuid_of(project, "Project"),
                at=context.now,
            )
        return calendar_of(row, context.now)

    @field(description="The marked days of a project from a day on, in order.")
    async def marked_days(self, info: Info, project: strawberry.ID, since: date) -> list[MarkedDay]:
        """Raises NotFound."""
        context = info.context
        async with context.work() as work:
            rows = await calendars.marked_days(
                work,
                scope=context.caller(),
                project_id=uuid_of(project, "Project"),
                since=since,
            )
        return _days_of(rows).days


@strawberry.type
class CalendarMutations:
    """Writes."""

    @mutation(Permission.PROJECT_WRITE)
    async def set_cut_window(
        self,
        info: Info,
        project: strawberry.ID,
        opens: str,
        closes: str,
        weekdays: list[int],
        notice_hours: int,
    ) -> CutCalendarResult:
        """When a project may be cut for arrears: a span of the day between 06:00 and 23:00, HH:MM."""
        context, span = info.context, (minute_of(opens, "opens"), minute_of(closes, "closes"))
        async with context.work() as work:
            row = await calendars.set_cut_window(
                work,
                scope=context.caller(),
                project_id=uuid_of(project, "Project"),
                window=window_of(*span, weekdays, notice_hours),
                at=context.now,
            )
        return calendar_of(row, context.now)

    @mutation(Permission.PROJECT_WRITE)
    async def mark_days(
        self, info: Info, project: strawberry.ID, days: list[date], mark: Mark, name: str
    ) -> MarkedDaysResult:
        """Mark days: the holidays of the year's notice, exams, days on which nobody is cut."""
        context = info.context
        async with context.work() as work:
            rows = await calendars.mark_days(
                work,
                scope=context.caller(),
                project_id=uuid_of(project, "Project"),
                days=days,
                mark=mark,
                name=name,
                at=context.now,
            )
        return _days_of(rows)

    @mutation(Permission.PROJECT_WRITE)
    async def unmark_days(
        self, info: Info, project: strawberry.ID, days: list[date], mark: Mark
    ) -> MarkedDaysResult:
        """Take a mark off days."""
        context = info.context
        async with context.work() as work:
            rows = await calendars.unmark_days(
                work,
                scope=context.caller(),
                project_id=uuid_of(project, "Project"),
                days=days,
                mark=mark,
                at=context.now,
            )
        return _days_of(rows)
