"""Which money runs low: purses in the cloud by the figures of C3, meters with their own by what they say.

A place is a purse (all that draw from it share its alarms) or the assignment of a meter that holds its own
money. SQL says which places are worth a look, in one statement over all of a group; the rule says the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts.queries import drawing_from
from backend.alerts.alarm_rules import LEVELS, AlarmKind, Edge, falling, money_hysteresis
from backend.alerts.alarms import Alarm, NewAlarm, end_alarms, raise_alarms
from backend.charges.forecasts import kept_of
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.money import Money

from .charge_figures import figures
from .news import china_time, tell_customers

# From the gravest: of those that an account crosses at once, its customers hear of the first.
MONEY_KINDS = (AlarmKind.ARREARS, AlarmKind.LOW_2, AlarmKind.LOW_1)
# The last warnings before a cut.
CUT_WARNINGS = (AlarmKind.ARREARS, AlarmKind.LOW_2)
_EVENTS = {
    AlarmKind.ARREARS: "in_arrears",
    AlarmKind.LOW_2: "low_2",
    AlarmKind.LOW_1: "low_1",
}
_BELOW_NOTHING = -1  # hao
_ENDS_WITH_ITS_PLACE = (*MONEY_KINDS, AlarmKind.DAYS_LEFT)
_NEWS_AT_ONCE = 2_000  # episodes that begin in one transaction, each with its messages

# A purse is looked at up to twice its level, for what is read and not charged yet is not in its balance.
_PLACES = (
    "WITH open AS MATERIALIZED (SELECT subject::uuid AS ref, array_agg(kind) AS kinds,"
    "   max(detail->>'left') AS told FROM alerts_alarm"
    "  WHERE group_id = $1 AND ended_at IS NULL AND kind = ANY($2) GROUP BY 1),"
    " served AS NOT MATERIALIZED (SELECT s.id, s.meter_id, s.account_id, m.credit_mode, s.project_id,"
    "   coalesce(a.purse_account_id, a.id) AS purse, coalesce(v.low_1_hao, p.low_1_hao) AS low_1,"
    "   coalesce(v.low_2_hao, p.low_2_hao) AS low_2"
    "  FROM metering_assignment s JOIN metering_meter m ON m.group_id = s.group_id"
    "    AND m.id = s.meter_id AND m.credit_mode IN ('METER', 'CLOUD')"
    "  JOIN accounts_account a ON a.group_id = s.group_id AND a.id = s.account_id"
    "    AND a.closed_at IS NULL"
    "  JOIN tenancy_project p ON p.group_id = s.group_id AND p.id = s.project_id"
    "  LEFT JOIN alerts_levels v ON v.group_id = s.group_id AND v.meter_id = s.meter_id"
    "  WHERE s.group_id = $1 AND s.ended_at IS NULL),"
    " stands AS (SELECT l.ref, -sum(b.balance_hao)::bigint AS hao FROM ledger_account l"
    "   JOIN ledger_balance b ON b.group_id = l.group_id AND b.account_id = l.id"
    "   WHERE l.group_id = $1 AND (l.kind = 'PURSE' OR l.kind LIKE '%\\_ARREARS') GROUP BY 1),"
    " places AS (SELECT s.id AS ref, s.project_id, s.account_id, s.meter_id,"
    "   l.remaining_hao AS hao, s.low_1, s.low_2, s.low_1 AS looked_at FROM served s"
    "  JOIN metering_latest l ON l.group_id = $1 AND l.meter_id = s.meter_id"
    "    AND l.remaining_hao IS NOT NULL WHERE s.credit_mode = 'METER'"
    " UNION ALL SELECT s.purse, s.project_id, s.purse, NULL, coalesce(b.hao, 0),"
    "   max(s.low_1), max(s.low_2), 2 * max(s.low_1) FROM served s"
    "  LEFT JOIN stands b ON b.ref = s.purse WHERE s.credit_mode = 'CLOUD'"
    "  GROUP BY s.purse, s.project_id, b.hao)"
    " SELECT coalesce(o.ref, p.ref) AS ref, p.project_id, p.account_id, p.meter_id, p.hao,"
    "  p.low_1, p.low_2, o.kinds, o.told FROM places p FULL JOIN open o ON o.ref = p.ref"
    " WHERE p.hao IS NULL OR o.ref IS NOT NULL OR p.hao <= p.looked_at ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where money is: `left` of it in hao without what may be overdrawn; the levels that hold there; which
    alarms stand and what `left` they tell."""

    ref: UUID
    project_id: UUID
    account_id: UUID
    meter_id: UUID | None
    left: int
    low_1: int
    low_2: int
    open: frozenset[AlarmKind]
    told: str | None

    def edge(self, kind: AlarmKind) -> Edge:
        """What the money that is left does to an alarm."""
        level = {AlarmKind.LOW_1: self.low_1, AlarmKind.LOW_2: self.low_2}.get(kind)
        return falling(
            self.left,
            threshold=_BELOW_NOTHING if level is None else level,
            hysteresis=money_hysteresis(level or 0),
            is_open=kind in self.open,
        )

    def alarm(self, kind: AlarmKind) -> NewAlarm:
        """The alarm as it is raised."""
        level = {AlarmKind.LOW_1: self.low_1, AlarmKind.LOW_2: self.low_2}.get(kind, 0)
        return NewAlarm(
            project_id=self.project_id,
            kind=kind,
            subject=str(self.ref),
            account_id=self.account_id,
            meter_id=self.meter_id,
            gateway_id=None,
            level=LEVELS[kind],
            detail={"left": str(Money(self.left)), "level": str(Money(level))},
        )


@dataclass(frozen=True, slots=True)
class Tended:
    """What a look at money did; `more`: there is more to begin than one transaction takes."""

    began: int
    ended: int
    more: bool


async def look_at_money(work: UnitOfWork, *, at: datetime) -> Tended:
    """Begin and end the episodes of a group's money, and tell customers of those that begin (C27): one
    message for the gravest of what they cross at once."""
    places, gone = await _places(work)
    ended = 0
    for kind in _ENDS_WITH_ITS_PLACE:
        note = "nobody is served from this money any more"
        subjects = [str(ref) for ref in gone]
        ended += await end_alarms(work, kind=kind, subjects=subjects, note=note, at=at)
    for kind in MONEY_KINDS:
        over = [str(each.ref) for each in places if each.edge(kind) is Edge.ENDS]
        note = "there is money again"
        ended += await end_alarms(work, kind=kind, subjects=over, note=note, at=at)
    due = [each for each in places if any(each.edge(kind) is Edge.FIRES for kind in MONEY_KINDS)]
    now = due[:_NEWS_AT_ONCE]
    new = [
        each.alarm(kind)
        for each in (*now, *_moved(places))
        for kind in MONEY_KINDS
        if each.edge(kind) is Edge.FIRES or (kind in each.open and each.edge(kind) is Edge.STAYS)
    ]
    began = await raise_alarms(work, alarms=new, at=at)
    await _tell(work, began, {str(each.ref): each for each in now}, at)
    return Tended(len(began), ended, len(due) > len(now))


def _moved(places: Iterable[Place]) -> list[Place]:
    """Places whose alarms stand and tell another sum than is left now; none that fires, for those come in
    their turn."""
    return [
        each
        for each in places
        if each.open
        and each.told != str(Money(each.left))
        and all(each.edge(kind) is not Edge.FIRES for kind in MONEY_KINDS)
    ]


async def _places(work: UnitOfWork) -> tuple[list[Place], list[UUID]]:
    """The places worth a look, and those where alarms stand that serve nobody any more."""
    rows = await work.fetch(_PLACES, work.group_id, [str(kind) for kind in _ENDS_WITH_ITS_PLACE])
    gone = [row["ref"] for row in rows if row["hao"] is None]
    rows = [row for row in rows if row["hao"] is not None]
    purses = [row["ref"] for row in rows if row["meter_id"] is None]
    known = await figures(work, account_ids=purses) if purses else {}
    left = {ref: (each.balance - each.uncharged).hao for ref, each in known.items()}
    return [_place(row, left.get(row["ref"], row["hao"])) for row in rows], gone


def _place(row: Row, left: int) -> Place:
    return Place(
        row["ref"],
        row["project_id"],
        row["account_id"],
        row["meter_id"],
        left,
        row["low_1"],
        row["low_2"],
        frozenset(AlarmKind(kind) for kind in row["kinds"] or ()),
        row["told"],
    )


async def _tell(
    work: UnitOfWork, began: Sequence[Alarm], places: Mapping[str, Place], at: datetime
) -> None:
    """Tell all who are served from the money of each episode that began, in this same transaction."""
    first: dict[str, Alarm] = {}
    for alarm in sorted(began, key=lambda each: MONEY_KINDS.index(each.kind)):
        first.setdefault(alarm.subject, alarm)
    refs = [places[subject].ref for subject in first]
    forecasts = await kept_of(work, refs=refs)
    purses = [places[subject].ref for subject in first if places[subject].meter_id is None]
    drawing = await drawing_from(work, purses=purses)
    accounts: dict[UUID, list[UUID]] = {}
    for account_id, purse in drawing.items():
        accounts.setdefault(purse, []).append(account_id)
    for subject, alarm in first.items():
        place = places[subject]
        kept = forecasts.get(place.ref)
        days = None if kept is None else kept.found.days_left
        whom = [place.account_id] if place.meter_id else accounts.get(place.ref, [])
        for account_id in whom:
            await tell_customers(
                work,
                account_id=account_id,
                event=_EVENTS[alarm.kind],
                key=warning_key(alarm.id, account_id),
                params={
                    "amount": str(Money(abs(place.left))),
                    "days": "未知" if days is None else str(days),
                    "time": china_time(at),
                },
                at=at,
            )


def warning_key(alarm_id: UUID, account_id: UUID) -> str:
    """By what news of an episode to those bound to an account is known again."""
    return f"alarm-{alarm_id.hex}-{account_id.hex[-8:]}"
