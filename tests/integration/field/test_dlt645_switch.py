"""The relay of a DL/T 645 meter by command (A20), over a real socket: password, expiry, addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.kernel.clock import SetClock
from backend.kernel.errors import Conflict, InvalidInput
from workers.drivers.access import Access, PasswordNotConfigured
from workers.drivers.dlt645 import Dlt645Driver
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver, Relay
from workers.links.errors import NoAnswer
from workers.profiles.dlt645_map import Dlt645Map
from workers.profiles.loader import profile_of
from workers.protocols.errors import MeterRefused
from workers.protocols.framing import Framing
from workers.virtual.dlt645_meter import Virtual645

from .bus_world import ADDRESS_645, START_S, Bus, Wire, electric, served, store_in

MODEL = "GENERIC-645-2007"
SECRET = bytes.fromhex("563412")


class Field:
    """A meter with a password of its own, on a bus."""

    def __init__(self, bus: Bus, meter: Virtual645) -> None:
        self.bus = bus
        self.meter = meter

    def driver(self, password: bytes = SECRET, *, behind: timedelta = timedelta(0)) -> Driver:
        clock = SetClock(self.bus.clock.now() - behind)
        access = Access(clock=clock, passwords={2: password})
        return driver_of(profile_of(MODEL), ADDRESS_645, self.bus.link.exchange, access)

    async def relay(self) -> Relay:
        return (await self.driver().read()).relay


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    clock, store = SetClock(datetime.fromtimestamp(START_S, UTC)), store_in(tmp_path)
    meter = electric(store, clock, passwords={2: SECRET, 4: SECRET})
    async with served([meter], clock=clock, store=store) as bus:
        yield Field(bus, meter)


async def test_a_tripped_relay_is_closed_at_once(field: Field) -> None:
    await field.driver().trip()
    assert await field.relay() is Relay.OPEN
    await field.driver().close()
    assert await field.relay() is Relay.CLOSED


async def test_a_relay_that_may_be_closed_waits_for_the_customers_key(field: Field) -> None:
    await field.driver().trip()
    await field.driver().allow_close()
    assert await field.relay() is Relay.OPEN
    field.meter.act("press_key", {})
    assert await field.relay() is Relay.CLOSED


async def test_keep_power_refuses_a_trip_until_it_is_released(field: Field) -> None:
    await field.driver().keep_power()
    with pytest.raises(MeterRefused):
        await field.driver().trip()
    assert await field.relay() is Relay.CLOSED
    await field.driver().release()
    await field.driver().trip()
    assert await field.relay() is Relay.OPEN


async def test_a_wrong_password_is_refused_in_words_and_moves_nothing(field: Field) -> None:
    with pytest.raises(MeterRefused, match="password wrong / not authorised") as refused:
        await field.driver(b"\x00\x00\x00").trip()
    assert refused.value.refusal == 4
    assert await field.relay() is Relay.CLOSED


async def test_the_factory_password_is_taken_when_the_caller_gives_none(tmp_path: Path) -> None:
    clock = SetClock(datetime.fromtimestamp(START_S, UTC))
    meter = electric(store_in(tmp_path), clock)
    driver = driver_of(profile_of(MODEL), ADDRESS_645, Wire([meter], clock), Access(clock=clock))
    await driver.trip()
    assert (await driver.read()).relay is Relay.OPEN


async def test_a_level_without_any_password_is_told_before_anything_is_sent() -> None:
    profile = profile_of(MODEL)
    assert isinstance(profile.map, Dlt645Map)
    bare = replace(profile, map=replace(profile.map, passwords={}))
    with pytest.raises(PasswordNotConfigured, match="level 02"):
        await Dlt645Driver(bare, ADDRESS_645, _nothing_sent).trip()


async def test_an_order_that_is_too_old_is_refused(field: Field) -> None:
    """An order that lay in a gateway for six minutes: its valid-until has passed."""
    with pytest.raises(MeterRefused, match="refused function 1C: other"):
        await field.driver(behind=timedelta(minutes=6)).trip()
    assert await field.relay() is Relay.CLOSED
    await field.driver(behind=timedelta(minutes=4)).trip()
    assert await field.relay() is Relay.OPEN


async def test_a_lost_answer_to_a_trip_is_told_by_the_next_reading(field: Field) -> None:
    field.meter.faults.drop_write_answers = 1
    with pytest.raises(NoAnswer):
        await field.driver().trip()
    assert await field.relay() is Relay.OPEN


@pytest.mark.parametrize(
    "address",
    ["999999999999", "AAAAAAAAAAAA", "AAAAAAAAAA45", "12345", "23000000064５", "2300000006456"],
)
async def test_an_address_that_more_than_one_meter_hears_gets_no_driver(address: str) -> None:
    with pytest.raises(InvalidInput):
        driver_of(profile_of(MODEL), address, _nothing_sent)


async def test_what_the_model_has_not_is_a_conflict_and_nothing_is_sent() -> None:
    driver = driver_of(profile_of("GENERIC-645-1997"), ADDRESS_645, _nothing_sent)
    for refused in (driver.trip, driver.wallet, driver.prices, driver.thresholds, driver.calendar):
        with pytest.raises(Conflict):
            await refused()
    with pytest.raises(Conflict):
        await driver.write_clock(datetime.fromtimestamp(START_S, UTC))


@pytest.mark.parametrize(
    ("state", "password", "operator", "until", "frame"),
    [
        # dlt645-07-open-17, a real one: allow close.
        (
            "allow_close", "370602", "01000000", "2099-12-30 00:00:00",
            "68 61 10 01 30 12 15 68 1C 10 35 6A 39 35 34 33 33 33 4E 33 33 33 33 63 45 CC 2D 16",
        ),
        # con-open-04 and -05, constructed: keep power and its release.
        (
            "keep_power", "000000", "00000000", "2099-12-31 00:00:00",
            "68 01 00 00 00 00 00 68 1C 10 35 33 33 33 33 33 33 33 6D 33 33 33 33 64 45 CC 45 16",
        ),
        (
            "release", "000000", "00000000", "2099-12-31 00:00:00",
            "68 01 00 00 00 00 00 68 1C 10 35 33 33 33 33 33 33 33 6E 33 33 33 33 64 45 CC 46 16",
        ),
    ],
)  # fmt: skip
async def test_an_order_is_exactly_the_public_frame(
    state: str, password: str, operator: str, until: str, frame: str
) -> None:
    wanted = bytes.fromhex(frame)
    sent: list[bytes] = []

    async def record(request: bytes, expected: Framing, /) -> bytes:
        sent.append(request)
        head = wanted[:8] + bytes([0x9C, 0])
        return head + bytes([sum(head) & 0xFF, 0x16])

    valid_until = datetime.fromisoformat(f"{until}+08:00").astimezone(UTC)
    access = Access(
        clock=SetClock(valid_until - timedelta(minutes=5)),
        passwords={2: bytes.fromhex(password)},
        operator=bytes.fromhex(operator),
    )
    address = wanted[6:0:-1].hex()
    await getattr(driver_of(profile_of(MODEL), address, record, access), state)()
    assert sent == [b"\xfe" * 4 + wanted]


def test_passwords_stay_out_of_what_is_printed() -> None:
    shown = repr(Access(passwords={2: SECRET}))
    assert repr(SECRET) not in shown
    assert SECRET.hex() not in shown


async def _nothing_sent(request: bytes, expected: Framing, /) -> bytes:
    raise AssertionError("something was sent")
