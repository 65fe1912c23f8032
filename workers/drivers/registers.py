"""A snapshot of a meter as the uplink's registers and back: the gateway writes them, the cloud reads them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from backend.kernel.money import HAO_PER_FEN
from backend.uplink.message import Registers, RelayState

from .ports import MeterFlags, MeterSnapshot, Relay


def registers_of(snapshot: MeterSnapshot, *, kind: str, at: datetime) -> Registers:
    """`snapshot` of a meter of `kind` (a profile's: electricity, water, heat..), read at `at`, which is
    cut to the second. Money is cut to the fen; `raw` stays behind."""
    electricity = kind == "electricity"
    water = kind == "water"
    clock = snapshot.meter_clock
    hao = snapshot.remaining_hao
    return Registers(
        at=at.replace(microsecond=0),
        relay=RelayState(snapshot.relay),
        meter_time=None if clock is None else clock.replace(microsecond=0),
        energy_wh=snapshot.total if electricity else None,
        bands_wh=dict(snapshot.bands),
        volume_l=snapshot.total if water else None,
        heat_wh=None if electricity or water else snapshot.total,
        cold_wh=snapshot.cold_wh,
        voltage_mv=snapshot.voltage_mv,
        current_ma=snapshot.current_ma,
        power_w=snapshot.power_w,
        wallet_fen=None if hao is None else hao // HAO_PER_FEN,
        purchase_no=None if hao is None else snapshot.purchase_count,
        flags=frozenset(name for name, is_set in asdict(snapshot.flags).items() if is_set),
    )


def snapshot_of(registers: Registers) -> MeterSnapshot | None:
    """What a driver next to the meter would have read (`raw` is empty); None when no total is there."""
    totals = (registers.energy_wh, registers.volume_l, registers.heat_wh)
    total = next((value for value in totals if value is not None), None)
    if total is None:
        return None
    fen = registers.wallet_fen
    return MeterSnapshot(
        total=total,
        raw=b"",
        bands=dict(registers.bands_wh),
        remaining_hao=None if fen is None else fen * HAO_PER_FEN,
        purchase_count=registers.purchase_no,
        relay=Relay(registers.relay),
        flags=MeterFlags(**dict.fromkeys(registers.flags, True)),
        voltage_mv=registers.voltage_mv,
        current_ma=registers.current_ma,
        power_w=registers.power_w,
        meter_clock=registers.meter_time,
        cold_wh=registers.cold_wh,
    )
