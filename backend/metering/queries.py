"""Reads of metering: the meters of accounts with their latest state, use of a period, what to sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.clock import Period
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput, NotFound
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .history import newest_until, oldest_within, readings_of_meters, with_packed
from .models import Gateway, Meter, MeterAssignment
from .readings import COLUMNS, Reading, reading_of
from .rules import CreditMode, MeterKind

_LATEST = ", ".join(f"l.{column}" for column in COLUMNS[1:])


@dataclass(frozen=True, slots=True)
class MeterState:
    """A meter as it serves an account, with its latest reading (None: never read)."""

    id: UUID
    serial: str
    profile: str
    kind: MeterKind
    account_id: UUID
    project_id: UUID
    gateway_silent_since: datetime | None
    selling_stopped_at: datetime | None
    latest: Reading | None


async def meters_of_accounts(
    work: UnitOfWork, *, account_ids: Sequence[UUID]
) -> dict[UUID, list[MeterState]]:
    """The meters now serving each account, with latest readings: one statement for a page."""
    rows = await work.fetch(
        "SELECT a.account_id, m.id, m.serial, m.profile, m.project_id, m.selling_stopped_at,"
        f" m.kind, g.silent_since, {_LATEST}"
        " FROM metering_assignment a"
        " JOIN metering_meter m ON m.group_id = a.group_id AND m.id = a.meter_id"
        " JOIN metering_gateway g ON g.group_id = m.group_id AND g.id = m.gateway_id"
        " LEFT JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
        " WHERE a.group_id = $1 AND a.account_id = ANY($2) AND a.ended_at IS NULL"
        " ORDER BY m.serial",
        work.group_id,
        list(account_ids),
    )
    found: dict[UUID, list[MeterState]] = {account_id: [] for account_id in account_ids}
    for row in rows:
        found[row["account_id"]].append(
            MeterState(
                id=row["id"],
                serial=row["serial"],
                profile=row["profile"],
                kind=MeterKind(row["kind"]),
                account_id=row["account_id"],
                project_id=row["project_id"],
                gateway_silent_since=row["silent_since"],
                selling_stopped_at=row["selling_stopped_at"],
                latest=None if row["meter_id"] is None else reading_of(row),
            )
        )
    return found


async def meter(work: UnitOfWork, *, scope: Scope, meter_id: UUID) -> Meter:
    """One meter for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    found = await Meter.get_or_none(group_id=work.group_id, id=meter_id)
    if found is None or not scope.may(Permission.METER_READ, found.project_id):
        raise NotFound("no such meter")
    return found


async def meters_together(
    work: UnitOfWork, *, scope: Scope, meter_ids: Sequence[UUID]
) -> list[Meter]:
    """Meters in service of one project for an operator, by id. Raises NotFound when one of them is foreign,
    missing or removed (C29), InvalidInput for none, or for meters of two projects."""
    wanted = set(meter_ids)
    found = await Meter.filter(
        group_id=work.group_id, id__in=list(wanted), removed_at__isnull=True
    ).order_by("id")
    if len(found) < len(wanted) or any(
        not scope.may(Permission.METER_READ, each.project_id) for each in found
    ):
        raise NotFound("no such meter")
    if len({each.project_id for each in found}) != 1:
        raise InvalidInput("name meters, all of one project", field="meters")
    return found


async def meter_by_id(work: UnitOfWork, *, meter_id: UUID) -> Meter:
    """One meter of this group, for journeys and jobs. Raises NotFound."""
    found = await Meter.get_or_none(group_id=work.group_id, id=meter_id)
    if found is None:
        raise NotFound("no such meter")
    return found


async def meters_by_ids(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> list[Meter]:
    """Those of the meters that this group has, by id, for journeys and jobs."""
    return await Meter.filter(group_id=work.group_id, id__in=list(meter_ids)).order_by("id")


async def gateway(work: UnitOfWork, *, scope: Scope, gateway_id: UUID) -> Gateway:
    """One gateway for an operator. Raises NotFound (C29)."""
    found = await Gateway.get_or_none(group_id=work.group_id, id=gateway_id)
    if found is None or not scope.may(Permission.METER_READ, found.project_id):
        raise NotFound("no such gateway")
    return found


async def gateway_by_id(work: UnitOfWork, *, gateway_id: UUID) -> Gateway:
    """One gateway of this group, for jobs. Raises NotFound."""
    found = await Gateway.get_or_none(group_id=work.group_id, id=gateway_id)
    if found is None:
        raise NotFound("no such gateway")
    return found


async def meters_with_gateways(
    work: UnitOfWork, *, meter_ids: Sequence[UUID]
) -> dict[UUID, tuple[Meter, Gateway]]:
    """Meters of this group with their gateways, by meter, for jobs."""
    meters = await Meter.filter(group_id=work.group_id, id__in=list(meter_ids))
    wanted = list({each.gateway_id for each in meters})
    gateways = {
        each.id: each for each in await Gateway.filter(group_id=work.group_id, id__in=wanted)
    }
    return {each.id: (each, gateways[each.gateway_id]) for each in meters}


async def gateways_of_project(work: UnitOfWork, *, project_id: UUID) -> list[Gateway]:
    """The gateways of a project, by serial."""
    return await Gateway.filter(group_id=work.group_id, project_id=project_id).order_by("serial")


async def meters_of_gateway(work: UnitOfWork, *, gateway_id: UUID) -> list[Meter]:
    """The meters on a gateway's bus, by bus address."""
    return await Meter.filter(
        group_id=work.group_id, gateway_id=gateway_id, removed_at__isnull=True
    ).order_by("bus_address")


async def live_assignment_of_account(
    work: UnitOfWork, *, account_id: UUID, meter_id: UUID | None = None
) -> MeterAssignment | None:
    """The running assignment of an account: of `meter_id`, or when None where a top-up goes: the first
    of a meter that holds money, else of one whose money the cloud holds."""
    found = MeterAssignment.filter(
        group_id=work.group_id, account_id=account_id, ended_at__isnull=True
    ).order_by("started_at")
    if meter_id is not None:
        return await found.filter(meter_id=meter_id).first()
    running = await found
    modes = await Meter.filter(
        group_id=work.group_id, id__in=[assignment.meter_id for assignment in running]
    ).values_list("id", "credit_mode")
    mode_of = dict(modes)
    for mode in (CreditMode.METER, CreditMode.CLOUD):
        for each in running:
            if mode_of[each.meter_id] == mode:
                return each
    return None


class SoldMeter(NamedTuple):
    """A meter of an account that a payer can pay for."""

    id: UUID
    serial: str
    kind: MeterKind


async def sold_meters(work: UnitOfWork, *, account_id: UUID) -> list[SoldMeter]:
    """The meters of an account that can be paid for now, the one that gets the money unasked first: each
    that holds money itself, and one of those whose money is in the same purse."""
    rows = await work.fetch(
        "SELECT m.id, m.serial, m.kind, m.credit_mode FROM metering_assignment a"
        " JOIN metering_meter m ON m.group_id = a.group_id AND m.id = a.meter_id"
        " WHERE a.group_id = $1 AND a.account_id = $2 AND a.ended_at IS NULL"
        "  AND m.credit_mode IN ('METER', 'CLOUD') AND m.selling_stopped_at IS NULL"
        " ORDER BY m.credit_mode = 'CLOUD', a.started_at, m.serial",
        work.group_id,
        account_id,
    )
    in_purse = [row["id"] for row in rows if row["credit_mode"] == CreditMode.CLOUD]
    return [
        SoldMeter(row["id"], row["serial"], MeterKind(row["kind"]))
        for row in rows
        if row["id"] not in in_purse[1:]
    ]


async def assignments_of_account(work: UnitOfWork, *, account_id: UUID) -> list[MeterAssignment]:
    """The running assignments of an account, in the order of their ids."""
    return await MeterAssignment.filter(
        group_id=work.group_id, account_id=account_id, ended_at__isnull=True
    ).order_by("id")


async def assignment_of_meter(work: UnitOfWork, *, meter_id: UUID) -> MeterAssignment | None:
    """The running assignment of a meter, or None."""
    return await MeterAssignment.get_or_none(
        group_id=work.group_id, meter_id=meter_id, ended_at__isnull=True
    )


class Sold(NamedTuple):
    """An assignment as a sale needs it."""

    id: UUID
    meter_id: UUID
    credit_mode: CreditMode
    ended: bool


async def sold_assignments(work: UnitOfWork, *, assignment_ids: Sequence[UUID]) -> dict[UUID, Sold]:
    """Assignments and how their meters are credited, by id."""
    rows = await work.fetch(
        "SELECT a.id, a.meter_id, m.credit_mode, a.ended_at IS NOT NULL AS ended"
        " FROM metering_assignment a"
        " JOIN metering_meter m ON m.group_id = a.group_id AND m.id = a.meter_id"
        " WHERE a.group_id = $1 AND a.id = ANY($2)",
        work.group_id,
        list(assignment_ids),
    )
    return {
        id_: Sold(id_, meter_id, CreditMode(mode), ended) for id_, meter_id, mode, ended in rows
    }


async def assignment_by_id(work: UnitOfWork, *, assignment_id: UUID) -> MeterAssignment:
    """One assignment of this group. Raises NotFound."""
    found = await MeterAssignment.get_or_none(group_id=work.group_id, id=assignment_id)
    if found is None:
        raise NotFound("no such meter assignment")
    return found


async def use(work: UnitOfWork, *, meter_id: UUID, period: Period) -> int | None:
    """What went through a meter between the readings nearest to the ends of `period`, in the unit of
    its kind; None without readings.

    For showing only: charges are rated from readings by the rating rules, never from this (C13).
    """
    opening = await newest_until(work, meter_id=meter_id, at=period.start)
    if opening is None:
        opening = await oldest_within(work, meter_id=meter_id, period=period)
    last = await readings_of_meters(work, meter_ids=[meter_id], period=period, limit=1)
    closing = next(iter(last[meter_id]), opening)
    if opening is None or closing is None or closing.total < opening.total:
        return None
    return closing.total - opening.total


async def recent_readings(
    work: UnitOfWork, *, meter_id: UUID, period: Period, limit: int
) -> list[Reading]:
    """Readings of a meter in a period, newest first; packed days and raw rows alike."""
    found = await readings_of_meters(work, meter_ids=[meter_id], period=period, limit=limit)
    return found[meter_id]


async def latest_of_meters(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, Reading]:
    """The latest reading of each meter that was ever read."""
    rows = await work.fetch(
        "SELECT * FROM metering_latest WHERE group_id = $1 AND meter_id = ANY($2)",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: reading_of(row) for row in rows}


async def readings_of_pairs(
    work: UnitOfWork, *, pairs: Sequence[tuple[UUID, UUID]], period: Period, limit: int
) -> dict[tuple[UUID, UUID], list[Reading]]:
    """Readings, newest first, for each (account, meter) where the meter serves the account now.

    A pair that is not so has no entry. At most `limit` readings each, by two statements for all.
    """
    rows = await work.fetch(
        "SELECT a.account_id AS of_account, a.meter_id AS of_meter, r.*"
        " FROM unnest($2::uuid[], $3::uuid[]) AS k(account_id, meter_id)"
        " JOIN metering_assignment a ON a.group_id = $1 AND a.meter_id = k.meter_id"
        "   AND a.account_id = k.account_id AND a.ended_at IS NULL"
        " LEFT JOIN LATERAL (SELECT * FROM metering_reading WHERE group_id = $1"
        "   AND meter_id = a.meter_id AND at >= $4 AND at < $5"
        "   ORDER BY at DESC LIMIT $6) r ON true",
        work.group_id,
        [account_id for account_id, _ in pairs],
        [meter_id for _, meter_id in pairs],
        period.start,
        period.end,
        limit,
    )
    account_of: dict[UUID, UUID] = {}
    raw: dict[UUID, list[Reading]] = {}
    for row in rows:
        account_of[row["of_meter"]] = row["of_account"]
        held = raw.setdefault(row["of_meter"], [])
        if row["at"] is not None:
            held.append(reading_of(row))
    found = await with_packed(work, raw=raw, period=period, limit=limit)
    return {(account_of[meter_id], meter_id): held for meter_id, held in found.items()}
