"""Gateways, meters and readings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry

from backend.journeys import occupancy, refresh
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.kernel.quantity import shown_unit
from backend.metering import operations, queries
from backend.metering.models import Gateway as GatewayRow
from backend.metering.models import Meter as MeterRow
from backend.metering.queries import MeterState
from backend.metering.readings import Reading as Registers
from backend.metering.rules import CreditMode
from backend.metering.rules import GatewayLink as Link
from backend.metering.rules import MeterKind as Kind
from backend.metering.rules import MeterModel as Model
from backend.tenancy.rules import Permission

from .circuits import Circuit, circuit_as_shown
from .commands import Command, command_of
from .context import Info
from .gateway_keys import GatewayUplink, uplink_as_shown
from .loaders import (
    circuit_of,
    commands_of,
    decisions_of,
    lost_since_of,
    state_of_meter,
    supply_row_of,
    tags_of,
    uplink_of,
)
from .meter_marks import MeterStateMark, mark_of
from .models import MeterKind, MeterModel, model_of
from .nodes import Node
from .paging import size
from .problems import AnyProblem
from .relay import Relay, relay_of
from .resolvers import field
from .rights import mutation
from .scalars import DecimalText, ref, thousandths, uuid_of
from .served import MeterAccount, account_as_shown, money_left
from .supply import Supply, SupplyDecision, decision_of, supply_of

strawberry.enum(
    CreditMode,
    description="METER: the meter holds the money and cuts by itself. CLOUD: the cloud holds it, rates"
    " readings, cuts by command. NONE: read and controlled, not sold to.",
)


@strawberry.type(description="The share of one rate band: spike, peak, flat, valley or deep.")
class BandTotal:
    """尖峰平谷."""

    band: str
    total: DecimalText


@strawberry.type(description="Registers of a meter at an instant.")
class Reading:
    """抄读."""

    at: datetime
    total: DecimalText = strawberry.field(
        description="Since the meter was new, in the meter's unit: kWh or m3."
    )
    bands: list[BandTotal] = strawberry.field(
        description="The part of the total in each rate band."
    )
    cold: DecimalText | None = strawberry.field(description="Cold of a heat and cold meter, kWh.")
    remaining: Money | None = strawberry.field(description="The money the meter holds.")
    purchase_count: int | None = strawberry.field(description="How many sales it has taken.")
    relay: Relay
    voltage: DecimalText | None = strawberry.field(description="V")
    current: DecimalText | None = strawberry.field(description="A")
    power: int | None = strawberry.field(description="W, positive when drawn from the grid.")


@strawberry.type(description="One metering point with its own relay.")
class Meter(Node):
    """表计."""

    key: strawberry.Private[UUID]
    serial: str
    profile: str
    kind: MeterKind
    unit: str = strawberry.field(description="Unit of its totals: kWh or m³.")
    online: bool = strawberry.field(description="Its gateway answers and it was read before.")
    selling_stopped: bool = strawberry.field(description="No vend until a person has checked it.")
    latest: Reading | None
    registers: strawberry.Private[Registers | None]

    @field(description="What it is, and how far that can be trusted; null for a profile of old.")
    async def model(self, info: Info) -> MeterModel | None:
        """Nobody's secret."""
        found = info.context.ports.meter_models.get(self.profile)
        return None if found is None else model_of(found)

    @field(description="Whom it serves now.")
    async def serves(self, info: Info) -> MeterAccount | None:
        """By two statements for all meters that are asked for. Raises Forbidden."""
        return await account_as_shown(info.context, self.key)

    @field(description="What is left: in the meter, or available in the cloud; null: not known.")
    async def balance(self, info: Info) -> Money | None:
        """By a few statements for all meters that are asked for. Raises Forbidden."""
        return await money_left(info.context, self.key, self.registers)

    @field(description="In which of the six states it is, with its colour and its mark.")
    async def state(self, info: Info) -> MeterStateMark:
        """By one statement for all meters that are asked for."""
        return mark_of(await state_of_meter(info.context, self.key))

    @field(description="The labels that operators put on it.")
    async def tags(self, info: Info) -> list[str]:
        """By one statement for all meters that are asked for."""
        return await tags_of(info.context, self.key)

    @field(description="Since when it misses its sweeps while its gateway's line stands.")
    async def lost_since(self, info: Info) -> datetime | None:
        """By one statement for all meters that are asked for."""
        return await lost_since_of(info.context, self.key)

    @field(description="What it was told to do, newest first.")
    async def commands(self, info: Info, first: int = 10) -> list[Command]:
        """By one statement for all meters that are asked for. Raises InvalidInput."""
        found = await commands_of(info.context, self.key, size(first))
        return [command_of(row) for row in found]

    @field(description="What is wanted of its supply; null where nobody ever wanted anything.")
    async def supply(self, info: Info) -> Supply | None:
        """By one statement for all meters that are asked for."""
        row = await supply_row_of(info.context, self.key)
        return None if row is None else supply_of(row, info.context.now)

    @field(description="Its timetable, load guard and lock; null where it has none of them.")
    async def circuit(self, info: Info) -> Circuit | None:
        """By a few statements for all meters that are asked for."""
        row = await circuit_of(info.context, self.key)
        return None if row is None else circuit_as_shown(row)

    @field(description="What was decided over its supply where it changed, newest first.")
    async def supply_decisions(self, info: Info, first: int = 10) -> list[SupplyDecision]:
        """By one statement for all meters that are asked for. Raises InvalidInput."""
        found = await decisions_of(info.context, self.key, size(first))
        return [decision_of(row) for row in found]


@strawberry.enum(description="How a gateway's bytes reach us; the two ACREL links are weak.")
class GatewayLink(Enum):
    """链路."""

    TCP = "TCP"
    MODBUS_TCP = "MODBUS_TCP"
    DTU = "DTU"
    UPLINK = "UPLINK"
    ACREL_GATEWAY = "ACREL_GATEWAY"
    ACREL_4G = "ACREL_4G"


@strawberry.type(description="The box on site that holds buses of meters.")
class Gateway(Node):
    """网关."""

    row: strawberry.Private[GatewayRow]
    serial: str
    name: str
    link: GatewayLink
    address: str | None = strawberry.field(description="host:port of a TCP gateway's bus.")
    online: bool
    silent_since: datetime | None

    @field(description="The meters on its bus, by bus address.")
    async def meters(self, info: Info) -> list[Meter]:
        """Meters with their latest reading, by two statements."""
        async with info.context.work() as work:
            rows = await queries.meters_of_gateway(work, gateway_id=self.row.id)
            latest = await queries.latest_of_meters(work, meter_ids=[row.id for row in rows])
        return [meter_of(row, self.row, latest) for row in rows]

    @field(description="Where its sealed uplink stands; null for a gateway with another link.")
    async def uplink(self, info: Info) -> GatewayUplink | None:
        """By one statement for all gateways that are asked for."""
        if self.link is not GatewayLink.UPLINK:
            return None
        return uplink_as_shown(await uplink_of(info.context, self.row.id))


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
    return Reading(
        at=found.at,
        total=thousandths(found.total),
        bands=[BandTotal(band=name, total=thousandths(wh)) for name, wh in found.bands.items()],
        cold=None if found.cold_wh is None else thousandths(found.cold_wh),
        remaining=None if found.remaining_hao is None else Money(found.remaining_hao),
        purchase_count=found.purchase_no,
        relay=relay_of(found.relay_closed),
        voltage=None if found.voltage_mv is None else thousandths(found.voltage_mv),
        current=None if found.current_ma is None else thousandths(found.current_ma),
        power=found.power_w,
    )


def meter_of_state(state: MeterState) -> Meter:
    """A meter out of a page's prefetch."""
    return Meter(
        id=ref("Meter", state.id),
        key=state.id,
        serial=state.serial,
        profile=state.profile,
        kind=MeterKind(state.kind),
        unit=shown_unit(state.kind.unit),
        online=state.gateway_silent_since is None and state.latest is not None,
        selling_stopped=state.selling_stopped_at is not None,
        latest=None if state.latest is None else reading_of(state.latest),
        registers=state.latest,
    )


def meter_of(row: MeterRow, gateway: GatewayRow, latest: Mapping[UUID, Registers]) -> Meter:
    """A meter with its gateway and the latest readings at hand."""
    found = latest.get(row.id)
    return Meter(
        id=ref("Meter", row.id),
        key=row.id,
        serial=row.serial,
        profile=row.profile,
        kind=MeterKind(row.kind),
        unit=shown_unit(Kind(row.kind).unit),
        online=gateway.silent_since is None and found is not None,
        selling_stopped=row.selling_stopped_at is not None,
        latest=None if found is None else reading_of(found),
        registers=found,
    )


def gateway_of(row: GatewayRow) -> Gateway:
    """A gateway as the schema shows it."""
    return Gateway(
        id=ref("Gateway", row.id),
        row=row,
        serial=row.serial,
        name=row.name,
        link=GatewayLink(row.link),
        address=row.address,
        online=row.answered_at is not None and row.silent_since is None,
        silent_since=row.silent_since,
    )


async def load_meter(work: UnitOfWork, info: Info, meter_id: UUID) -> Meter:
    """One meter by the operator's door. Raises NotFound."""
    row = await queries.meter(work, scope=info.context.caller(), meter_id=meter_id)
    gateway = await queries.gateway_by_id(work, gateway_id=row.gateway_id)
    return meter_of(row, gateway, await queries.latest_of_meters(work, meter_ids=[row.id]))


def _known(profile: str, models: Mapping[str, Model]) -> Model:
    if profile not in models:
        raise InvalidInput(
            f"no such meter model; there are: {', '.join(sorted(models))}", field="profile"
        )
    return models[profile]


@strawberry.type
class MeterMutations:
    """Writes."""

    @mutation(Permission.METER_WRITE)
    async def add_gateway(
        self,
        info: Info,
        project: strawberry.ID,
        serial: str,
        name: str,
        address: str | None = None,
        link: GatewayLink = GatewayLink.TCP,
    ) -> AddGatewayResult:
        """Register a gateway: TCP reached at host:port, or one that dials in."""
        scope, at = info.context.caller(), info.context.now
        project_id = uuid_of(project, "Project")
        add = partial(operations.add_gateway, serial=serial, name=name, address=address)
        async with info.context.work() as work:
            row = await add(work, scope=scope, project_id=project_id, link=Link(link.value), at=at)
        return gateway_of(row)

    @mutation(Permission.METER_WRITE)
    async def add_meter(
        self,
        info: Info,
        gateway: strawberry.ID,
        serial: str,
        profile: str,
        bus_address: str,
        bus: int = 1,
        credit_mode: CreditMode | None = None,
    ) -> AddMeterResult:
        """Register a meter on a gateway's bus; without `creditMode` it holds its money if it can."""
        scope, at = info.context.caller(), info.context.now
        model = _known(profile, info.context.ports.meter_models)
        add = partial(operations.add_meter, serial=serial, model=model, bus=bus)
        add = partial(add, credit_mode=credit_mode)
        on = uuid_of(gateway, "Gateway")
        async with info.context.work() as work:
            box = await queries.gateway(work, scope=scope, gateway_id=on)
            row = await add(work, scope=scope, gateway=box, bus_address=bus_address, at=at)
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
