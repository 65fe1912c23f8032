"""Packed samples come back as they were, and nothing but what was stored is ever taken for them."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.kernel.band_calendar import BANDS
from backend.metering.packing import MOST, PackDamaged, pack, unpack
from backend.metering.readings import Reading
from backend.metering.registers import settled

DAY = date(2026, 11, 22)
START = datetime(2026, 11, 22, tzinfo=UTC)
METER = UUID(int=7)
GROUP = 3
BIG = st.integers(-(2**63), 2**63 - 1)
INT4 = st.integers(-(2**31), 2**31 - 1)
INSTANT = st.integers(0, 10**8).map(lambda s: START - timedelta(seconds=s, microseconds=s % 997))


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Any reading of the meter within the day."""
    at = START + timedelta(microseconds=draw(st.integers(0, 86_399_999_999)))
    return Reading(
        meter_id=METER,
        at=at,
        received_at=draw(INSTANT),
        meter_clock=draw(st.none() | INSTANT),
        total=draw(BIG),
        remaining_hao=draw(st.none() | BIG),
        purchase_no=draw(st.none() | INT4),
        relay_closed=draw(st.sampled_from([None, True, False])),
        voltage_mv=draw(st.none() | INT4),
        current_ma=draw(st.none() | INT4),
        power_w=draw(st.none() | INT4),
        bands=draw(st.dictionaries(st.sampled_from(BANDS), BIG)),
        cold_wh=draw(st.none() | BIG),
    )


def packed_of(made: list[Reading]) -> bytes:
    """What is stored of readings of the meter and day."""
    return pack(made, group_id=GROUP, meter_id=METER, day=DAY)


def unpacked(packed: bytes) -> list[Reading]:
    """What is read of it."""
    return unpack(packed, group_id=GROUP, meter_id=METER, day=DAY)


def bare(at: datetime, received_at: datetime) -> Reading:
    """A reading of nothing but the total."""
    return Reading(METER, at, received_at, None, 5, None, None, None, None, None, None)


def reading(minute: int, *, total: int = 5) -> Reading:
    """A plain reading at a minute of the day."""
    at = START + timedelta(minutes=minute)
    return Reading(METER, at, at, at, total, 100, 3, True, 220_000, 500, 110, {"peak": total}, None)


@settings(max_examples=150, deadline=None)
@given(st.lists(readings(), min_size=1, max_size=60, unique_by=lambda r: r.at))
def test_whatever_was_packed_comes_back(made: list[Reading]) -> None:
    found = unpacked(packed_of(made))
    assert found == sorted(made, key=lambda r: r.at)


def test_a_day_of_a_reading_each_half_hour_takes_about_twenty_bytes_a_sample() -> None:
    made = [reading(30 * n, total=10**6 + 137 * n * (n % 5)) for n in range(48)]
    assert len(packed_of(made)) < 48 * 20


@pytest.mark.parametrize("count", [0, MOST + 1])
def test_a_part_holds_one_to_1440_samples(count: int) -> None:
    made = [bare(START + timedelta(seconds=n), START) for n in range(count)]
    with pytest.raises(ValueError):
        packed_of(made)


@pytest.mark.parametrize("minute", [-1, 24 * 60])
def test_a_sample_of_another_day_is_refused(minute: int) -> None:
    with pytest.raises(ValueError):
        packed_of([reading(3), reading(minute)])


def test_packed_samples_cannot_be_taken_for_those_of_another_group_meter_or_day() -> None:
    packed = packed_of([reading(1), reading(2)])
    for group_id, meter_id, day in (
        (GROUP + 1, METER, DAY),
        (GROUP, uuid4(), DAY),
        (GROUP, METER, DAY + timedelta(days=1)),
    ):
        with pytest.raises(PackDamaged):
            unpack(packed, group_id=group_id, meter_id=meter_id, day=day)


def test_no_bit_can_be_changed_and_no_byte_cut_off_unnoticed() -> None:
    packed = packed_of([reading(n, total=n * n) for n in range(5)])
    for bit in range(len(packed) * 8):
        changed = bytearray(packed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PackDamaged):
            unpacked(bytes(changed))
    for length in range(len(packed)):
        with pytest.raises(PackDamaged):
            unpacked(packed[:length])
    with pytest.raises(PackDamaged):
        unpacked(packed + b"\0")


def test_what_would_fill_the_memory_is_refused_before_it_does() -> None:
    bomb = struct.pack(">BI", 1, 0) + zlib.compress(bytes(64 * 1024 * 1024), 9)
    tracemalloc.start()
    try:
        with pytest.raises(PackDamaged):
            unpacked(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 * 1024 * 1024


@pytest.mark.parametrize("body", [b"", b"\xff\xff", b"\1\0\1z", b"\1\0" + b"\0" * 3])
def test_a_wrong_form_with_a_right_checksum_is_refused(body: bytes) -> None:
    identity = struct.pack(">q16sI", 3, METER.bytes, DAY.toordinal())
    packed = struct.pack(">BI", 1, zlib.crc32(identity + body)) + zlib.compress(body)
    with pytest.raises(PackDamaged):
        unpacked(packed)


def test_what_lies_ahead_of_us_is_stored_at_our_time_and_keeps_the_devices_own() -> None:
    ahead = reading(600)
    for late, kept in ((timedelta(minutes=5), ahead.at), (timedelta(minutes=6), None)):
        received = ahead.at - late
        found = settled(bare(ahead.at, received))
        assert found.at == (kept or received)
        assert found.meter_clock == (None if kept else ahead.at)
        assert found.received_at == received


def test_a_reading_in_another_zone_is_the_same_instant() -> None:
    there = datetime(2026, 11, 22, 8, 0, tzinfo=timezone(timedelta(hours=8)))
    found = settled(bare(there, there))
    assert found.at == there
    assert (found.at.tzinfo, found.at.hour) == (UTC, 0)
