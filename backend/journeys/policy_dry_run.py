"""A rule of cuts replayed on the last days before it is saved: whom it would have cut that the rule in force
would not, and the other way round (issue 5 item 9). Reads the book; writes nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from backend.accounts.queries import accounts_by_ids
from backend.alerts.alarm_rules import money_hysteresis
from backend.charges.credit import classes_of_project
from backend.control.calendar_rules import CutCalendar, CutWindow
from backend.control.calendars import cut_calendar
from backend.control.dry_run_rules import CutRule, Move, WouldBeCut, check_rule, replay
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import InvalidInput, NotFound
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.ledger.rules import ARREARS, AccountKind
from backend.tenancy.rules import Permission

DAYS = 31
MOST_PURSES = 2_000
_AT_ONCE = 100  # purses of one statement and one lesson
_HOUR = timedelta(hours=1)
_PURSES = (
    "SELECT DISTINCT u.purse FROM metering_assignment s"
    " JOIN metering_meter m ON m.group_id = s.group_id AND m.id = s.meter_id AND m.credit_mode = 'CLOUD'"
    " JOIN accounts_account a ON a.group_id = s.group_id AND a.id = s.account_id"
    " CROSS JOIN LATERAL (SELECT CASE WHEN a.purse_account_id IS NULL THEN a.id"
    "   ELSE a.purse_account_id END AS purse) u"
    " LEFT JOIN charges_terms t ON t.group_id = a.group_id AND t.account_id = u.purse"
    " WHERE s.group_id = $1 AND s.project_id = $2 AND s.ended_at IS NULL"
    "  AND ($3::uuid IS NULL OR t.class_id = $3) ORDER BY 1 LIMIT $4"
)
# An hour is one move of what came and one of what went: cuts are told to the hour.
_MOVES = (
    "SELECT l.ref, CASE WHEN e.occurred_at < $4 THEN NULL ELSE date_trunc('hour', e.occurred_at) END AS at,"
    " coalesce(-sum(p.amount_hao) FILTER (WHERE p.amount_hao < 0), 0)::bigint AS came,"
    " coalesce(sum(p.amount_hao) FILTER (WHERE p.amount_hao > 0), 0)::bigint AS went"
    " FROM ledger_account l JOIN ledger_posting p ON p.group_id = l.group_id AND p.account_id = l.id"
    " JOIN ledger_entry e ON e.group_id = p.group_id AND e.id = p.entry_id"
    " WHERE l.group_id = $1 AND l.project_id = $2 AND l.ref = ANY($3)"
    "  AND l.kind = ANY($6) AND e.occurred_at < $5"
    " GROUP BY 1, 2 ORDER BY 1, 2 NULLS FIRST"
)
_OVERDRAFTS = (
    "SELECT t.account_id, c.overdraft_hao FROM charges_terms t JOIN charges_class c"
    " ON c.group_id = t.group_id AND c.id = t.class_id WHERE t.group_id = $1 AND t.account_id = ANY($2)"
)
_KINDS = [str(kind) for kind in (AccountKind.PURSE, *sorted(ARREARS))]


@dataclass(frozen=True, slots=True)
class DraftRule:
    """What of the rule in force is changed; None leaves it. `window`: as `window_of` makes it; `level`: at
    which customers are warned; `overdraft`: of everybody who is looked at."""

    window: CutWindow | None = None
    level: Money | None = None
    overdraft: Money | None = None


@dataclass(frozen=True, slots=True)
class AccountCut:
    """A cut that the draft would have made. `already`: the rule in force would have cut this purse too."""

    account_id: UUID
    no: str
    name: str
    cut: WouldBeCut
    already: bool


@dataclass(frozen=True, slots=True)
class Count:
    """Cuts of a rule: how many, of how many purses, at night, on holidays, and nights in the dark."""

    cuts: int
    purses: int
    at_night: int
    on_holidays: int
    dark_nights: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """`before` by the rule in force, `after` by the draft; a page of the draft's cuts, the earliest first."""

    since: datetime
    until: datetime
    looked_at: int
    before: Count
    after: Count
    cuts: tuple[AccountCut, ...]
    more: bool


async def dry_run(
    *,
    scope: Scope,
    project_id: UUID,
    draft: DraftRule,
    class_id: UUID | None,
    first: int,
    skip: int,
    at: datetime,
) -> DryRun:
    """Replay the draft and the rule in force on the last 31 days of a project's purses (of one credit class,
    when named).

    Raises NotFound, Forbidden, InvalidInput (what no rule may be, or more than 2,000 purses).
    """
    check_rule(
        level=0 if draft.level is None else draft.level.hao,
        overdraft=0 if draft.overdraft is None else draft.overdraft.hao,
    )
    since = at - timedelta(days=DAYS)
    found: dict[str, dict[UUID, list[WouldBeCut]]] = {"before": {}, "after": {}}
    async with unit_of_work(scope.group_id) as work:
        calendar = await cut_calendar(work, scope=scope, project_id=project_id, at=since)
        scope.require(Permission.ACCOUNT_READ, project_id)
        classes = await classes_of_project(work, scope=scope, project_id=project_id)
        if class_id is not None and class_id not in {each.id for each in classes}:
            raise NotFound("no such credit class")
        level = await _level(work, project_id)
        purses = await _purses(work, project_id, class_id)
    for place in range(0, len(purses), _AT_ONCE):
        some = purses[place : place + _AT_ONCE]
        async with unit_of_work(scope.group_id) as work:
            lessons = await _lessons(work, project_id, some, since, at)
        for name, changed in (("before", DraftRule()), ("after", draft)):
            rules = {
                lesson.purse: _rule(calendar, level, lesson.overdraft, changed)
                for lesson in lessons
            }
            found[name] |= await asyncio.to_thread(_replay_all, lessons, rules, at)
    async with unit_of_work(scope.group_id) as work:
        page, more = await _page(work, found, first, skip)
    return DryRun(
        since=since,
        until=at,
        looked_at=len(purses),
        before=_count(found["before"]),
        after=_count(found["after"]),
        cuts=page,
        more=more,
    )


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A purse through the days: what it held at their beginning, or at its own, what moved, what it may
    overdraw."""

    purse: UUID
    begins: datetime
    opening: int
    moves: Sequence[Move]
    overdraft: int


async def _level(work: UnitOfWork, project_id: UUID) -> int:
    found: int | None = await work.fetchval(
        "SELECT low_2_hao FROM tenancy_project WHERE group_id = $1 AND id = $2",
        work.group_id,
        project_id,
    )
    if found is None:
        raise NotFound("no such project")
    return found


async def _purses(work: UnitOfWork, project_id: UUID, class_id: UUID | None) -> list[UUID]:
    rows = await work.fetch(_PURSES, work.group_id, project_id, class_id, MOST_PURSES + 1)
    if len(rows) > MOST_PURSES:
        raise InvalidInput(f"more than {MOST_PURSES} purses: name a credit class", field="class")
    return [row["purse"] for row in rows]


async def _lessons(
    work: UnitOfWork, project_id: UUID, purses: Sequence[UUID], since: datetime, at: datetime
) -> list[_Lesson]:
    openings: dict[UUID, int] = {}
    moves: dict[UUID, list[Move]] = defaultdict(list)
    rows = await work.fetch(_MOVES, work.group_id, project_id, list(purses), since, at, _KINDS)
    for row in rows:
        if row["at"] is None:
            openings[row["ref"]] = row["came"] - row["went"]
            continue
        # What came counts first in its hour: nobody is cut on paper by a coarse clock.
        hours = [(row["at"], row["came"]), (row["at"] + _HOUR, -row["went"])]
        moves[row["ref"]] += [Move(when, hao) for when, hao in hours if hao]
    allowed = await work.fetch(_OVERDRAFTS, work.group_id, list(purses))
    overdrafts = {row["account_id"]: row["overdraft_hao"] for row in allowed}
    found = []
    for purse in purses:
        in_order = sorted(moves[purse], key=_when)
        begins = since if purse in openings or not in_order else max(since, in_order[0].at)
        allowed_hao = overdrafts.get(purse, 0)
        if purse in openings or in_order:  # a purse that never held anything owes nothing either
            found.append(_Lesson(purse, begins, openings.get(purse, 0), in_order, allowed_hao))
    return found


def _when(move: Move) -> tuple[datetime, int]:
    return move.at, -move.hao


def _rule(calendar: CutCalendar, level: int, overdraft: int, changed: DraftRule) -> CutRule:
    if changed.window is not None:
        calendar = calendar._replace(window=changed.window)
    rule = CutRule(calendar, level, 0, overdraft)
    if changed.level is not None:
        rule = replace(rule, level=changed.level.hao)
    if changed.overdraft is not None:
        rule = replace(rule, overdraft=changed.overdraft.hao)
    return replace(rule, armed_above=money_hysteresis(rule.level))


def _replay_all(
    lessons: Sequence[_Lesson], rules: Mapping[UUID, CutRule], at: datetime
) -> dict[UUID, list[WouldBeCut]]:
    """Purses with their cuts; those that would not have been cut are left out."""
    found = {
        lesson.purse: replay(
            opening=lesson.opening,
            moves=lesson.moves,
            rule=rules[lesson.purse],
            start=lesson.begins,
            end=at,
        )
        for lesson in lessons
    }
    return {purse: cuts for purse, cuts in found.items() if cuts}


def _count(found: Mapping[UUID, Sequence[WouldBeCut]]) -> Count:
    cuts = [cut for of_purse in found.values() for cut in of_purse]
    return Count(
        cuts=len(cuts),
        purses=len(found),
        at_night=sum(cut.at_night for cut in cuts),
        on_holidays=sum(cut.on_holiday for cut in cuts),
        dark_nights=sum(cut.nights for cut in cuts),
    )


async def _page(
    work: UnitOfWork,
    found: Mapping[str, Mapping[UUID, Sequence[WouldBeCut]]],
    first: int,
    skip: int,
) -> tuple[tuple[AccountCut, ...], bool]:
    every = sorted((cut.at, purse, cut) for purse, cuts in found["after"].items() for cut in cuts)
    page = every[skip : skip + first]
    names = await accounts_by_ids(work, account_ids=list({purse for _, purse, _ in page}))
    told = tuple(
        AccountCut(purse, names[purse].no, names[purse].name, cut, purse in found["before"])
        for _, purse, cut in page
    )
    return told, len(every) > skip + first
