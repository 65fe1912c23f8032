"""Where money is used up: the purse that CLOUD meters draw from, a meter that holds its own; what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.charges.rules import Supply
from backend.kernel.db import UnitOfWork
from backend.metering.queries import latest_of_meters
from backend.metering.rules import CreditMode

from .charge_figures import figures

_SERVED = (
    "SELECT s.id, s.account_id, m.kind, m.credit_mode, s.meter_id, s.started_at, a.project_id,"
    " coalesce(a.purse_account_id, a.id) FROM metering_assignment s"
    " JOIN metering_meter m ON m.group_id = s.group_id AND m.id = s.meter_id"
    "  AND m.credit_mode IN ('METER', 'CLOUD')"
    " JOIN accounts_account a ON a.group_id = s.group_id AND a.id = s.account_id"
    "  AND a.closed_at IS NULL WHERE s.group_id = $1 AND s.ended_at IS NULL"
)
_OF_PURSES = (
    " AND coalesce(a.purse_account_id, a.id) IN (SELECT coalesce(purse_account_id, id)"
    "  FROM accounts_account WHERE group_id = $1 AND id = ANY($2))"
)


class Member(NamedTuple):
    """An assignment whose use is paid from a place."""

    assignment_id: UUID
    account_id: UUID
    kind: str
    meter_id: UUID
    started_at: datetime


@dataclass(slots=True)
class Place:
    """A purse (`ref` and `account_id`: whose it is) or a meter's own money (`ref` and `assignment_id`: whom
    it serves how long)."""

    ref: UUID
    project_id: UUID
    account_id: UUID
    assignment_id: UUID | None
    members: list[Member] = field(default_factory=list)

    @property
    def in_cloud(self) -> bool:
        """Whether the cloud holds the money."""
        return self.assignment_id is None

    @property
    def supplies(self) -> frozenset[Supply]:
        """What is paid from it."""
        return frozenset(Supply(each.account_id, each.kind) for each in self.members)


async def places(work: UnitOfWork, *, account_ids: Sequence[UUID] | None = None) -> list[Place]:
    """The places of the group's open accounts, or of those that share a purse with some of them."""
    if account_ids is None:
        rows = await work.fetch(_SERVED, work.group_id)
    else:
        rows = await work.fetch(_SERVED + _OF_PURSES, work.group_id, list(account_ids))
    found: dict[UUID, Place] = {}
    for id_, account_id, kind, mode, meter_id, started_at, project_id, purse in rows:
        if mode == CreditMode.METER:
            place = found[id_] = Place(id_, project_id, account_id, id_)
        else:
            place = found.setdefault(purse, Place(purse, project_id, purse, None))
        place.members.append(Member(id_, account_id, kind, meter_id, started_at))
    return sorted(found.values(), key=lambda each: each.ref.int)


async def left_at(work: UnitOfWork, some: Sequence[Place]) -> dict[UUID, int]:
    """What is available at each place, in hao: of a purse the figure of C3, of a meter what it said last; one
    that never said it is absent."""
    purses = [each.ref for each in some if each.in_cloud]
    known = await figures(work, account_ids=purses) if purses else {}
    left = {ref: money.available.hao for ref, money in known.items()}
    own = {each.members[0].meter_id: each.ref for each in some if not each.in_cloud}
    for meter_id, reading in (await latest_of_meters(work, meter_ids=list(own))).items():
        if reading.remaining_hao is not None:
            left[own[meter_id]] = reading.remaining_hao
    return left
