"""The look of each minute at what is alarmed: money that runs low, the field, what is a case (A22, C26, C27).

Set-based: a statement says what changed, so a look at a group where nothing changed writes nothing. What has
an owner elsewhere (episodes of the field, exception cases) is not decided here again: its alarm stands as
long as that does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.alerts.alarm_rules import LEVELS, AlarmKind, Edge, power_hysteresis, rising
from backend.alerts.alarms import Alarm, NewAlarm, end_alarms, raise_alarms
from backend.kernel.db import Row, UnitOfWork, unit_of_work

from .alarm_money import look_at_money
from .news import china_time, tell_customers

REVERSE_W = 50  # less that flows back is the noise of a meter at rest: our choice
_EPISODES = {
    "LOST": AlarmKind.METER_LOST,
    "SILENT": AlarmKind.GATEWAY_LOST,
    "CLOCK": AlarmKind.CLOCK_DRIFT,
}
# Cases whose subject is a meter, and cases about money, whose subject is an order or a day of a bill.
_METER_CASES = {
    "VEND_STOPPED": AlarmKind.COUNT_MISMATCH,
    "METER_DRIFT": AlarmKind.DRIFT,
    "METER_PRICES_LAG": AlarmKind.TARIFF_LAG,
}
_MONEY_CASES = (
    "PAYMENT_MISMATCH",
    "PAID_WITHOUT_METER",
    "PAYMENT_NOT_BILLED",
    "BILL_DIFFERS",
    "REFUND_FAILED",
    "REFUND_STUCK",
)
_FOLLOWED = (*_EPISODES.values(), *_METER_CASES.values(), AlarmKind.PAYMENT_EXCEPTION)
# What stands elsewhere against what is alarmed: only the differences come back.
_FOLLOW = (
    "WITH open AS MATERIALIZED (SELECT kind, subject FROM alerts_alarm"
    "   WHERE group_id = $1 AND ended_at IS NULL AND kind = ANY($2)),"
    " stands AS (SELECT k.alarm AS kind, coalesce(e.meter_id, e.gateway_id)::text AS subject,"
    "   e.project_id, e.meter_id, e.gateway_id, jsonb_strip_nulls(jsonb_build_object("
    "    'since', e.started_at::text, 'drift_s', e.drift_s::text)) AS detail"
    "  FROM metering_episode e JOIN unnest($3::text[], $4::text[]) AS k(kind, alarm) USING (kind)"
    "  WHERE e.group_id = $1 AND e.ended_at IS NULL"
    " UNION ALL SELECT k.alarm, c.subject, c.project_id, c.subject::uuid, NULL, c.detail"
    "  FROM alerts_case c JOIN unnest($5::text[], $6::text[]) AS k(kind, alarm) USING (kind)"
    "  WHERE c.group_id = $1 AND c.resolved_at IS NULL"
    " UNION ALL SELECT $8, c.id::text, c.project_id, NULL, NULL,"
    "   c.detail || jsonb_build_object('case', c.kind, 'subject', c.subject) FROM alerts_case c"
    "  WHERE c.group_id = $1 AND c.resolved_at IS NULL AND c.kind = ANY($7))"
    " SELECT s.*, o.kind AS was_kind, o.subject AS was_subject, m.serial, x.account_id"
    " FROM stands s FULL JOIN open o ON o.kind = s.kind AND o.subject = s.subject"
    " LEFT JOIN metering_meter m ON m.group_id = $1 AND m.id = s.meter_id"
    " LEFT JOIN metering_assignment x ON x.group_id = $1 AND x.meter_id = s.meter_id"
    "  AND x.ended_at IS NULL"
    " WHERE s.kind IS NULL OR o.kind IS NULL"
)
_POWER = (
    "WITH open AS MATERIALIZED (SELECT meter_id, array_agg(kind) AS kinds FROM alerts_alarm"
    "  WHERE group_id = $1 AND ended_at IS NULL AND kind = ANY($2)"
    "   AND subject = meter_id::text GROUP BY 1)"
    " SELECT m.id, m.project_id, l.power_w, o.kinds, coalesce(v.overload_w, p.overload_w) AS most,"
    "  m.removed_at IS NOT NULL AS removed, s.account_id"
    " FROM metering_meter m JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
    " JOIN tenancy_project p ON p.group_id = m.group_id AND p.id = m.project_id"
    " LEFT JOIN alerts_levels v ON v.group_id = m.group_id AND v.meter_id = m.id"
    " LEFT JOIN open o ON o.meter_id = m.id"
    " LEFT JOIN metering_assignment s ON s.group_id = m.group_id AND s.meter_id = m.id"
    "  AND s.ended_at IS NULL"
    " WHERE m.group_id = $1 AND (o.meter_id IS NOT NULL OR m.removed_at IS NULL AND"
    "  (l.power_w > coalesce(v.overload_w, p.overload_w) OR l.power_w < -$3::integer))"
)


@dataclass(frozen=True, slots=True)
class Looked:
    """How many episodes a look began and ended."""

    began: int
    ended: int


async def tend_alarms(*, group_id: int, at: datetime) -> Looked:
    """Begin and end the episodes of a group by what is known at `at`; doing it twice changes nothing."""
    began = ended = 0
    for look in (_follow, _look_at_power):
        async with unit_of_work(group_id) as work:
            looked = await look(work, at)
        began, ended = began + looked.began, ended + looked.ended
    more = True
    while more:
        async with unit_of_work(group_id) as work:
            money = await look_at_money(work, at=at)
        began, ended, more = began + money.began, ended + money.ended, money.more
    return Looked(began, ended)


async def _follow(work: UnitOfWork, at: datetime) -> Looked:
    """Alarms of what has its own life elsewhere."""
    rows = await work.fetch(
        _FOLLOW,
        work.group_id,
        [str(kind) for kind in _FOLLOWED],
        list(_EPISODES),
        [str(kind) for kind in _EPISODES.values()],
        list(_METER_CASES),
        [str(kind) for kind in _METER_CASES.values()],
        list(_MONEY_CASES),
        str(AlarmKind.PAYMENT_EXCEPTION),
    )
    new = [_followed(row) for row in rows if row["kind"] is not None]
    over = [(AlarmKind(row["was_kind"]), row["was_subject"]) for row in rows if row["was_kind"]]
    ended = await _end(work, over, "what it was about is over", at)
    began = await raise_alarms(work, alarms=new, at=at)
    for alarm in began:
        if alarm.kind is AlarmKind.METER_LOST and alarm.account_id is not None:
            await _tell_lost(work, alarm, alarm.account_id, at)
    return Looked(len(began), ended)


async def _tell_lost(work: UnitOfWork, alarm: Alarm, account_id: UUID, at: datetime) -> None:
    since = datetime.fromisoformat(alarm.detail["since"])
    await tell_customers(
        work,
        account_id=account_id,
        event="meter_lost",
        key=f"alarm-{alarm.id.hex}",
        params={"meter": alarm.detail["meter"], "time": china_time(since)},
        at=at,
    )


def _followed(row: Row) -> NewAlarm:
    kind, detail = AlarmKind(row["kind"]), row["detail"]
    if row["serial"] is not None:
        detail["meter"] = row["serial"]
    return NewAlarm(
        row["project_id"],
        kind,
        row["subject"],
        row["account_id"],
        row["meter_id"],
        row["gateway_id"],
        LEVELS[kind],
        detail,
    )


async def _look_at_power(work: UnitOfWork, at: datetime) -> Looked:
    """OVERLOAD and REVERSE by the power of the latest readings."""
    kinds = [str(AlarmKind.OVERLOAD), str(AlarmKind.REVERSE)]
    rows = await work.fetch(_POWER, work.group_id, kinds, REVERSE_W)
    edges = [(row, kind, _edge(row, kind)) for row in rows for kind in map(AlarmKind, kinds)]
    over = [(kind, str(row["id"])) for row, kind, edge in edges if edge is Edge.ENDS]
    # One that goes on is raised again: what it tells moves.
    new = [
        _power(row, kind)
        for row, kind, edge in edges
        if edge is Edge.FIRES or (edge is Edge.STAYS and str(kind) in (row["kinds"] or ()))
    ]
    ended = await _end(work, over, "the power is within its limit again", at)
    return Looked(len(await raise_alarms(work, alarms=new, at=at)), ended)


def _edge(row: Row, kind: AlarmKind) -> Edge:
    is_open = str(kind) in (row["kinds"] or ())
    watts = row["power_w"] if kind is AlarmKind.OVERLOAD else -(row["power_w"] or 0)
    most = row["most"] if kind is AlarmKind.OVERLOAD else REVERSE_W
    if watts is None or most is None or row["removed"]:
        return Edge.ENDS if is_open else Edge.STAYS
    return rising(watts, threshold=most, hysteresis=power_hysteresis(most), is_open=is_open)


def _power(row: Row, kind: AlarmKind) -> NewAlarm:
    detail = {"power_w": str(row["power_w"])}
    if kind is AlarmKind.OVERLOAD:
        detail["limit_w"] = str(row["most"])
    subject, account_id = str(row["id"]), row["account_id"]
    return NewAlarm(
        row["project_id"], kind, subject, account_id, row["id"], None, LEVELS[kind], detail
    )


async def _end(
    work: UnitOfWork, over: Iterable[tuple[AlarmKind, str]], note: str, at: datetime
) -> int:
    subjects: dict[AlarmKind, list[str]] = defaultdict(list)
    for kind, subject in over:
        subjects[kind].append(subject)
    ended = 0
    for kind in sorted(subjects):
        ended += await end_alarms(work, kind=kind, subjects=subjects[kind], note=note, at=at)
    return ended
