"""What goes wrong with meters on a wall: a clock that drifts, a counter that wraps, a meter that was
replaced, a count that does not agree, days without a word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.kernel.money import Money
from workers.drivers.ports import Wallet
from workers.links.errors import NoAnswer
from workers.protocols import modbus
from workers.protocols.errors import MeterRefused
from workers.virtual.control import control_app
from workers.virtual.site import VirtualSite, parse_site

from .conftest import PLAN, START, Field

SERIAL = "230000000001"
DAY = timedelta(days=1)


@pytest.fixture
async def page(field: Field) -> AsyncIterator[httpx.AsyncClient]:
    """The site's control page, without the port."""
    transport = httpx.ASGITransport(app=control_app(field.site))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        yield client


async def _fault(page: httpx.AsyncClient, **faults: int) -> dict[str, Any]:
    answer = await page.post(f"/meters/{SERIAL}/faults", json=faults)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def _mishap(page: httpx.AsyncClient, **what: Any) -> httpx.Response:
    return await page.post(f"/meters/{SERIAL}/mishaps", json=what)


async def test_a_clock_that_is_off_and_drifts_is_read_as_it_runs(
    field: Field, page: httpx.AsyncClient
) -> None:
    driver = field.driver()
    await _fault(page, clock_offset_s=-120)
    assert (await driver.read()).meter_clock == START - timedelta(seconds=120)
    await _fault(page, clock_drift_s=30)
    field.clock.advance(10 * DAY)
    clock = (await driver.read()).meter_clock
    assert clock == field.clock.now() + timedelta(seconds=300 - 120)
    shown = (await page.get(f"/meters/{SERIAL}")).json()
    assert shown["clock_off_s"] == 180
    await driver.write_clock(field.clock.now())
    assert (await driver.read()).meter_clock == field.clock.now()
    field.clock.advance(2 * DAY)
    assert (await driver.read()).meter_clock == field.clock.now() + timedelta(seconds=60)


async def test_a_counter_near_its_end_wraps_to_zero_and_goes_on(
    field: Field, page: httpx.AsyncClient
) -> None:
    driver = field.driver()
    await _mishap(page, action="rollover", left_wh=2_000)
    before = await driver.read()
    assert before.total == 999_998_000
    field.clock.advance(timedelta(hours=12))
    after = await driver.read()
    assert after.total < 100_000
    used = after.total + 1_000_000_000 - before.total
    spent = (before.remaining or Money(0)) - (after.remaining or Money(0))
    assert abs(spent.hao - used * 6) <= 220  # the wrap costs nothing and gives nothing away


async def test_a_replaced_meter_has_another_number_and_begins_at_zero(
    tmp_path: Path, field: Field, page: httpx.AsyncClient
) -> None:
    driver = field.driver()
    await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
    await _mishap(page, action="replace", number="230000000777")
    snapshot = await driver.read()
    assert (snapshot.total, snapshot.remaining, snapshot.purchase_count) == (0, Money(0), 0)
    number = modbus.read_registers(unit=1, address=0x0362, count=3)
    frame = await field.link.exchange(number.request, number.expected)
    assert modbus.registers_of(frame).hex() == "230000000777"
    # The new meter's count begins again, and so do its sales: the old ones are not overwritten.
    for count in range(1, 6):
        await driver.credit(amount=Money.parse("10.00"), purchase_count=count)
    assert await driver.wallet() == Wallet(Money.parse("50.00"), 5)
    assert len(await field.meter().sales(limit=20)) == 6
    await field.site.stop()
    async with VirtualSite(parse_site(PLAN), data_dir=tmp_path, clock=field.clock) as site:
        assert site.meters[SERIAL][0].state().number == "230000000777"


async def test_a_count_that_is_off_refuses_the_sale_that_the_cloud_would_make(
    field: Field, page: httpx.AsyncClient
) -> None:
    driver = field.driver()
    await _fault(page, count_off=2)
    assert (await driver.wallet()).purchase_count == 6
    with pytest.raises(MeterRefused):
        await driver.credit(amount=Money.parse("10.00"), purchase_count=5)
    assert await driver.wallet() == Wallet(Money.parse("20.00"), 6)
    await driver.credit(amount=Money.parse("10.00"), purchase_count=7)
    assert await driver.wallet() == Wallet(Money.parse("30.00"), 7)
    await _fault(page, count_off=-1)
    assert (await driver.wallet()).purchase_count == 4


async def test_offline_days_end_by_themselves_and_the_meter_went_on_counting(
    field: Field, page: httpx.AsyncClient
) -> None:
    driver = field.driver()
    before = await driver.read()
    await _fault(page, silent_until=int((START + 3 * DAY).timestamp()))
    with pytest.raises(NoAnswer):
        await driver.read()
    field.clock.advance(3 * DAY - timedelta(seconds=1))
    with pytest.raises(NoAnswer):
        await driver.read()
    field.clock.advance(timedelta(seconds=1))
    assert (await driver.read()).total > before.total + 10_000


async def test_the_page_refuses_what_makes_no_sense(page: httpx.AsyncClient) -> None:
    for faults in ({"delay_ms": -1}, {"silent": 1}, {"clock_offset_s": "1"}, {"nonsense": 1}, [1]):
        answer = await page.post(f"/meters/{SERIAL}/faults", json=faults)
        assert answer.status_code == 422, faults
    for what in (
        {"action": "explode"},
        {"action": "rollover"},
        {"action": "rollover", "left_wh": 2_000_000_000},
        {"action": "rollover", "left_wh": "x"},
        {"action": "replace"},
        {},
    ):
        assert (await _mishap(page, **what)).status_code == 422, what
    assert (await page.post("/meters/7/mishaps", json={})).status_code == 404
    shown = (await page.get(f"/meters/{SERIAL}")).json()
    assert (shown["purchase_count"], shown["number"]) == (4, SERIAL)
