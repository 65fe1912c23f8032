"""Registers of a meter at an instant, and the row that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from backend.kernel.band_calendar import BANDS
from backend.kernel.clock import utc
from backend.kernel.db import Row

from .rules import MAX_DRIFT


class Reading(NamedTuple):
    """Registers of a meter at an instant. `total` in the unit of its kind (Wh, litres, Wh of heat),
    `bands` in Wh by name (BANDS), `cold_wh` of a heat and cold meter; money in hao, mV, mA, W; relay
    or valve: True closed (electricity flows) or open (water flows), None unknown."""

    meter_id: UUID
    at: datetime
    received_at: datetime
    meter_clock: datetime | None
    total: int
    remaining_hao: int | None
    purchase_no: int | None
    relay_closed: bool | None
    voltage_mv: int | None
    current_ma: int | None
    power_w: int | None
    bands: Mapping[str, int] = MappingProxyType({})
    cold_wh: int | None = None

    def record(self, group_id: int) -> tuple[object, ...]:
        """The row in the order of `COLUMNS`."""
        # Unpacked at once: by name each field costs as much as its place in the row.
        meter_id, at, received_at, clock, total, hao, count, relay, mv, ma, watts, bands, cold = (
            self
        )
        band = bands.get
        return (
            group_id,
            meter_id,
            at,
            received_at,
            clock,
            total,
            band("spike"),
            band("peak"),
            band("flat"),
            band("valley"),
            band("deep"),
            cold,
            hao,
            count,
            None if relay is None else int(relay),
            mv,
            ma,
            watts,
        )


COLUMNS = (
    "group_id",
    "meter_id",
    "at",
    "received_at",
    "meter_clock",
    "total",
    "spike_wh",
    "peak_wh",
    "flat_wh",
    "valley_wh",
    "deep_wh",
    "cold_wh",
    "remaining_hao",
    "purchase_no",
    "relay",
    "voltage_mv",
    "current_ma",
    "power_w",
)


def settled(reading: Reading) -> Reading:
    """The reading with instants in UTC and none that lies ahead of us (C24): a device that is more than
    five minutes ahead gets our time, and its own is kept as `meter_clock`."""
    at, received_at = reading.at, reading.received_at
    if at.tzinfo is not UTC or received_at.tzinfo is not UTC:
        at, received_at = utc(at), utc(received_at)
        reading = reading._replace(at=at, received_at=received_at)
    if at <= received_at or at <= received_at + MAX_DRIFT:
        return reading
    return reading._replace(at=received_at, meter_clock=reading.meter_clock or at)


def reading_of(row: Row) -> Reading:
    """A reading out of a row that holds COLUMNS."""
    return Reading(
        meter_id=row["meter_id"],
        at=row["at"],
        received_at=row["received_at"],
        meter_clock=row["meter_clock"],
        total=row["total"],
        remaining_hao=row["remaining_hao"],
        purchase_no=row["purchase_no"],
        relay_closed=None if row["relay"] is None else bool(row["relay"]),
        voltage_mv=row["voltage_mv"],
        current_ma=row["current_ma"],
        power_w=row["power_w"],
        bands={name: row[f"{name}_wh"] for name in BANDS if row[f"{name}_wh"] is not None},
        cold_wh=row["cold_wh"],
    )
