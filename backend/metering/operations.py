"""Writes of metering: register gateways and meters, assign, allocate purchase numbers, store readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tortoise.exceptions import IntegrityError

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .models import Gateway, Meter, MeterAssignment


@dataclass(frozen=True, slots=True)
class Reading:
    """Registers of a meter at an instant: Wh, hao, mV, mA, W; relay True closed, None unknown."""

    meter_id: UUID
    at: datetime
    received_at: datetime
    meter_clock: datetime | None
    energy_wh: int
    remaining_hao: int | None
    purchase_no: int | None
    relay_closed: bool | None
    voltage_mv: int | None
    current_ma: int | None
    power_w: int | None

    def record(self, group_id: int) -> tuple[object, ...]:
        """The row in the order of `COLUMNS`."""
        return (
            group_id,
            self.meter_id,
            self.at,
            self.received_at,
            self.meter_clock,
            self.energy_wh,
            self.remaining_hao,
            self.purchase_no,
            None if self.relay_closed is None else int(self.relay_closed),
            self.voltage_mv,
            self.current_ma,
            self.power_w,
        )


COLUMNS = (
    "group_id",
    "meter_id",
    "at",
    "received_at",
    "meter_clock",
    "energy_wh",
    "remaining_hao",
    "purchase_no",
    "relay",
    "voltage_mv",
    "current_ma",
    "power_w",
)

_COLUMNS = ", ".join(COLUMNS)
_INSERT_NEW = (
    f"INSERT INTO metering_reading ({_COLUMNS}) SELECT {_COLUMNS} FROM reading_stage"
    " ON CONFLICT (group_id, meter_id, at) DO NOTHING"
)
_MOVE_LATEST = (
    f"INSERT INTO metering_latest ({_COLUMNS})"
    f" SELECT DISTINCT ON (group_id, meter_id) {_COLUMNS} FROM reading_stage"
    " ORDER BY group_id, meter_id, at DESC"
    " ON CONFLICT (group_id, meter_id) DO UPDATE SET"
    " at = EXCLUDED.at, received_at = EXCLUDED.received_at, meter_clock = EXCLUDED.meter_clock,"
    " energy_wh = EXCLUDED.energy_wh, remaining_hao = EXCLUDED.remaining_hao,"
    " purchase_no = EXCLUDED.purchase_no, relay = EXCLUDED.relay,"
    " voltage_mv = EXCLUDED.voltage_mv, current_ma = EXCLUDED.current_ma, power_w = EXCLUDED.power_w"
    " WHERE metering_latest.at < EXCLUDED.at"
)


async def add_gateway(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    serial: str,
    name: str,
    address: str,
    at: datetime,
) -> Gateway:
    """Register a gateway reached at host:port. Raises NotFound, Forbidden, Conflict."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_WRITE, project_id)
    try:
        gateway = await Gateway.create(
            id=uuid7(at),
            group_id=work.group_id,
            project_id=project_id,
            serial=serial,
            name=name,
            address=address,
            created_at=at,
        )
    except IntegrityError as error:
        raise Conflict(
            f"the gateway {serial} is registered already, or its serial or host:port is malformed"
        ) from error
    await record(
        work,
        actor=scope.actor,
        action="gateway:self:register",
        subject=str(gateway.id),
        at=at,
        project_id=project_id,
        after={"serial": serial, "address": address},
    )
    return gateway


async def move_gateway(
    work: UnitOfWork, *, scope: Scope, serial: str, address: str, at: datetime
) -> Gateway:
    """Note that a gateway is reached at another host:port. Raises NotFound, Forbidden, Conflict."""
    gateway = await Gateway.get_or_none(group_id=work.group_id, serial=serial)
    if gateway is None or not scope.may(Permission.METER_READ, gateway.project_id):
        raise NotFound("no such gateway")
    scope.require(Permission.METER_WRITE, gateway.project_id)
    if gateway.address == address:
        return gateway
    before, gateway.address = gateway.address, address
    try:
        await Gateway.filter(group_id=work.group_id, id=gateway.id).update(address=address)
    except IntegrityError as error:
        raise Conflict("an address is host:port") from error
    await record(
        work,
        actor=scope.actor,
        action="gateway:self:move",
        subject=str(gateway.id),
        at=at,
        project_id=gateway.project_id,
        before={"address": before},
        after={"address": address},
    )
    return gateway


async def add_meter(
    work: UnitOfWork,
    *,
    scope: Scope,
    gateway: Gateway,
    serial: str,
    profile: str,
    bus_address: int,
    at: datetime,
) -> Meter:
    """Register a meter on a gateway's bus. Raises Forbidden, Conflict (serial or address taken)."""
    scope.require(Permission.METER_WRITE, gateway.project_id)
    if not 1 <= bus_address <= 247:
        raise InvalidInput("a bus address is 1 to 247", field="busAddress")
    try:
        meter = await Meter.create(
            id=uuid7(at),
            group_id=work.group_id,
            project_id=gateway.project_id,
            gateway_id=gateway.id,
            serial=serial,
            profile=profile,
            bus_address=bus_address,
            credit_mode="METER",
            created_at=at,
        )
    except IntegrityError as error:
        raise Conflict(
            f"the meter {serial} or bus address {bus_address} is taken, or the serial is malformed"
        ) from error
    await record(
        work,
        actor=scope.actor,
        action="meter:self:register",
        subject=str(meter.id),
        at=at,
        project_id=gateway.project_id,
        after={"serial": serial, "profile": profile, "busAddress": bus_address},
    )
    return meter


async def assign(
    work: UnitOfWork,
    *,
    scope: Scope,
    meter: Meter,
    account_id: UUID,
    opening: Reading,
    at: datetime,
) -> MeterAssignment:
    """Let a meter serve an account from now on, from its opening reading (C9: a new epoch).

    Raises Forbidden, Conflict (it serves another account, or is of another project), InvalidInput
    (the opening reading lacks the purchase count).
    """
    scope.require(Permission.METER_WRITE, meter.project_id)
    if opening.purchase_no is None:
        raise InvalidInput("the opening reading must hold the meter's purchase count")
    last_epoch: int = await work.fetchval(
        "SELECT coalesce(max(counter_epoch), 0) FROM metering_assignment"
        " WHERE group_id = $1 AND meter_id = $2",
        work.group_id,
        meter.id,
    )
    try:
        assignment = await MeterAssignment.create(
            id=uuid7(at),
            group_id=work.group_id,
            project_id=meter.project_id,
            meter_id=meter.id,
            account_id=account_id,
            counter_epoch=last_epoch + 1,
            started_at=at,
            opening_energy_wh=opening.energy_wh,
            opening_purchase_no=opening.purchase_no,
            last_purchase_no=opening.purchase_no,
        )
    except IntegrityError as error:
        raise Conflict("the meter serves an account already, or is of another project") from error
    await record(
        work,
        actor=scope.actor,
        action="meter:account:assign",
        subject=str(meter.id),
        at=at,
        project_id=meter.project_id,
        after={"account": str(account_id), "openingWh": opening.energy_wh},
    )
    return assignment


async def allocate_purchase_no(work: UnitOfWork, *, assignment_id: UUID) -> tuple[int, int]:
    """Take the next purchase number of an assignment: (counter epoch, number).

    The row lock holds until commit, so two payments of one meter get two numbers in commit order,
    and a number exists if and only if its ledger entries do (C8, trust.md finding 2).
    """
    row = await work.fetchrow(
        "UPDATE metering_assignment SET last_purchase_no = last_purchase_no + 1"
        " WHERE group_id = $1 AND id = $2 RETURNING counter_epoch, last_purchase_no",
        work.group_id,
        assignment_id,
    )
    assert row is not None, "an order's assignment exists"
    return row["counter_epoch"], row["last_purchase_no"]


async def stop_selling(work: UnitOfWork, *, meter_id: UUID, at: datetime) -> None:
    """No vend goes to this meter until a person acts (C8)."""
    await Meter.filter(group_id=work.group_id, id=meter_id, selling_stopped_at__isnull=True).update(
        selling_stopped_at=at
    )


async def resume_selling(work: UnitOfWork, *, meter_id: UUID) -> None:
    """Vends go to this meter again."""
    await Meter.filter(group_id=work.group_id, id=meter_id).update(selling_stopped_at=None)


async def store_readings(work: UnitOfWork, *, readings: Sequence[Reading]) -> int:
    """Store a gateway's batch by one COPY; returns how many were new.

    A reading is unique by (meter, instant): repeats change nothing (C24). The latest state moves
    only forward in time, so a late batch does not undo it.
    """
    if not readings:
        return 0
    await work.execute(
        "CREATE TEMP TABLE IF NOT EXISTS reading_stage"
        " (LIKE metering_latest INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
    )
    await work.copy(
        "reading_stage", columns=COLUMNS, records=[r.record(work.group_id) for r in readings]
    )
    stored = await work.execute(_INSERT_NEW)
    await work.execute(_MOVE_LATEST)
    return stored


async def note_gateway(work: UnitOfWork, *, gateway_id: UUID, answered: bool, at: datetime) -> None:
    """Keep whether a gateway answers: `silent_since` is the start of its silence (C26)."""
    if answered:
        await Gateway.filter(group_id=work.group_id, id=gateway_id).update(
            answered_at=at, silent_since=None
        )
    else:
        await Gateway.filter(
            group_id=work.group_id, id=gateway_id, silent_since__isnull=True
        ).update(silent_since=at)
