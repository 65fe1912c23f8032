"""CJ/T 188 water and heat meters over a real socket, alone and beside DL/T 645 meters on one bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.kernel.clock import SetClock
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import Money
from workers.drivers.access import Access
from workers.drivers.factory import driver_of
from workers.drivers.ports import Relay
from workers.links.errors import NoAnswer
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.protocols.errors import BadValue, MeterRefused
from workers.protocols.framing import Framing
from workers.virtual.bus import BusMeter
from workers.virtual.cjt188_meter import ML, Spec188, State188, Virtual188
from workers.virtual.site import VirtualSite, parse_site
from workers.virtual.store import MeterStore

from .bus_world import (
    ADDRESS_188,
    ADDRESS_645,
    FAST,
    START_S,
    Bus,
    Wire,
    electric,
    key_machine,
    served,
    store_in,
    water,
)

VALVES = ("JICHENG-188-VALVE", "AIMEIKE-188-VALVE", "LIANLI-188-VALVE")
START = datetime.fromtimestamp(START_S, UTC)


@pytest.fixture
def clock() -> SetClock:
    return SetClock(START)


@pytest.fixture
def store(tmp_path: Path) -> MeterStore:
    return store_in(tmp_path)


@pytest.fixture
async def bus(store: MeterStore, clock: SetClock) -> AsyncIterator[Bus]:
    async with served([water(store, clock)], clock=clock, store=store) as made:
        yield made


def meter(bus: Bus, address: str = ADDRESS_188) -> Virtual188:
    found = bus.line.meters[address]
    assert isinstance(found, Virtual188)
    return found


@pytest.mark.parametrize("model", [*VALVES, "GENERIC-188-WATER"])
async def test_a_water_meter_is_read_in_litres(bus: Bus, model: str) -> None:
    async with bus.driver(model, ADDRESS_188) as driver:
        first = await driver.read()
        bus.clock.advance(timedelta(hours=2))
        second = await driver.read()
    assert (first.total, second.total) == (1_234_560, 1_234_680)
    assert (first.meter_clock, first.flags.fault) == (START, False)
    assert first.relay is (Relay.UNKNOWN if model == "GENERIC-188-WATER" else Relay.CLOSED)
    assert (first.remaining, first.power_w, first.cold_wh) == (None, None, None)


@pytest.mark.parametrize("model", VALVES)
async def test_a_valve_moves_for_seconds_and_the_reading_tells_when_it_is_there(
    bus: Bus, model: str
) -> None:
    async with bus.driver(model, ADDRESS_188) as driver:
        await driver.trip()
        assert (await driver.read()).relay is Relay.CLOSED  # not there yet
        bus.clock.advance(timedelta(seconds=13))
        shut = await driver.read()
        assert shut.relay is Relay.OPEN
        bus.clock.advance(timedelta(hours=5))
        assert (await driver.read()).total == shut.total
        await driver.close()
        bus.clock.advance(timedelta(seconds=13))
        assert (await driver.read()).relay is Relay.CLOSED


@pytest.mark.parametrize("model", VALVES)
async def test_what_a_valve_meter_has_not_is_a_conflict_and_nothing_is_sent(model: str) -> None:
    profile = profile_of(model)
    assert (profile.holds_money, profile.switches, profile.phases) == (False, True, 0)
    driver = driver_of(profile, ADDRESS_188, _nothing_sent)
    for refused in (driver.keep_power, driver.release, driver.allow_close, driver.wallet):
        with pytest.raises(Conflict):
            await refused()
    with pytest.raises(Conflict):
        await driver.credit(amount=Money.parse("1"), purchase_count=1)


async def test_a_meter_without_a_valve_is_not_switched() -> None:
    assert not profile_of("GENERIC-188-WATER").switches
    driver = driver_of(profile_of("GENERIC-188-WATER"), ADDRESS_188, _nothing_sent)
    with pytest.raises(Conflict):
        await driver.trip()


@pytest.mark.parametrize(
    "given",
    [
        {"di_low_first": True},
        {"fixed_ser": True},
        {"type": 0x11},
        {"unit": 0x29},
        {"before": b""},
        {"before": b"\xfe" * 30},
        {"before": b"\x68\x10\x44\x68\xff\x16"},
    ],
    ids=str,
)
async def test_makes_that_spell_otherwise_are_understood(
    store: MeterStore, clock: SetClock, given: dict[str, object]
) -> None:
    """The other order of the identifier, a number that is not echoed, another type, litres, noise."""
    made = water(store, clock, **given)
    if given.get("unit") == 0x29:
        made.take_up({**made.memory(), "flowed": 123_456_000 * ML})
    async with (
        served([made], clock=clock, store=store) as bus,
        bus.driver(VALVES[0], ADDRESS_188) as driver,
    ):
        seen = await driver.read()
        await driver.trip()
    assert seen.total == (123_456 if given.get("unit") == 0x29 else 1_234_560)


@pytest.mark.parametrize(
    ("bits", "seen"),
    [(0, Relay.CLOSED), (1, Relay.OPEN), (2, Relay.UNKNOWN), (3, Relay.UNKNOWN)],
)
async def test_valve_bits_become_a_relay_and_an_abnormal_valve_is_a_fault(
    store: MeterStore, clock: SetClock, bits: int, seen: Relay
) -> None:
    made = water(store, clock, closed_bits=bits, moving_s=0)
    made.take_up({**made.memory(), "is_open": False, "was_open": False})
    driver = driver_of(profile_of(VALVES[0]), ADDRESS_188, Wire([made], clock))
    read = await driver.read()
    assert (read.relay, read.flags.fault) == (seen, bits == 3)


async def test_a_low_battery_is_shown_as_a_fault(bus: Bus) -> None:
    meter(bus).act("battery_low", {})
    async with bus.driver(VALVES[0], ADDRESS_188) as driver:
        seen = await driver.read()
    assert (seen.flags.fault, seen.relay) == (True, Relay.CLOSED)


async def test_a_meter_without_a_clock_is_read_all_the_same(
    store: MeterStore, clock: SetClock
) -> None:
    made = water(store, clock, has_clock=False)
    seen = await driver_of(profile_of(VALVES[0]), ADDRESS_188, Wire([made], clock)).read()
    assert (seen.meter_clock, seen.total) == (None, 1_234_560)


async def test_a_refused_valve_order_is_told(store: MeterStore, clock: SetClock) -> None:
    made = water(store, clock, open_code=0x66, close_code=0x77)
    driver = driver_of(profile_of(VALVES[0]), ADDRESS_188, Wire([made], clock))
    with pytest.raises(MeterRefused):
        await driver.trip()
    assert made.state().is_open


async def test_a_lost_answer_to_a_valve_order_is_told_by_the_next_reading(bus: Bus) -> None:
    meter(bus).faults.drop_write_answers = 1
    async with bus.driver(VALVES[0], ADDRESS_188) as driver:
        with pytest.raises(NoAnswer):
            await driver.trip()
        bus.clock.advance(timedelta(seconds=30))
        assert (await driver.read()).relay is Relay.OPEN


async def test_a_corrupt_answer_is_never_believed_and_silence_is_no_answer(bus: Bus) -> None:
    async with bus.driver(VALVES[0], ADDRESS_188) as driver:
        for fault in ("corrupt_answers", "drop_answers", "lose_requests"):
            setattr(meter(bus).faults, fault, 1)
            with pytest.raises(NoAnswer):
                await driver.read()
            assert (await driver.read()).total == 1_234_560


async def test_a_late_answer_is_never_taken_for_the_next_question(bus: Bus) -> None:
    async with bus.driver(VALVES[0], ADDRESS_188) as driver:
        meter(bus).faults.delay_ms = 350
        with pytest.raises(NoAnswer):
            await driver.read()
        bus.clock.advance(timedelta(hours=1))
        meter(bus).faults.delay_ms = 0
        assert (await driver.read()).total == 1_234_560 + 60


async def test_the_valve_stays_where_it_was_over_the_meters_restart(
    bus: Bus, tmp_path: Path
) -> None:
    async with bus.driver(VALVES[0], ADDRESS_188) as driver:
        await driver.trip()
    kept = MeterStore(tmp_path / "meters.sqlite3").load_all()
    reborn = water(bus.store, bus.clock)
    reborn.take_up(kept["W-1"])
    bus.clock.advance(timedelta(seconds=30))
    assert not reborn.state().flows


@pytest.mark.parametrize("address", ["99999999999999", "AAAAAAAAAAAAAA", "1234", "3378001122334X"])
async def test_an_address_that_more_than_one_meter_hears_gets_no_driver(address: str) -> None:
    with pytest.raises(InvalidInput):
        driver_of(profile_of(VALVES[0]), address, _nothing_sent)


def heat(store: MeterStore, clock: SetClock, *, cold_w: int, type: int) -> Virtual188:
    spec = Spec188(
        serial="H-1",
        address=ADDRESS_188,
        form="heat",
        type=type,
        di_low_first=True,
        cold_w=cold_w,
    )
    state = State188(as_of=START_S, heat_ws=54_427_880 * 3600, cold_ws=274_110 * 3600)
    return Virtual188(spec, state, store=store, clock=clock)


async def test_a_heat_meter_is_read_in_watt_hours_of_heat(
    store: MeterStore, clock: SetClock
) -> None:
    async with (
        served([heat(store, clock, cold_w=0, type=0x20)], clock=clock, store=store) as bus,
        bus.driver("GENERIC-188-HEAT", ADDRESS_188) as driver,
    ):
        first = await driver.read()
        clock.advance(timedelta(hours=2))
        second = await driver.read()
    assert (first.total, second.total) == (54_427_880, 54_433_880)
    assert (first.cold_wh, first.power_w, first.meter_clock) == (None, 3_000, START)


async def test_a_heat_and_cold_meter_gives_both(store: MeterStore, clock: SetClock) -> None:
    async with (
        served([heat(store, clock, cold_w=1500, type=0x25)], clock=clock, store=store) as bus,
        bus.driver("GENERIC-188-HEATCOLD", ADDRESS_188) as driver,
    ):
        clock.advance(timedelta(hours=2))
        seen = await driver.read()
    assert (seen.total, seen.cold_wh) == (54_433_880, 277_110)


async def test_two_protocols_share_one_bus_and_nobody_answers_for_another(
    store: MeterStore, clock: SetClock
) -> None:
    master, machine = key_machine()
    second = electric(store, clock, address="230000000646")
    second.take_up({**second.memory(), "energy_ws": [0, 0, 36_000, 0]})
    fourth = water(store, clock, serial="W-2", address="33780011223345")
    fourth.take_up({**fourth.memory(), "flowed": 20_000 * ML})
    meters: list[BusMeter] = [electric(store, clock, master), second, water(store, clock), fourth]
    access = Access(clock=clock, cipher=machine)
    async with served(meters, clock=clock, store=store) as bus:
        totals = {}
        for model, address in (
            ("GENERIC-645-2007-ESAM", ADDRESS_645),
            (VALVES[0], ADDRESS_188),
            ("GENERIC-645-2007", "230000000646"),
            (VALVES[1], "33780011223345"),
        ):
            async with bus.driver(model, address, access) as driver:
                totals[address] = (await driver.read()).total
                await driver.trip()
        assert list(totals.values()) == [1_234_560, 1_234_560, 10, 20]
        async with bus.driver("GENERIC-645-2007-ESAM", ADDRESS_645, access) as driver:
            await driver.credit(amount=Money.parse("5"), purchase_count=5)
            assert (await driver.wallet()).remaining == Money.parse("25")


async def test_a_site_file_may_hold_meters_of_every_protocol(tmp_path: Path) -> None:
    clock = SetClock(START)
    plan = parse_site(
        {
            "gateways": [
                {
                    "serial": "GW-MIXED",
                    "meters": [
                        {"serial": "230000000001", "unit": 1, "energy": "1"},
                        {
                            "serial": "230000000002",
                            "model": "GENERIC-645-2007",
                            "energy": "2.5",
                            "remaining": "7",
                            "purchase_count": 3,
                        },
                        {"serial": "230000000003", "model": "GENERIC-645-1997", "energy": "3"},
                        {"serial": "33780000000004", "model": VALVES[0], "volume": "4.25"},
                        {"serial": "5", "model": "GENERIC-188-HEATCOLD", "energy": "5"},
                    ],
                }
            ]
        }
    )
    async with VirtualSite(plan, data_dir=tmp_path, clock=clock) as site:
        link = TcpLink("127.0.0.1", site.gateways["GW-MIXED"].port, timing=FAST)
        totals = []
        try:
            for model, address in (
                ("DDSY1352-NK", "1"),
                ("GENERIC-645-2007", "230000000002"),
                ("GENERIC-645-1997", "230000000003"),
                (VALVES[0], "33780000000004"),
                ("GENERIC-188-HEATCOLD", "00000000000005"),
            ):
                driver = driver_of(profile_of(model), address, link.exchange)
                totals.append((await driver.read()).total)
        finally:
            await link.close()
    assert totals == [1_000, 2_500, 3_000, 4_250, 5_000]


@pytest.mark.parametrize(
    ("frame", "model", "total", "cold", "clock"),
    [
        # cjt188-open-02: m3, no clock; -12: kWh; -13: asked as 20, answers as 25; -14: unit first.
        (
            "68 10 18 02 12 20 20 00 00 81 16 90 1F 00 00 02 00 00 2C 00 02 00 00 2C"
            " 00 00 00 00 00 00 00 00 FF 85 16",
            "GENERIC-188-WATER", 2_000, None, None,
        ),
        (
            "68 25 12 19 24 18 27 31 00 81 2E 1F 90 03 11 74 02 00 05 88 27 44 05 05 00 00 00 00 17"
            " 00 00 00 00 35 08 56 71 00 2C 79 26 00 64 26 00 66 47 07 11 52 17 03 09 25 20 00 05 2A 16",
            "GENERIC-188-HEATCOLD", 54_427_880, 274_110, datetime(2025, 9, 3, 9, 52, 11, tzinfo=UTC),
        ),
        (
            "68 20 32 41 31 40 00 00 00 81 2E 90 1F 01 08 02 00 00 00 08 02 00 00 00 17 00 00 00 00"
            " 35 00 00 00 00 2C 34 10 00 00 35 25 00 66 25 00 00 00 00 53 00 12 10 07 15 20 00 00 31 16",
            "GENERIC-188-HEAT", 20_000, None, datetime(2015, 7, 10, 4, 0, 53, tzinfo=UTC),
        ),
    ],
    ids=["open-02", "open-13", "open-14"],
)  # fmt: skip
async def test_a_real_meters_answer_is_read(
    frame: str, model: str, total: int, cold: int | None, clock: datetime | None
) -> None:
    raw = bytes.fromhex(frame)

    async def real(request: bytes, expected: Framing, /) -> bytes:
        taken, _ = expected.take(b"\xfe\xfe" + raw)
        assert taken is not None
        return taken

    seen = await driver_of(profile_of(model), raw[8:1:-1].hex(), real).read()
    assert (seen.total, seen.cold_wh, seen.meter_clock) == (total, cold, clock)


@pytest.mark.parametrize("unit", [0x05, 0x35, 0x7F])
async def test_a_volume_in_no_unit_of_volume_is_no_reading(
    store: MeterStore, clock: SetClock, unit: int
) -> None:
    wire = Wire([water(store, clock)], clock)

    async def other(request: bytes, expected: Framing, /) -> bytes:
        body = bytearray((await wire(request, expected)).lstrip(b"\xfe"))
        body[18] = unit
        body[-2] = sum(body[:-2]) & 0xFF
        return bytes(body)

    with pytest.raises(BadValue):
        await driver_of(profile_of(VALVES[0]), ADDRESS_188, other).read()


async def test_a_valve_order_is_exactly_the_public_frame() -> None:
    """cjt188-open-07 and -11, but for their sequence number 01: ours is 00."""
    sent: list[bytes] = []

    async def record(request: bytes, expected: Framing, /) -> bytes:
        sent.append(request.lstrip(b"\xfe"))
        return bytes.fromhex("68 10 69 05 90 05 15 33 78 84 05 A0 17 00 00 00 7B 16")

    driver = driver_of(profile_of(VALVES[0]), "78331505900569", record)
    await driver.close()
    await driver.trip()
    head = "68 10 69 05 90 05 15 33 78 04 04 A0 17 00 "
    assert sent == [bytes.fromhex(head + "55 4F 16"), bytes.fromhex(head + "99 93 16")]


@pytest.mark.parametrize(
    ("model", "question"),
    [
        # cjt188-open-01 with the identifier the other way round, and as type 20 (the sum is 10h more).
        ("GENERIC-188-WATER", "68 10 44 33 22 11 00 33 78 01 03 90 1F 00 80 16"),
        ("GENERIC-188-HEATCOLD", "68 20 44 33 22 11 00 33 78 01 03 1F 90 00 90 16"),
    ],
)
async def test_the_identifier_goes_out_in_the_models_own_order(model: str, question: str) -> None:
    async def record(request: bytes, expected: Framing, /) -> bytes:
        assert request == b"\xfe" * 4 + bytes.fromhex(question)
        raise NoAnswer("enough")

    with pytest.raises(NoAnswer):
        await driver_of(profile_of(model), "78330011223344", record).read()


async def _nothing_sent(request: bytes, expected: Framing, /) -> bytes:
    raise AssertionError("something was sent")
