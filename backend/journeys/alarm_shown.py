"""What an alarm is about, in words: the number of its meter or gateway, and whom it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import UnitOfWork

_SUBJECTS = (
    "SELECT a.id, a.project_id, coalesce(m.serial, g.serial) AS serial, c.no, c.name FROM alerts_alarm a"
    " LEFT JOIN metering_meter m ON m.group_id = a.group_id AND m.id = a.meter_id"
    " LEFT JOIN metering_gateway g ON g.group_id = a.group_id AND g.id = a.gateway_id"
    " LEFT JOIN accounts_account c ON c.group_id = a.group_id AND c.id = a.account_id"
    " WHERE a.group_id = $1 AND a.id = ANY($2)"
)


class Subject(NamedTuple):
    """`serial`: of the meter, else of the gateway; `no`, `name`: of the account. None where there is none."""

    project_id: UUID
    serial: str | None
    no: str | None
    name: str | None


async def subjects_of_alarms(work: UnitOfWork, *, alarm_ids: Sequence[UUID]) -> dict[UUID, Subject]:
    """What alarms of this group are about: one statement for a page."""
    rows = await work.fetch(_SUBJECTS, work.group_id, list(alarm_ids))
    return {
        row["id"]: Subject(row["project_id"], row["serial"], row["no"], row["name"]) for row in rows
    }
