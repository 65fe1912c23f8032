"""Meters and gateways as who speaks with them needs them: bare rows, no objects of the ORM.

A sweep of 100,000 meters and a batch of ten thousand commands cannot pay for more (reference/baselines.md
section 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from sys import intern
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .readings import Reading, reading_of
from .rules import tries_of_sweep


class BusGateway(NamedTuple):
    """Where a bus is."""

    id: UUID
    link: str
    address: str | None


class MeterOnBus(NamedTuple):
    """A meter as who commands it needs it, and where its bus is. `last`: its latest reading, if any."""

    id: UUID
    serial: str
    profile: str
    kind: str
    bus_address: str
    gateway: BusGateway
    last: Reading | None


async def meters_on_buses(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, MeterOnBus]:
    """Meters of this group as commands need them, by one statement for all. Bare rows, as of a sweep."""
    # OFFSET: meter by meter by its key. The planner may have no statistics of what a first sweep left, and
    # would read all of the group's for each few meters.
    rows = await work.fetch(
        "SELECT m.id AS of_meter, m.serial, m.profile, m.kind AS of_kind, m.bus_address, m.gateway_id,"
        " g.link, g.address, l.*"
        " FROM metering_meter m JOIN metering_gateway g ON g.group_id = m.group_id AND g.id = m.gateway_id"
        " LEFT JOIN LATERAL (SELECT * FROM metering_latest"
        "  WHERE group_id = $1 AND meter_id = m.id OFFSET 0) l ON true"
        " WHERE m.group_id = $1 AND m.id = ANY($2)",
        work.group_id,
        list(meter_ids),
    )
    return {
        row["of_meter"]: MeterOnBus(
            row["of_meter"],
            row["serial"],
            row["profile"],
            row["of_kind"],
            row["bus_address"],
            BusGateway(row["gateway_id"], row["link"], row["address"]),
            None if row["at"] is None else reading_of(row),
        )
        for row in rows
    }


class SweptGateway(NamedTuple):
    """A gateway as a sweep needs it; `minutes` is its project's period."""

    id: UUID
    serial: str
    link: str
    address: str | None
    minutes: int


class SweptMeter(NamedTuple):
    """A meter as a sweep needs it; `tries`: how often it is asked in this one, see `tries_of_sweep`."""

    id: UUID
    serial: str
    profile: str
    bus_address: str
    tries: int


async def buses_to_sweep(
    work: UnitOfWork, *, gateway_ids: Sequence[UUID], at: datetime
) -> dict[UUID, tuple[SweptGateway, list[SweptMeter]]]:
    """Those of the gateways that there are, each with the meters on its bus by bus address. Bare rows: a
    sweep of 100,000 meters makes no objects of the ORM (reference/baselines.md section 8), and texts
    that are alike are kept once."""
    found = await work.fetch(
        "SELECT g.id, g.serial, g.link, g.address, p.sweep_minutes FROM metering_gateway g"
        " JOIN tenancy_project p ON p.group_id = g.group_id AND p.id = g.project_id"
        " WHERE g.group_id = $1 AND g.id = ANY($2)",
        work.group_id,
        gateway_ids,
    )
    rows = await work.fetch(
        "SELECT m.gateway_id, m.id, m.serial, m.profile, m.bus_address, coalesce(l.at, m.created_at)"
        " FROM metering_meter m"
        " LEFT JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
        " WHERE m.group_id = $1 AND m.gateway_id = ANY($2) AND m.removed_at IS NULL"
        " ORDER BY m.gateway_id, length(m.bus_address), m.bus_address",
        work.group_id,
        gateway_ids,
    )
    on_bus = {id_: list(meters) for id_, meters in groupby(rows, itemgetter(0))}
    gateways = (SweptGateway(*row) for row in found)
    return {each.id: (each, _swept(on_bus.get(each.id, []), each.minutes, at)) for each in gateways}


def _swept(rows: Sequence[Row], minutes: int, at: datetime) -> list[SweptMeter]:
    period = timedelta(minutes=minutes)
    first = int(at.timestamp() // period.total_seconds())
    lately = at - period  # nearly all were heard by the sweep before: no reckoning for them
    most = tries_of_sweep(silent_for=timedelta(), period=period, number=first)
    return [
        SweptMeter(
            id_,
            serial,
            intern(profile),
            intern(address),
            most
            if heard_at > lately
            else tries_of_sweep(silent_for=at - heard_at, period=period, number=number),
        )
        for number, (_, id_, serial, profile, address, heard_at) in enumerate(rows, first)
    ]


async def sweep_plan(work: UnitOfWork) -> list[tuple[UUID, int]]:
    """Every gateway of the group that we sweep, with its project's period in minutes; our own
    agents (UPLINK) sweep by themselves."""
    rows = await work.fetch(
        "SELECT g.id, p.sweep_minutes FROM metering_gateway g"
        " JOIN tenancy_project p ON p.group_id = g.group_id AND p.id = g.project_id"
        " WHERE g.group_id = $1 AND g.link <> 'UPLINK'",
        work.group_id,
    )
    return [(row["id"], row["sweep_minutes"]) for row in rows]
