"""Find what was read of CLOUD meters and never charged: an event that was lost costs a delay, not money."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from backend.kernel.db import unit_of_work

from .charge import AT_ONCE, charge_meters

_PATIENCE = timedelta(minutes=10)  # what came just now has an event of its own on its way
# A meter is missed when it was read beyond what is charged of whom it serves; one that a person must rule on
# is not. One without a tariff is tried again: it may have got one.
_MISSED = (
    "SELECT m.id, coalesce(p.rated_at, a.started_at) AS since FROM metering_meter m"
    " JOIN metering_assignment a ON a.group_id = m.group_id AND a.meter_id = m.id AND a.ended_at IS NULL"
    " JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
    " LEFT JOIN charges_position p ON p.group_id = a.group_id AND p.assignment_id = a.id"
    " WHERE m.group_id = $1 AND m.credit_mode = 'CLOUD' AND l.received_at < $2"
    "  AND l.at > coalesce(p.rated_at, a.started_at) AND (p.hold IS NULL OR p.hold = 'NO_TARIFF')"
    " ORDER BY l.received_at LIMIT $3"
)
_MOMENT = timedelta(microseconds=1)


async def charge_missed(*, group_id: int, at: datetime) -> int:
    """Charge what was missed of a group's meters; how many charges that made."""
    async with unit_of_work(group_id) as work:
        rows = await work.fetch(_MISSED, group_id, at - _PATIENCE, AT_ONCE)
    since: dict[UUID, datetime] = {row["id"]: row["since"] + _MOMENT for row in rows}
    return await charge_meters(group_id=group_id, since=since, at=at) if since else 0
