"""What a driver read, as the reading that metering stores."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.control.supply_rules import SafetyLock
from backend.metering.readings import Reading
from workers.drivers.ports import MeterSnapshot, Relay

_CLOSED = {Relay.CLOSED: True, Relay.OPEN: False, Relay.UNKNOWN: None}


def reading_of(
    meter_id: UUID, snapshot: MeterSnapshot, at: datetime, *, received_at: datetime | None = None
) -> Reading:
    """The reading of a meter at `at`, which came at `received_at` (None: at once)."""
    remaining = snapshot.remaining
    return Reading(
        meter_id=meter_id,
        at=at,
        received_at=at if received_at is None else received_at,
        meter_clock=snapshot.meter_clock,
        total=snapshot.total,
        remaining_hao=None if remaining is None else remaining.hao,
        purchase_no=snapshot.purchase_count,
        relay_closed=_CLOSED[snapshot.relay],
        voltage_mv=snapshot.voltage_mv,
        current_ma=snapshot.current_ma,
        power_w=snapshot.power_w,
        bands=snapshot.bands,
        cold_wh=snapshot.cold_wh,
    )


def flagged_of(snapshot: MeterSnapshot) -> SafetyLock | None:
    """What a meter itself says of its load. No profile that ships tells of malignant loads: what the bits of
    register 0225 mean is not public (reference/meter-protocols.md 5.2)."""
    return SafetyLock.OVERLOAD if snapshot.flags.overload else None
