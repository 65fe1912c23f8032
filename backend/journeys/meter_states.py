"""In which of the six states meters are (A21), from what stands of alarms, episodes and assignments."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from backend.alerts.alarm_rules import AlarmKind
from backend.control.state_rules import MeterState, StateFacts, state_of
from backend.kernel.db import UnitOfWork

# A meter with its own money is alarmed by its assignment, one whose money the cloud holds by its purse
# (journeys.alarm_money). Behind a silent gateway nothing is known of a meter.
_FACTS = (
    "WITH asked AS (SELECT m.id, m.gateway_id, s.id IS NOT NULL AS assigned,"
    "   CASE m.credit_mode WHEN 'METER' THEN s.id WHEN 'CLOUD' THEN coalesce(c.purse_account_id, c.id)"
    "   END::text AS place FROM metering_meter m"
    "  LEFT JOIN metering_assignment s"
    "   ON s.group_id = m.group_id AND s.meter_id = m.id AND s.ended_at IS NULL"
    "  LEFT JOIN accounts_account c ON c.group_id = s.group_id AND c.id = s.account_id"
    "  WHERE m.group_id = $1 AND m.id = ANY($2))"
    " SELECT q.id, q.assigned, l.kinds, EXISTS (SELECT FROM metering_episode e WHERE e.group_id = $1"
    "   AND e.meter_id = q.id AND e.kind = 'LOST' AND e.ended_at IS NULL)"
    "  OR EXISTS (SELECT FROM metering_episode e WHERE e.group_id = $1 AND e.gateway_id = q.gateway_id"
    "   AND e.meter_id IS NULL AND e.kind = 'SILENT' AND e.ended_at IS NULL) AS lost"
    " FROM asked q LEFT JOIN LATERAL (SELECT array_agg(a.kind) AS kinds FROM alerts_alarm a"
    "  WHERE a.group_id = $1 AND a.kind = ANY($3) AND a.subject = q.place AND a.ended_at IS NULL) l ON true"
)
_KINDS = (AlarmKind.ARREARS, AlarmKind.LOW_2, AlarmKind.LOW_1)


async def meter_states(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, MeterState]:
    """The state of each meter of this group: one statement for a page or a project."""
    rows = await work.fetch(_FACTS, work.group_id, list(meter_ids), list(_KINDS))
    return {
        row["id"]: state_of(
            StateFacts(
                assigned=row["assigned"],
                lost=row["lost"],
                arrears=AlarmKind.ARREARS in (row["kinds"] or ()),
                alarm_2=AlarmKind.LOW_2 in (row["kinds"] or ()),
                alarm_1=AlarmKind.LOW_1 in (row["kinds"] or ()),
            )
        )
        for row in rows
    }
