"""Acrel's own boxes: the same drivers read and credit the same meters through their wrappings."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from backend.kernel.money import Money
from workers.drivers.ports import Driver
from workers.links.dialin.ports import DialInRow, Report, Upload
from workers.virtual.dialin import Virtual4gMeter, VirtualAcrelGateway

from .yard import WITHIN_S, Yard

SERIAL = "12307210720085"


@pytest.fixture
async def meter(yard: Yard) -> AsyncIterator[Virtual4gMeter]:
    """A 4G meter that has not dialled yet."""
    made = Virtual4gMeter(server=yard.server("ACREL_4G"), bus=yard.bus(), serial=SERIAL)
    yield made
    await made.hang_up()


def gateway_of(yard: Yard, secret: str) -> VirtualAcrelGateway:
    """An Acrel gateway that has not dialled yet."""
    server = yard.server("ACREL_GATEWAY")
    return VirtualAcrelGateway(server=server, bus=yard.bus(), gateway_id="GW-001", secret=secret)


async def bought(driver: Driver) -> Money:
    """What the meter holds after a sale of 50 yuan."""
    before = await driver.wallet()
    await driver.credit(amount=Money.parse("50.00"), purchase_count=before.purchase_count + 1)
    after = await driver.wallet()
    assert after.purchase_count == before.purchase_count + 1
    return after.remaining


async def test_a_4g_meter_registers_and_is_read_and_credited(
    yard: Yard, meter: Virtual4gMeter
) -> None:
    row = yard.allow(SERIAL.encode(), link="ACREL_4G")
    await meter.dial()
    async with asyncio.timeout(WITHIN_S):
        await meter.accepted.wait()
    meter.beat()
    driver = yard.driver(row)
    assert (await driver.read()).total == 1_001_500
    assert await bought(driver) == Money.parse("61.00")


async def test_what_a_4g_meter_sends_unasked_is_handed_on_and_it_is_told_the_time(
    yard: Yard, meter: Virtual4gMeter
) -> None:
    row = yard.allow(SERIAL.encode(), link="ACREL_4G")
    await meter.dial()
    await yard.told.until("connected")
    sent = await meter.upload(unit=2)
    assert await yard.told.until("uploaded") == ("uploaded", row, Upload(2, sent))
    async with asyncio.timeout(WITHIN_S):
        await meter.stored.wait()
        meter.ask_time()
        assert await meter.times.get() == "2026-11-22 10:00:00"


async def test_a_4g_serial_that_is_not_on_the_list_gets_no_answer(
    yard: Yard, meter: Virtual4gMeter
) -> None:
    yard.allow(b"99999999999999", link="ACREL_4G")
    await meter.dial()
    async with asyncio.timeout(WITHIN_S):
        await meter.ended.wait()
    assert (await yard.told.until("unknown"))[2] == SERIAL.encode()
    assert not meter.accepted.is_set()


@pytest.fixture
def secret() -> str:
    """Sixteen characters, made for this run."""
    return secrets.token_hex(8)


@pytest.fixture
async def gateway(yard: Yard, secret: str) -> AsyncIterator[VirtualAcrelGateway]:
    """An Acrel gateway with the right secret."""
    made = gateway_of(yard, secret)
    yield made
    await made.hang_up()


@pytest.fixture
def row(yard: Yard, secret: str) -> DialInRow:
    """The Acrel gateway on the list."""
    return yard.allow(b"GW-001", link="ACREL_GATEWAY", secret=secret)


async def test_an_acrel_gateway_proves_its_secret_and_its_meters_are_read_and_credited(
    yard: Yard, gateway: VirtualAcrelGateway, row: DialInRow
) -> None:
    await gateway.dial()
    async with asyncio.timeout(WITHIN_S):
        assert await gateway.results.get() == "pass"
        gateway.beat()
        assert await gateway.times.get() == "20261122100000"
    driver = yard.driver(row, unit=2)
    assert (await driver.read()).total == 1_002_500
    assert await bought(driver) == Money.parse("62.00")


async def test_an_acrel_gateway_with_a_wrong_secret_is_told_fail_and_is_no_line(
    yard: Yard, row: DialInRow
) -> None:
    impostor = gateway_of(yard, secrets.token_hex(8))
    await impostor.dial()
    async with asyncio.timeout(WITHIN_S):
        assert await impostor.results.get() == "fail"
        await impostor.ended.wait()
    _, refused, _, reason = await yard.told.until("refused")
    assert (refused, reason) == (row, "wrong secret")
    assert yard.lines.get(row.gateway_id) is None
    await impostor.hang_up()


async def test_an_impostor_does_not_push_the_right_gateway_off_its_line(
    yard: Yard, gateway: VirtualAcrelGateway, row: DialInRow
) -> None:
    await gateway.dial()
    await yard.told.until("connected")
    impostor = gateway_of(yard, secrets.token_hex(8))
    await impostor.dial()
    await yard.told.until("refused")
    await impostor.hang_up()
    assert (await yard.driver(row).read()).total == 1_001_500
    assert not gateway.ended.is_set()


@pytest.mark.parametrize("deflated", [False, True])
async def test_what_an_acrel_gateway_reports_is_handed_on_and_bad_reports_do_not_end_its_line(
    yard: Yard, gateway: VirtualAcrelGateway, row: DialInRow, deflated: bool
) -> None:
    await gateway.dial()
    await yard.told.until("connected")
    gateway.report(meter="<!DOCTYPE", values={}, deflated=deflated)
    assert (await yard.told.until("broken"))[1] == row
    gateway.report(meter="01001", values={"WPP": "123.45"}, deflated=deflated)
    _, sender, report = await yard.told.until("uploaded")
    assert (sender, report) == (row, Report("01001", {"WPP": "123.45"}))
