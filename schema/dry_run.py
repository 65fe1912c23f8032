"""Dry-run of a rule of cuts (规则试算): whom it would have cut on the last 31 days (C20)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import strawberry

from backend.control.calendar_rules import CutWindow, window_of
from backend.control.timetable_rules import timetable_of
from backend.journeys import policy_dry_run as journey
from backend.journeys.policy_dry_run import AccountCut, Count, DraftRule
from backend.journeys.timetable_dry_run import AccountOff, timetable_dry_run
from backend.kernel.money import Money

from .context import Info
from .paging import size
from .resolvers import field
from .scalars import DecimalText, minute_of, ref, thousandths, uuid_of
from .timetables import DayPlanInput, plans_of


@strawberry.input(description="A cut window that is tried: as setCutWindow takes it.")
class CutWindowDraft:
    """试算停电时段."""

    opens: str
    closes: str
    weekdays: list[int]
    notice_hours: int


@strawberry.input(
    description="What of the rule in force is tried otherwise; what is left out stays."
)
class CutRuleDraft:
    """试算规则."""

    window: CutWindowDraft | None = None
    level: Money | None = strawberry.field(
        default=None, description="The level at which customers are warned before a cut."
    )
    overdraft: Money | None = strawberry.field(
        default=None, description="What each of the purses may overdraw."
    )


@strawberry.type(description="How many cuts a rule would have made, of how many purses.")
class CutCount:
    """停电次数."""

    cuts: int
    purses: int
    at_night: int = strawberry.field(description="Between 20:00 and 08:00.")
    on_holidays: int = strawberry.field(description="On weekends, holidays and days of no cuts.")
    dark_nights: int = strawberry.field(description="Midnights that somebody spent in the dark.")


@strawberry.type(description="A cut that the draft would have made.")
class WouldBeCut:
    """将被停电."""

    account: strawberry.ID
    no: str
    name: str
    at: datetime = strawberry.field(description="To the hour.")
    warned_at: datetime
    restored_at: datetime | None = strawberry.field(
        description="When money came; null: not until now."
    )
    owed: Money
    nights: int
    at_night: bool
    on_holiday: bool
    already: bool = strawberry.field(description="The rule in force would have cut it too.")


@strawberry.type(description="A draft and the rule in force, replayed on the last 31 days.")
class PolicyDryRun:
    """规则试算结果."""

    since: datetime
    until: datetime
    looked_at: int = strawberry.field(description="Purses whose money is in the cloud.")
    before: CutCount = strawberry.field(description="By the rule in force.")
    after: CutCount = strawberry.field(description="By the draft.")
    cuts: list[WouldBeCut] = strawberry.field(description="Of the draft, the earliest first.")
    more: bool


def _window_of(draft: CutWindowDraft | None) -> CutWindow | None:
    if draft is None:
        return None
    span = minute_of(draft.opens, "opens"), minute_of(draft.closes, "closes")
    return window_of(*span, draft.weekdays, draft.notice_hours)


def _draft_of(draft: CutRuleDraft) -> DraftRule:
    return DraftRule(_window_of(draft.window), draft.level, draft.overdraft)


def _count_of(count: Count) -> CutCount:
    return CutCount(
        cuts=count.cuts,
        purses=count.purses,
        at_night=count.at_night,
        on_holidays=count.on_holidays,
        dark_nights=count.dark_nights,
    )


def _cut_of(row: AccountCut) -> WouldBeCut:
    return WouldBeCut(
        account=ref("Account", row.account_id),
        no=row.no,
        name=row.name,
        at=row.cut.at,
        warned_at=row.cut.warned_at,
        restored_at=row.cut.restored_at,
        owed=Money(row.cut.owed),
        nights=row.cut.nights,
        at_night=row.cut.at_night,
        on_holiday=row.cut.on_holiday,
        already=row.already,
    )


def _run_of(row: journey.DryRun) -> PolicyDryRun:
    return PolicyDryRun(
        since=row.since,
        until=row.until,
        looked_at=row.looked_at,
        before=_count_of(row.before),
        after=_count_of(row.after),
        cuts=[_cut_of(each) for each in row.cuts],
        more=row.more,
    )


@strawberry.type(description="What a timetable would have kept a household from using in 31 days.")
class TimetableOff:
    """定时试算."""

    account: strawberry.ID
    no: str
    name: str
    days: int = strawberry.field(description="Those whose readings tell the whole day.")
    off_minutes: int
    at_night: int = strawberry.field(description="Minutes of them between 20:00 and 08:00.")
    used: DecimalText = strawberry.field(
        description="kWh that were used in the hours without power."
    )


def _off_of(row: AccountOff) -> TimetableOff:
    return TimetableOff(
        account=ref("Account", row.account_id),
        no=row.no,
        name=row.name,
        days=row.off.days,
        off_minutes=row.off.off_minutes,
        at_night=row.off.at_night,
        used=thousandths(row.off.used),
    )


@strawberry.type
class DryRunQueries:
    """Reads."""

    @field(description="Whom a rule of cuts would have cut on the last 31 days. Saves nothing.")
    async def policy_dry_run(
        self,
        info: Info,
        project: strawberry.ID,
        draft: CutRuleDraft,
        credit_class: strawberry.ID | None = None,
        first: int = 50,
        skip: int = 0,
    ) -> PolicyDryRun:
        """Raises NotFound, Forbidden, InvalidInput (no such rule, or more than 2,000 purses)."""
        return _run_of(
            await journey.dry_run(
                scope=info.context.caller(), project_id=uuid_of(project, "Project"),
                draft=_draft_of(draft), class_id=_class_of(credit_class),
                first=size(first), skip=skip, at=info.context.now,
            )
        )  # fmt: skip

    @field(description="What a timetable would have kept households from using. Saves nothing.")
    async def timetable_dry_run(
        self,
        info: Info,
        project: strawberry.ID,
        plans: list[DayPlanInput],
        first: int = 50,
        after_no: str | None = None,
    ) -> list[TimetableOff]:
        """Raises NotFound, Forbidden, InvalidInput (no such timetable)."""
        found = await timetable_dry_run(
            scope=info.context.caller(), project_id=uuid_of(project, "Project"),
            timetable=timetable_of(plans_of(plans)),
            first=size(first), after_no=after_no, at=info.context.now,
        )  # fmt: skip
        return [_off_of(row) for row in found]


def _class_of(credit_class: strawberry.ID | None) -> UUID | None:
    return None if credit_class is None else uuid_of(credit_class, "CreditClass")
