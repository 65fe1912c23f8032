"""Gateways, meters and readings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated
from uuid import UUID

import strawberry

from backend.journeys import occupancy, refresh
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.metering import operations, queries
from backend.metering.models import Gateway as GatewayRow
from backend.metering.models import Meter as MeterRow
from backend.metering.operations import Reading as Registers
from backend.metering.queries import MeterState
from backend.tenancy.rules import Permission

from .context import Info
from .nodes import Node
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import DecimalText, ref, thousandths, uuid_of


@strawberry.enum(description="The relay as the meter reported it: ON is closed, power flows.")
class Relay(Enum):
    """On, off or not reported."""

    UNKNOWN = "UNKNOWN"
    ON = "ON"
    OFF = "OFF"


@strawberry.type(description="Registers of a meter at an instant.")
class Reading:
    """抄读."""

    at: datetime
    energy_kwh: DecimalText = strawberry.field(description="Since the meter was new.")
    remaining: Money | None = strawberry.field(description="The money the meter holds.")
    purchase_count: int | None = strawberry.field(description="How many sales it has taken.")
    relay: Relay
    voltage: DecimalText | None = strawberry.field(description="V")
    current: DecimalText | None = strawberry.field(description="A")
    power: int | None = strawberry.field(description="W, positive when drawn from the grid.")


@strawberry.type(description="One metering point with its own relay.")
class Meter(Node):
    """表计."""

    serial: str
    profile: str
    online: bool = strawberry.field(description="Its gateway answers and it was read before.")
    selling_stopped: bool = strawberry.field(description="No vend until a person has checked it.")
    latest: Reading | None


@strawberry.type(description="The box on site that holds a bus of meters.")
class Gateway(Node):
    """网关."""

    row: strawberry.Private[GatewayRow]
    serial: str
    name: str
    address: str
    online: bool
    silent_since: datetime | None

    @field(description="The meters on its bus, by bus address.")
    async def meters(self, info: Info) -> list[Meter]:
        """Meters with their latest reading, by two statements."""
        async with info.context.work() as work:
            rows = await queries.meters_of_gateway(work, gateway_id=self.row.id)
            latest = await queries.latest_of_meters(work, meter_ids=[row.id for row in rows])
        return [meter_of(row, self.row, latest) for row in rows]


@strawberry.type(description="A sweep of the project's gateways is queued.")
class ProjectRefresh:
    """What was asked for."""

    project: strawberry.ID
    gateways: int


@strawberry.type(description="A live reading was asked for; it arrives as the meter's latest.")
class MeterRefresh:
    """`queued` is false when one was asked for in this same minute."""

    meter: strawberry.ID
    queued: bool


AddGatewayResult = Annotated[Gateway | AnyProblem, strawberry.union("AddGatewayResult")]
AddMeterResult = Annotated[Meter | AnyProblem, strawberry.union("AddMeterResult")]
AssignMeterResult = Annotated[Meter | AnyProblem, strawberry.union("AssignMeterResult")]
RefreshProjectResult = Annotated[
    ProjectRefresh | AnyProblem, strawberry.union("RefreshProjectResult")
]
RefreshMeterResult = Annotated[MeterRefresh | AnyProblem, strawberry.union("RefreshMeterResult")]


def reading_of(found: Registers) -> Reading:
    """A reading as the schema shows it."""
    closed = found.relay_closed
    return Reading(
        at=found.at,
        energy_kwh=thousandths(found.energy_wh),
        remaining=None if found.remaining_hao is None else Money(found.remaining_hao),
        purchase_count=found.purchase_no,
        relay=Relay.UNKNOWN if closed is None else Relay.ON if closed else Relay.OFF,
        voltage=None if found.voltage_mv is None else thousandths(found.voltage_mv),
        current=None if found.current_ma is None else thousandths(found.current_ma),
        power=found.power_w,
    )


def meter_of_state(state: MeterState) -> Meter:
    """A meter out of a page's prefetch."""
    return Meter(
        id=ref("Meter", state.id),
        serial=state.serial,
        profile=state.profile,
        online=state.gateway_silent_since is None and state.latest is not None,
        selling_stopped=state.selling_stopped_at is not None,
        latest=None if state.latest is None else reading_of(state.latest),
    )


def meter_of(row: MeterRow, gateway: GatewayRow, latest: Mapping[UUID, Registers]) -> Meter:
    """A meter with its gateway and the latest readings at hand."""
    found = latest.get(row.id)
    return Meter(
        id=ref("Meter", row.id),
        serial=row.serial,
        profile=row.profile,
        online=gateway.silent_since is None and found is not None,
        selling_stopped=row.selling_stopped_at is not None,
        latest=None if found is None else reading_of(found),
    )


def gateway_of(row: GatewayRow) -> Gateway:
    """A gateway as the schema shows it."""
    return Gateway(
        id=ref("Gateway", row.id),
        row=row,
        serial=row.serial,
        name=row.name,
        address=row.address,
        online=row.answered_at is not None and row.silent_since is None,
        silent_since=row.silent_since,
    )


async def load_meter(work: UnitOfWork, info: Info, meter_id: UUID) -> Meter:
    """One meter by the operator's door. Raises NotFound."""
    row = await queries.meter(work, scope=info.context.caller(), meter_id=meter_id)
    gateway = await queries.gateway_by_id(work, gateway_id=row.gateway_id)
    return meter_of(row, gateway, await queries.latest_of_meters(work, meter_ids=[row.id]))


def _known(profile: str, models: frozenset[str]) -> str:
    if profile not in models:
        raise InvalidInput(
            f"no such meter model; there are: {', '.join(sorted(models))}", field="profile"
        )
    return profile


@strawberry.type
class MeterMutations:
    """Writes."""

    @mutation(Permission.METER_WRITE)
    async def add_gateway(
        self, info: Info, project: strawberry.ID, serial: str, name: str, address: str
    ) -> AddGatewayResult:
        """Register a gateway reached at host:port."""
        scope, at = info.context.caller(), info.context.now
        project_id = uuid_of(project, "Project")
        given = {"serial": serial, "name": name, "address": address}
        async with info.context.work() as work:
            row = await operations.add_gateway(
                work, scope=scope, project_id=project_id, at=at, **given
            )
        return gateway_of(row)

    @mutation(Permission.METER_WRITE)
    async def add_meter(
        self, info: Info, gateway: strawberry.ID, serial: str, profile: str, bus_address: int
    ) -> AddMeterResult:
        """Register a meter on a gateway's bus."""
        scope, at = info.context.caller(), info.context.now
        on = uuid_of(gateway, "Gateway")
        given = {"serial": serial, "profile": _known(profile, info.context.ports.meter_models)}
        async with info.context.work() as work:
            box = await queries.gateway(work, scope=scope, gateway_id=on)
            row = await operations.add_meter(
                work, scope=scope, gateway=box, bus_address=bus_address, at=at, **given
            )
        return meter_of(row, box, {})

    @mutation(Permission.METER_WRITE)
    async def assign_meter(
        self, info: Info, meter: strawberry.ID, account: strawberry.ID
    ) -> AssignMeterResult:
        """Let a meter serve an account from now on; refresh it first, its reading is the opening."""
        context, meter_id = info.context, uuid_of(meter, "Meter")
        await occupancy.assign_meter(
            scope=context.caller(),
            meter_id=meter_id,
            account_id=uuid_of(account, "Account"),
            at=context.now,
        )
        async with context.work() as work:
            return await load_meter(work, info, meter_id)

    @mutation(Permission.METER_REFRESH)
    async def refresh_meter(self, info: Info, id: strawberry.ID) -> RefreshMeterResult:
        """Ask for a live reading."""
        scope, at = info.context.caller(), info.context.now
        queued = await refresh.refresh_meter(scope=scope, meter_id=uuid_of(id, "Meter"), at=at)
        return MeterRefresh(meter=id, queued=queued)

    @mutation(Permission.METER_REFRESH)
    async def refresh_project(self, info: Info, id: strawberry.ID) -> RefreshProjectResult:
        """Ask for a sweep of all the project's meters now; `gateways` is how many were asked."""
        scope, at = info.context.caller(), info.context.now
        asked = await refresh.refresh_project(scope=scope, project_id=uuid_of(id, "Project"), at=at)
        return ProjectRefresh(project=id, gateways=asked)
