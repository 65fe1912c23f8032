"""How many trips the engine may still give, by gateway, project and platform (C22; trust.md section 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from backend.control.commands import (
    trips_given,
    trips_given_at_gateway,
    trips_given_on_the_platform,
)
from backend.control.supplies import MeterSupply
from backend.control.supply_rules import (
    GATEWAY_TRIPS_A_MINUTE,
    trips_at_most,
    trips_of_the_platform_at_most,
)
from backend.kernel.db import UnitOfWork
from backend.kernel.scope import Actor
from backend.metering.supplied import meters_in_service

_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)


@dataclass(slots=True)
class TripsLeft:
    """What is left of each limit within one look. Counted only once there is something to trip: on most
    looks there is not."""

    work: UnitOfWork
    giver: Actor
    at: datetime
    _projects: dict[UUID, int] = field(default_factory=dict)
    _gateways: dict[UUID, int] = field(default_factory=dict)
    _platform: int | None = None

    async def take(self, supply: MeterSupply, gateway_id: UUID) -> str:
        """Take one trip; the name of the limit that is used up, empty when none is."""
        project_id = supply.project_id
        if project_id not in self._projects:
            self._projects[project_id] = await self._of_project(project_id)
        if gateway_id not in self._gateways:
            self._gateways[gateway_id] = await self._of_gateway(gateway_id)
        if self._platform is None:
            self._platform = await self._of_platform()
        if self._platform <= 0:
            return "PLATFORM"
        if self._projects[project_id] <= 0:
            return "PROJECT"
        if self._gateways[gateway_id] <= 0:
            return "GATEWAY"
        self._platform -= 1
        self._projects[project_id] -= 1
        self._gateways[gateway_id] -= 1
        return ""

    async def _of_project(self, project_id: UUID) -> int:
        meters = await meters_in_service(self.work, project_ids=[project_id])
        given = await trips_given(
            self.work, project_ids=[project_id], by=self.giver.name, since=self.at - _HOUR
        )
        return trips_at_most(meters[project_id]) - given.get(project_id, 0)

    async def _of_gateway(self, gateway_id: UUID) -> int:
        given = await trips_given_at_gateway(
            self.work, gateway_id=gateway_id, by=self.giver.name, since=self.at - _MINUTE
        )
        return GATEWAY_TRIPS_A_MINUTE - given

    async def _of_platform(self) -> int:
        given, meters = await trips_given_on_the_platform(
            self.work, by=self.giver.name, since=self.at - _HOUR
        )
        return trips_of_the_platform_at_most(meters) - given
