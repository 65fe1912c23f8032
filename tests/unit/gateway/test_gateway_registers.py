"""A snapshot goes over the uplink and comes back the same, whatever kind of meter it is of."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.kernel.band_calendar import BANDS
from backend.uplink.message import Read, decode, encode
from workers.drivers.ports import MeterFlags, MeterSnapshot, Relay
from workers.drivers.registers import registers_of, snapshot_of

AT = datetime(2026, 11, 22, 2, 0, 0, 999_999, tzinfo=UTC)
FULL = MeterSnapshot(
    total=1_234_567,
    raw=b"bytes stay on site",
    bands={"peak": 1_000_000, "valley": 234_567},
    remaining_hao=-35_000,
    purchase_count=4,
    relay=Relay.OPEN,
    flags=MeterFlags(arrears=True, fault=True),
    voltage_mv=229_900,
    current_ma=-10,
    power_w=-20,
    meter_clock=AT.replace(microsecond=0) + timedelta(seconds=7),
    cold_wh=55,
)


def over_the_wire(snapshot: MeterSnapshot, kind: str) -> MeterSnapshot | None:
    """What the cloud makes of it."""
    registers = registers_of(snapshot, kind=kind, at=AT)
    read = decode(*encode(Read(meter="M", frame_no=1, **asdict(registers))))
    assert isinstance(read, Read)
    assert read.at == AT.replace(microsecond=0)
    return snapshot_of(read)


@pytest.mark.parametrize("kind", ["electricity", "water", "heat"])
@pytest.mark.parametrize("snapshot", [FULL, MeterSnapshot(total=0, raw=b"")])
def test_nothing_but_the_raw_bytes_stays_behind(kind: str, snapshot: MeterSnapshot) -> None:
    assert over_the_wire(snapshot, kind) == snapshot._replace(raw=b"")


@pytest.mark.parametrize(
    ("kind", "place"),
    [("electricity", "energy_wh"), ("water", "volume_l"), ("heat", "heat_wh")],
)
def test_the_total_stands_under_the_unit_of_its_kind(kind: str, place: str) -> None:
    registers = registers_of(FULL, kind=kind, at=AT)
    totals = {name: getattr(registers, name) for name in ("energy_wh", "volume_l", "heat_wh")}
    assert {name for name, value in totals.items() if value is not None} == {place}
    assert totals[place] == FULL.total


def test_a_reading_without_a_total_is_no_snapshot() -> None:
    assert snapshot_of(replace(registers_of(FULL, kind="water", at=AT), volume_l=None)) is None


@pytest.mark.parametrize("hao", [12_345, -12_345])
def test_money_is_cut_down_to_the_fen_never_up(hao: int) -> None:
    registers = registers_of(FULL._replace(remaining_hao=hao), kind="electricity", at=AT)
    assert registers.wallet_fen is not None
    assert 0 <= hao - registers.wallet_fen * 100 < 100


def test_every_flag_and_band_of_a_driver_has_its_name_on_the_wire() -> None:
    lit = MeterFlags(**{flag.name: True for flag in fields(MeterFlags)})
    bands = dict.fromkeys(BANDS, 1)
    full = FULL._replace(flags=lit, bands=bands)
    assert over_the_wire(full, "electricity") == full._replace(raw=b"")
