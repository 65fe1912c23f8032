"""A gateway with a sealed uplink: registered, claimed by an operator, enrolled by its own crypto."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backend.alerts.queries import Case, cases_page
from backend.audit.queries import AuditEntry, entries, verify
from backend.enrolment import queries
from backend.enrolment.desk import KeyDesk
from backend.enrolment.queries import RingRow
from backend.journeys.gateway_keys import make_claim, open_desk, revoke_keys
from backend.kernel.db import unit_of_work
from backend.metering import operations as metering
from backend.metering.models import Gateway
from backend.metering.rules import GatewayLink
from backend.uplink.enrol import GatewayEnrolment
from backend.uplink.keys import KeyName

from .world import BOX, World


@dataclass(frozen=True, slots=True)
class Keyed:
    """A gateway that has enrolled: its row, and the key as the gateway holds it."""

    gateway: Gateway
    key: KeyName
    root: bytes


async def make_sealed(world: World, *, serial: str = "SEALED-1") -> Gateway:
    """A gateway of ours that has no keys yet."""
    async with unit_of_work(world.group_id) as work:
        return await metering.add_gateway(
            work,
            scope=world.scope,
            project_id=world.project.id,
            serial=serial,
            name="Sealed",
            link=GatewayLink.UPLINK,
            at=world.clock.now(),
        )


def desk_at(dsn: str) -> KeyDesk:
    """The desk of a process that holds the uplink."""
    return open_desk(dsn=dsn, box=BOX)


async def claimed(world: World, gateway: Gateway) -> GatewayEnrolment:
    """The gateway with the code of a new claim typed in."""
    made = await make_claim(world.ports, scope=world.scope, gateway_id=gateway.id)
    return GatewayEnrolment(code=made.code, serial=gateway.serial)


async def enrolled(
    world: World, desk: KeyDesk, gateway: Gateway, *, at: datetime | None = None
) -> Keyed:
    """Claim and enrol the gateway."""
    installed = await claimed(world, gateway)
    answer = await desk.enrol(installed.request, at=at or world.clock.now())
    return Keyed(gateway, *installed.finish(answer))


async def revoke(world: World, gateway: Gateway, reason: str = "stolen from site") -> None:
    """As an operator does it."""
    await revoke_keys(scope=world.scope, gateway_id=gateway.id, reason=reason, at=world.clock.now())


async def row_of(world: World, gateway: Gateway) -> RingRow:
    """The gateway's ring as it rests."""
    async with unit_of_work(world.group_id) as work:
        found = await queries.ring(work, gateway_id=gateway.id)
    assert found is not None
    return found


async def standing_of(world: World, gateway: Gateway) -> queries.Standing:
    """The gateway's uplink as people see it."""
    async with unit_of_work(world.group_id) as work:
        found = await queries.standings(work, gateway_ids=[gateway.id], at=world.clock.now())
    return found[gateway.id]


async def cases_of(world: World) -> list[Case]:
    """The open cases of the world's project."""
    async with unit_of_work(world.group_id) as work:
        return await cases_page(
            work,
            scope=world.scope,
            project_id=world.project.id,
            only_open=True,
            before=None,
            limit=50,
        )


async def audit_of(world: World, prefix: str = "gateway:") -> list[AuditEntry]:
    """The group's audit entries of gateways, newest first; the chain holds."""
    async with unit_of_work(world.group_id) as work:
        assert (await verify(work)).broken_at is None
        found = await entries(work, before_seq=None, limit=100)
    return [entry for entry in found if entry.action.startswith(prefix)]
