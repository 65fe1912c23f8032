"""Readings: registers of a meter at an instant, stored by COPY beside the ORM (docs/adr/0003)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

BANDS = ("spike", "peak", "flat", "valley", "deep")


@dataclass(frozen=True, slots=True)
class Reading:
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
    bands: Mapping[str, int] = field(default_factory=dict)
    cold_wh: int | None = None

    def record(self, group_id: int) -> tuple[object, ...]:
        """The row in the order of `COLUMNS`."""
        band = self.bands.get
        return (
            group_id,
            self.meter_id,
            self.at,
            self.received_at,
            self.meter_clock,
            self.total,
            band("spike"),
            band("peak"),
            band("flat"),
            band("valley"),
            band("deep"),
            self.cold_wh,
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

_COLUMNS = ", ".join(COLUMNS)
_INSERT_NEW = (
    f"INSERT INTO metering_reading ({_COLUMNS}) SELECT {_COLUMNS} FROM reading_stage"
    " ON CONFLICT (group_id, meter_id, at) DO NOTHING"
)
_SET_LATEST = ", ".join(f"{column} = EXCLUDED.{column}" for column in COLUMNS[2:])
_MOVE_LATEST = (
    f"INSERT INTO metering_latest ({_COLUMNS})"
    f" SELECT DISTINCT ON (group_id, meter_id) {_COLUMNS} FROM reading_stage"
    " ORDER BY group_id, meter_id, at DESC"
    f" ON CONFLICT (group_id, meter_id) DO UPDATE SET {_SET_LATEST}"
    " WHERE metering_latest.at < EXCLUDED.at"
)


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
