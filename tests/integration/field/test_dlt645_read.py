"""DL/T 645 meters, read through our driver over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.kernel.clock import SetClock
from backend.kernel.money import Money
from workers.drivers.access import Access
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver, Relay, Wallet
from workers.links.errors import NoAnswer
from workers.profiles.loader import profile_of
from workers.protocols.dlt645_requests import read
from workers.protocols.errors import LongAnswer, MeterRefused
from workers.protocols.framing import Exchange, Framing
from workers.virtual.dlt645_meter import Spec645, Virtual645
from workers.virtual.dlt645_state import State645
from workers.virtual.store import MeterStore

from .bus_world import (
    ADDRESS_97,
    ADDRESS_645,
    START_S,
    Bus,
    Wire,
    electric,
    served,
    store_in,
)

MODEL = "GENERIC-645-2007"
START = datetime.fromtimestamp(START_S, UTC)


@pytest.fixture
def clock() -> SetClock:
    return SetClock(START)


@pytest.fixture
def store(tmp_path: Path) -> MeterStore:
    return store_in(tmp_path)


@pytest.fixture
async def bus(store: MeterStore, clock: SetClock) -> AsyncIterator[Bus]:
    async with served([electric(store, clock)], clock=clock, store=store) as made:
        yield made


def meter(bus: Bus) -> Virtual645:
    found = bus.line.meters[ADDRESS_645]
    assert isinstance(found, Virtual645)
    return found


def driver_over(exchange: Exchange, clock: SetClock) -> Driver:
    return driver_of(profile_of(MODEL), ADDRESS_645, exchange, Access(clock=clock))


async def test_a_2007_meter_is_read_with_bands_money_relay_and_clock(bus: Bus) -> None:
    async with bus.driver(MODEL, ADDRESS_645) as driver:
        seen = await driver.read()
        assert await driver.wallet() == Wallet(Money.parse("20.00"), 4)
    assert seen.total == 1_234_560
    assert dict(seen.bands) == {"spike": 0, "peak": 0, "flat": 1_234_560, "valley": 0}
    assert (seen.remaining, seen.purchase_count) == (Money.parse("20.00"), 4)
    assert (seen.relay, seen.flags.arrears) == (Relay.CLOSED, False)
    assert (seen.voltage_mv, seen.current_ma, seen.power_w) == (220_000, 3_636, 800)
    assert seen.meter_clock == START
    assert seen.cold_wh is None


async def test_use_moves_the_band_of_the_hour_and_the_money(bus: Bus) -> None:
    bus.clock.advance(timedelta(hours=10))  # to 20:00: seven hours of flat, three of peak
    async with bus.driver(MODEL, ADDRESS_645) as driver:
        seen = await driver.read()
    assert seen.total == 1_234_560 + 8_000
    assert (seen.bands["flat"], seen.bands["peak"]) == (1_234_560 + 5_600, 2_400)
    assert seen.remaining == Money.parse("15.20")  # 8 kWh at 0.60


async def test_an_overdraft_is_a_negative_amount(store: MeterStore, clock: SetClock) -> None:
    made = electric(store, clock)
    made.take_up({**made.memory(), "balance_hao": -34_500})
    async with (
        served([made], clock=clock, store=store) as bus,
        bus.driver(MODEL, ADDRESS_645) as driver,
    ):
        seen = await driver.read()
        assert await driver.wallet() == Wallet(Money.parse("-3.45"), 4)
    assert (seen.remaining, seen.flags.arrears) == (Money.parse("-3.45"), True)
    assert (seen.relay, seen.power_w) == (Relay.OPEN, 0)


async def test_a_meter_that_holds_no_money_is_read_all_the_same(
    store: MeterStore, clock: SetClock
) -> None:
    made = electric(store, clock)
    made.take_up({**made.memory(), "prepaid": False})
    async with (
        served([made], clock=clock, store=store) as bus,
        bus.driver(MODEL, ADDRESS_645) as driver,
    ):
        seen = await driver.read()
    assert (seen.remaining, seen.purchase_count, seen.flags.arrears) == (None, None, False)
    assert seen.total == 1_234_560


async def test_what_must_be_there_and_is_refused_is_an_error_not_a_none(
    store: MeterStore, clock: SetClock
) -> None:
    made = electric(store, clock)
    made.take_up({**made.memory(), "prepaid": False})
    async with (
        served([made], clock=clock, store=store) as bus,
        bus.driver("GENERIC-645-2007-ESAM", ADDRESS_645) as driver,
    ):
        with pytest.raises(MeterRefused, match="no such data") as refused:
            await driver.read()
    assert refused.value.refusal == 2


async def test_only_no_such_data_makes_an_optional_item_none(
    store: MeterStore, clock: SetClock
) -> None:
    wire = Wire([electric(store, clock)], clock)

    async def unwilling(request: bytes, expected: Framing, /) -> bytes:
        frame = (await wire(request, expected)).lstrip(b"\xfe")
        if frame[10:14] != bytes.fromhex("33323435"):  # 0201FF00, as it goes
            return frame
        head = frame[:8] + bytes([0xD1, 1, 0x33 + error])
        return head + bytes([sum(head) & 0xFF, 0x16])

    error = 0x02
    assert (await driver_over(unwilling, clock).read()).voltage_mv is None
    error = 0x04
    with pytest.raises(MeterRefused, match="not authorised"):
        await driver_over(unwilling, clock).read()


async def test_a_1997_meter_is_read_and_sells_and_switches_nothing(
    store: MeterStore, clock: SetClock
) -> None:
    spec = Spec645(serial="E-97", address=ADDRESS_97, edition="1997")
    state = State645(as_of=START_S, energy_ws=(1, 2 * 10**9, 3 * 10**9, 4 * 10**9), prepaid=False)
    made = Virtual645(spec, state, store=store, clock=clock)
    async with (
        served([made], clock=clock, store=store) as bus,
        bus.driver("GENERIC-645-1997", ADDRESS_97) as driver,
    ):
        seen = await driver.read()
    assert seen.total == 2_500_000
    assert dict(seen.bands) == {"spike": 0, "peak": 555_550, "flat": 833_330, "valley": 1_111_110}
    assert (seen.voltage_mv, seen.current_ma, seen.power_w) == (220_000, 3_630, 800)
    assert (seen.relay, seen.remaining, seen.meter_clock) == (Relay.UNKNOWN, None, START)


@pytest.mark.parametrize("part_size", [4, 7, 19])
async def test_a_long_answer_is_put_together_from_its_parts(
    store: MeterStore, clock: SetClock, part_size: int
) -> None:
    made = electric(store, clock, part_size=part_size)
    async with (
        served([made], clock=clock, store=store) as bus,
        bus.driver(MODEL, ADDRESS_645) as driver,
    ):
        seen = await driver.read()
    assert (seen.total, seen.bands["flat"]) == (1_234_560, 1_234_560)


async def test_a_part_whose_answer_is_lost_is_asked_once_more(
    store: MeterStore, clock: SetClock
) -> None:
    made = electric(store, clock, part_size=10)
    wire = Wire([made], clock)

    async def lossy(request: bytes, expected: Framing, /) -> bytes:
        if request[12] == 0x12 and not lost:
            lost.append(request)
            made.faults.drop_answers = 1
        return await wire(request, expected)

    lost: list[bytes] = []
    driver = driver_over(lossy, clock)
    assert (await driver.read()).bands["valley"] == 0
    assert len(lost) == 1


async def test_a_meter_that_never_ends_its_answer_is_given_up(
    store: MeterStore, clock: SetClock
) -> None:
    driver = driver_over(Wire([electric(store, clock, part_size=1)], clock), clock)
    with pytest.raises(LongAnswer, match="more than 8 parts"):
        await driver.read()


async def test_absent_phases_and_a_clock_that_is_no_date_are_none(
    store: MeterStore, clock: SetClock
) -> None:
    wire = Wire([electric(store, clock)], clock)

    async def blank(request: bytes, expected: Framing, /) -> bytes:
        """The voltage all FF, the date all zeros, sums put right."""
        frame = await wire(request, expected)
        body = bytearray(frame.lstrip(b"\xfe"))
        item = bytes((byte - 0x33) & 0xFF for byte in body[10:14])[::-1].hex()
        if item == "0201ff00":
            body[14:-2] = b"\x32" * len(body[14:-2])
        if item == "04000101":
            body[14:-2] = b"\x33" * len(body[14:-2])
        body[-2] = sum(body[:-2]) & 0xFF
        return bytes(body)

    seen = await driver_over(blank, clock).read()
    assert (seen.voltage_mv, seen.meter_clock) == (None, None)
    assert (seen.total, seen.current_ma) == (1_234_560, 3_636)


@pytest.mark.parametrize(
    "before", [b"", b"\xfe" * 5, b"\x00\x68\xff\xfe\xfe", b"\x68\x16\x68\x68\xaa\xaa"]
)
async def test_noise_and_wake_up_bytes_before_an_answer_are_passed_over(
    store: MeterStore, clock: SetClock, before: bytes
) -> None:
    made = electric(store, clock, before=before)
    async with (
        served([made], clock=clock, store=store) as bus,
        bus.driver(MODEL, ADDRESS_645) as driver,
    ):
        assert (await driver.read()).total == 1_234_560


async def test_another_meters_answer_glued_before_ours_is_not_ours(
    store: MeterStore, clock: SetClock
) -> None:
    stranger = electric(store, clock, address="230000000646", power_w=9_000)
    stranger.take_up({**stranger.memory(), "energy_ws": [0, 0, 0, 99 * 3_600_000]})
    said = await stranger.answer(read(address="230000000646", di="0001FF00").request)
    assert said is not None
    async with (
        served([electric(store, clock, before=said)], clock=clock, store=store) as bus,
        bus.driver(MODEL, ADDRESS_645) as driver,
    ):
        assert (await driver.read()).total == 1_234_560


async def test_a_corrupt_answer_is_never_believed(bus: Bus) -> None:
    meter(bus).faults.corrupt_answers = 1
    async with bus.driver(MODEL, ADDRESS_645) as driver:
        with pytest.raises(NoAnswer):
            await driver.read()
        assert (await driver.read()).total == 1_234_560


async def test_a_silent_meter_and_a_lost_request_are_no_answer(bus: Bus) -> None:
    async with bus.driver(MODEL, ADDRESS_645) as driver:
        meter(bus).faults.silent = True
        with pytest.raises(NoAnswer):
            await driver.read()
        meter(bus).faults.silent = False
        meter(bus).faults.lose_requests = 1
        with pytest.raises(NoAnswer):
            await driver.read()
        assert (await driver.read()).total == 1_234_560


async def test_a_late_answer_is_never_taken_for_the_next_question(bus: Bus) -> None:
    """The first question is answered after its time-out, with the meter's old total: the second one,
    to the same identifier, must get the new total."""
    async with bus.driver(MODEL, ADDRESS_645) as driver:
        meter(bus).faults.delay_ms = 350  # answer_s is 250 ms, so it comes within the drain
        with pytest.raises(NoAnswer):
            await driver.read()
        bus.clock.advance(timedelta(hours=1))
        meter(bus).faults.delay_ms = 0
        assert (await driver.read()).total == 1_234_560 + 800


async def test_an_answer_that_comes_after_the_drain_is_not_taken_either(bus: Bus) -> None:
    async with bus.driver(MODEL, ADDRESS_645) as driver:
        meter(bus).faults.delay_ms = 800
        with pytest.raises(NoAnswer):
            await driver.read()
        bus.clock.advance(timedelta(hours=1))
        meter(bus).faults.delay_ms = 0
        assert (await driver.read()).total == 1_234_560 + 800
