"""A cover that was opened is an alarm at once, which stands until somebody acknowledges it (A22)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.alerts.alarm_rules import LEVELS, AlarmKind
from backend.alerts.alarms import NewAlarm, raise_alarms
from backend.alerts.covers import keep_covers
from backend.kernel.db import UnitOfWork

_MOST = 999_999  # what the meters' counters hold (three bytes of BCD)
_METERS = (
    "SELECT m.id, m.project_id, m.gateway_id, m.serial, a.account_id FROM metering_meter m"
    " LEFT JOIN metering_assignment a ON a.group_id = m.group_id AND a.meter_id = m.id"
    "  AND a.ended_at IS NULL WHERE m.group_id = $1 AND m.id = ANY($2)"
)


async def note_covers(work: UnitOfWork, *, opens: Mapping[UUID, int], at: datetime) -> int:
    """Keep how often meters say that their covers were opened, in the transaction that stores their readings;
    for how many that is news."""
    told = {meter_id: count for meter_id, count in opens.items() if 0 <= count <= _MOST}
    opened = await keep_covers(work, opens=told, at=at) if told else {}
    if not opened:
        return 0
    rows = await work.fetch(_METERS, work.group_id, list(opened))
    alarms = [
        NewAlarm(
            project_id=row["project_id"],
            kind=AlarmKind.TAMPER,
            subject=str(row["id"]),
            account_id=row["account_id"],
            meter_id=row["id"],
            gateway_id=row["gateway_id"],
            level=LEVELS[AlarmKind.TAMPER],
            detail={"meter": row["serial"], "opens": str(told[row["id"]])},
            until_seen=True,
        )
        for row in rows
    ]
    return len(await raise_alarms(work, alarms=alarms, at=at))
