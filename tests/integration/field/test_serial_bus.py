"""Meters of three protocols on one serial line: read, sold to and switched as over any other link."""

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
from workers.links.errors import LinkDown, NoAnswer
from workers.links.serial import EchoHeard, SerialLink
from workers.links.serial_port import SerialPort
from workers.profiles.loader import profile_of
from workers.virtual.bus import VirtualBus
from workers.virtual.models import PLANNERS
from workers.virtual.serial_line import VirtualSerialLine

from .bus_world import ADDRESS_188, ADDRESS_645, START_S, electric, key_machine, store_in, water

MODBUS, ESAM, VALVE = "DDSY1352-NK", "GENERIC-645-2007-ESAM", "JICHENG-188-VALVE"
PLACES = {MODBUS: "1", ESAM: ADDRESS_645, VALVE: ADDRESS_188}


class Line:
    """The meters, the terminal before them, and the link of whoever asks."""

    def __init__(self, folder: Path) -> None:
        self.clock, store = SetClock(datetime.fromtimestamp(START_S, UTC)), store_in(folder)
        master, machine = key_machine()
        table = {"serial": "M-1", "unit": 1, "remaining": "20.00", "purchase_count": 4}
        modbus = PLANNERS[MODBUS](table).build(store, self.clock)
        self.meters = [modbus, electric(store, self.clock, master), water(store, self.clock)]
        self.terminal = VirtualSerialLine(VirtualBus(self.meters, clock=self.clock))
        self.access = Access(clock=self.clock, cipher=machine)
        self.terminal.start()
        self.use()

    def use(self, *, echo: bool = False) -> None:
        port = SerialPort(self.terminal.path, 9600, "even", echo=echo)
        self.link = SerialLink(port, answer_s=0.5, drain_s=0.1)

    def driver(self, model: str) -> Driver:
        return driver_of(profile_of(model), PLACES[model], self.link.exchange, self.access)


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    made = Line(tmp_path)
    yield made
    await made.link.close()
    await made.terminal.stop()


async def read_all(line: Line) -> list[int]:
    return [(await line.driver(model).read()).total for model in PLACES]


async def test_three_protocols_are_read_in_turns_on_one_line(line: Line) -> None:
    for _ in range(2):
        modbus, electricity, volume = await read_all(line)
        assert (modbus, electricity, volume) == (0, 1_234_560, 1_234_560)


@pytest.mark.parametrize("model", [MODBUS, ESAM])
async def test_a_meter_is_sold_to_once_by_its_number(line: Line, model: str) -> None:
    driver = line.driver(model)
    assert await driver.wallet() == Wallet(Money.parse("20.00"), 4)
    await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
    assert await driver.wallet() == Wallet(Money.parse("70.00"), 5)


@pytest.mark.parametrize("model", [MODBUS, ESAM])
async def test_a_sale_whose_answer_is_cut_off_is_in_the_meter_and_its_count_tells(
    line: Line, model: str
) -> None:
    meter = line.meters[list(PLACES).index(model)]
    driver = line.driver(model)
    await driver.wallet()
    meter.faults.drop_write_answers = 1
    with pytest.raises(NoAnswer):
        await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
    assert await line.driver(model).wallet() == Wallet(Money.parse("70.00"), 5)


@pytest.mark.parametrize("model", list(PLACES))
async def test_a_relay_or_valve_is_switched_and_says_so(line: Line, model: str) -> None:
    driver = line.driver(model)
    await driver.trip()
    line.clock.advance(timedelta(minutes=1))  # a valve takes its time to turn
    assert (await driver.read()).relay is Relay.OPEN
    await (driver.release() if model == MODBUS else driver.close())
    line.clock.advance(timedelta(minutes=1))
    assert (await driver.read()).relay is Relay.CLOSED


async def test_a_silent_meter_keeps_the_line_from_nobody(line: Line) -> None:
    line.meters[0].faults.silent = True
    with pytest.raises(NoAnswer):
        await line.driver(MODBUS).read()
    assert (await line.driver(ESAM).read()).total == 1_234_560
    line.meters[0].faults.silent = False
    assert (await line.driver(MODBUS).read()).purchase_count == 4


async def test_noise_on_the_line_before_and_between_costs_nothing(line: Line) -> None:
    for model in PLACES:
        await line.terminal.say(b"\x00\xff\x7f")
        assert (await line.driver(model).read()).total >= 0


async def test_an_echoing_adapter_is_read_sold_to_and_switched_when_the_port_says_so(
    line: Line,
) -> None:
    line.terminal.echo = True
    line.use(echo=True)
    assert await read_all(line) == [0, 1_234_560, 1_234_560]
    driver = line.driver(MODBUS)
    await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
    assert await driver.wallet() == Wallet(Money.parse("70.00"), 5)
    await driver.trip()
    assert (await driver.read()).relay is Relay.OPEN


async def test_an_echo_that_nobody_told_of_is_named_and_sells_nothing_twice(line: Line) -> None:
    line.terminal.echo = True
    driver = line.driver(MODBUS)
    with pytest.raises(EchoHeard, match="set echo = true"):
        await driver.read()
    with pytest.raises(EchoHeard):  # the meter took it: what came is only not its answer
        await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
    for model in (ESAM, VALVE):  # of these an echo is known by its direction
        assert (await line.driver(model).read()).total == 1_234_560
    line.terminal.echo = False
    assert await driver.wallet() == Wallet(Money.parse("70.00"), 5)


async def test_a_line_pulled_out_is_down_and_speaks_again_when_it_is_back(line: Line) -> None:
    await read_all(line)
    await line.terminal.stop()
    with pytest.raises((LinkDown, NoAnswer)):
        await line.driver(VALVE).read()
    with pytest.raises(LinkDown, match="is the adapter plugged in"):
        await line.driver(VALVE).read()
    line.terminal.start()
    line.use()
    assert await read_all(line) == [0, 1_234_560, 1_234_560]
