"""Writes of metering: register gateways and meters, assign, allocate purchase numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
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
from .readings import Reading
from .rules import BUSES, CreditMode, GatewayLink, MeterModel


async def add_gateway(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    serial: str,
    name: str,
    at: datetime,
    address: str | None = None,
    link: GatewayLink = GatewayLink.TCP,
) -> Gateway:
    """Register a gateway: reached at host:port, or one that dials in (no address).

    Raises NotFound, Forbidden, Conflict, InvalidInput.
    """
    if link.is_dialled != (address is not None):
        raise InvalidInput(
            "a TCP or Modbus TCP gateway has an address, others dial in", field="address"
        )
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_WRITE, project_id)
    try:
        gateway = await Gateway.create(
            id=uuid7(at),
            group_id=work.group_id,
            project_id=project_id,
            serial=serial,
            name=name,
            link=link,
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
        after={"serial": serial, "link": str(link), "address": address},
    )
    return gateway


async def move_gateway(
    work: UnitOfWork, *, scope: Scope, serial: str, address: str, at: datetime
) -> Gateway:
    """Note that a TCP gateway is reached at another host:port. Raises NotFound, Forbidden, Conflict."""
    gateway = await Gateway.get_or_none(group_id=work.group_id, serial=serial)
    if gateway is None or not scope.may(Permission.METER_READ, gateway.project_id):
        raise NotFound("no such gateway")
    scope.require(Permission.METER_WRITE, gateway.project_id)
    if not GatewayLink(gateway.link).is_dialled:
        raise Conflict("this gateway dials in: it has no address")
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
    model: MeterModel,
    bus_address: str,
    at: datetime,
    bus: int = 1,
    credit_mode: CreditMode | None = None,
) -> Meter:
    """Register a meter of `model` on a gateway's bus; `credit_mode` None: METER if it holds money, else
    NONE.

    Raises Forbidden, Conflict (serial or address taken), InvalidInput (not an address of the model's
    protocol, no such bus).
    """
    scope.require(Permission.METER_WRITE, gateway.project_id)
    model.check_bus_address(bus_address)
    if credit_mode is CreditMode.METER and not model.holds_money:
        raise InvalidInput(f"{model.name} holds no money of its own", field="creditMode")
    by_model = CreditMode.METER if model.holds_money else CreditMode.NONE
    if not 1 <= bus <= (BUSES if gateway.link == GatewayLink.UPLINK else 1):
        raise InvalidInput("this gateway has no such bus", field="bus")
    try:
        meter = await Meter.create(
            id=uuid7(at),
            group_id=work.group_id,
            project_id=gateway.project_id,
            gateway_id=gateway.id,
            serial=serial,
            profile=model.name,
            kind=model.kind,
            bus=bus,
            bus_address=bus_address,
            credit_mode=credit_mode or by_model,
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
        after={
            "serial": serial,
            "profile": model.name,
            "bus": bus,
            "busAddress": bus_address,
            "creditMode": meter.credit_mode,
        },
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

    Raises Forbidden, Conflict (it serves another account, is of another project, or left the site),
    InvalidInput (the opening reading lacks the purchase count).
    """
    scope.require(Permission.METER_WRITE, meter.project_id)
    if meter.removed_at is not None:
        raise Conflict("this meter was taken away")
    if opening.purchase_no is None and meter.credit_mode == CreditMode.METER:
        raise InvalidInput("the opening reading must hold the meter's purchase count")
    opening_count = opening.purchase_no or 0
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
            opening_total=opening.total,
            opening_purchase_no=opening_count,
            last_purchase_no=opening_count,
            opening_remaining_hao=opening.remaining_hao,
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
        after={"account": str(account_id), "openingTotal": opening.total},
    )
    return assignment


async def allocate_purchase_no(work: UnitOfWork, *, assignment_id: UUID) -> tuple[int, int]:
    """Take the next purchase number of an assignment: (counter epoch, number)."""
    return (await allocate_purchase_nos(work, assignment_ids=[assignment_id]))[0]


async def allocate_purchase_nos(
    work: UnitOfWork, *, assignment_ids: Sequence[UUID]
) -> list[tuple[int, int]]:
    """Take the next purchase numbers, one for each place of `assignment_ids` (an assignment may come
    more than once): (counter epoch, number).

    The row locks, taken by id, hold until commit, so two payments of one meter get two numbers in commit
    order, and a number exists if and only if its ledger entries do (C8, trust.md finding 2).
    """
    rows = await work.fetch(
        "WITH wanted AS (SELECT id, count(*)::integer AS many FROM unnest($2::uuid[]) AS w(id)"
        "   GROUP BY id),"
        " held AS MATERIALIZED (SELECT a.id FROM metering_assignment a JOIN wanted w ON w.id = a.id"
        "   WHERE a.group_id = $1 ORDER BY a.id FOR UPDATE OF a)"
        " UPDATE metering_assignment a SET last_purchase_no = a.last_purchase_no + w.many"
        " FROM held h JOIN wanted w ON w.id = h.id WHERE a.group_id = $1 AND a.id = h.id"
        " RETURNING a.id, a.counter_epoch, a.last_purchase_no - w.many + 1 AS first",
        work.group_id,
        list(assignment_ids),
    )
    numbers = {row["id"]: (row["counter_epoch"], count(row["first"])) for row in rows}
    taken = [numbers[assignment_id] for assignment_id in assignment_ids]
    return [(epoch, next(following)) for epoch, following in taken]


async def stop_selling(work: UnitOfWork, *, meter_id: UUID, at: datetime) -> None:
    """No vend goes to this meter until a person acts (C8)."""
    await Meter.filter(group_id=work.group_id, id=meter_id, selling_stopped_at__isnull=True).update(
        selling_stopped_at=at
    )


async def resume_selling(work: UnitOfWork, *, meter_id: UUID) -> None:
    """Vends go to this meter again."""
    await Meter.filter(group_id=work.group_id, id=meter_id).update(selling_stopped_at=None)


async def remove_meter(work: UnitOfWork, *, meter_id: UUID, at: datetime) -> None:
    """It left the site: it is not read any more, nor missed, and its place on the bus is free."""
    await Meter.filter(group_id=work.group_id, id=meter_id, removed_at__isnull=True).update(
        removed_at=at
    )
    await work.execute(
        "UPDATE metering_episode SET ended_at = greatest($3, started_at)"
        " WHERE group_id = $1 AND meter_id = $2 AND ended_at IS NULL",
        work.group_id,
        meter_id,
        at,
    )


async def put_back_meter(work: UnitOfWork, *, meter_id: UUID) -> None:
    """It is on site again. Raises Conflict: another meter has its place on the bus."""
    try:
        await Meter.filter(group_id=work.group_id, id=meter_id).update(removed_at=None)
    except IntegrityError as error:
        raise Conflict("another meter has its place on the bus by now") from error


async def note_gateway(work: UnitOfWork, *, gateway_id: UUID, answered: bool, at: datetime) -> None:
    """Keep whether a gateway answers: `silent_since` is the start of its silence (C26)."""
    await note_gateways(work, answered={gateway_id: answered}, at=at)


async def note_gateways(work: UnitOfWork, *, answered: Mapping[UUID, bool], at: datetime) -> None:
    """As `note_gateway` for many by one statement."""
    await work.execute(
        "UPDATE metering_gateway SET answered_at = CASE WHEN heard THEN $4 ELSE answered_at END,"
        " silent_since = CASE WHEN heard THEN NULL ELSE coalesce(silent_since, $4) END"
        " FROM unnest($2::uuid[], $3::boolean[]) AS told(gateway_id, heard)"
        " WHERE group_id = $1 AND id = gateway_id",
        work.group_id,
        list(answered),
        list(answered.values()),
        at,
    )
