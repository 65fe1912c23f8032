"""Every Modbus model that ships, on its virtual meter over a real socket: read, sold to, switched, set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from backend.kernel.clock import SetClock
from backend.kernel.errors import Conflict
from backend.kernel.money import Money
from workers.drivers.modbus import ModbusDriver, decode_snapshot
from workers.drivers.modbus_reading import WrongModel, blocks_to_read, check_reading
from workers.drivers.ports import Relay, Thresholds
from workers.links.tcp import TcpLink
from workers.profiles.loader import (
    PROFILE_DIR,
    load_profile,
    profile_of,
    shipped_profiles,
)
from workers.profiles.modbus_map import ModbusMap
from workers.protocols import modbus
from workers.protocols.errors import BadValue, MeterRefused
from workers.protocols.framing import Framing
from workers.virtual.site import VirtualSite, parse_site

from .conftest import FAST, START

MODELS = [p.model for p in shipped_profiles().values() if isinstance(p.map, ModbusMap)]
SOLD = [model for model in MODELS if profile_of(model).holds_money]
SWITCHED = [model for model in MODELS if profile_of(model).switches]


def _map(model: str) -> ModbusMap:
    layout = profile_of(model).map
    assert isinstance(layout, ModbusMap)
    return layout


def _type_code(model: str) -> int:
    identity = _map(model).identity
    assert identity is not None
    return identity.value


SET = [model for model in MODELS if _map(model).settings is not None]
FIFTY = Money.parse("50.00")


@dataclass
class Wall:
    """One meter of each model on one bus, units in the order of MODELS."""

    site: VirtualSite
    clock: SetClock
    link: TcpLink

    def driver(self, model: str) -> ModbusDriver:
        return ModbusDriver(profile_of(model), MODELS.index(model) + 1, self.link.exchange)

    async def registers(self, model: str, *names: str) -> dict[str, bytes]:
        """The register bytes of a model's blocks, as a driver would fetch them."""
        found = {}
        for block in blocks_to_read(_map(model), names or None):
            question = modbus.read_registers(
                unit=MODELS.index(model) + 1, address=block.address, count=block.count
            )
            frame = await self.link.exchange(question.request, question.expected)
            found[block.name] = modbus.registers_of(frame)
        return found


@pytest.fixture
async def wall(tmp_path: Path) -> AsyncIterator[Wall]:
    clock = SetClock(START)
    meters = [
        {
            "serial": f"2300000000{unit:02d}",
            "unit": unit,
            "model": model,
            "energy": "12000.00",
            "average_w": 9_000,
            "remaining": "20.00",
            "purchase_count": 4,
        }
        for unit, model in enumerate(MODELS, start=1)
    ]
    plan = parse_site({"gateways": [{"serial": "GW-1", "meters": meters}]})
    async with AsyncExitStack() as stack:
        site = VirtualSite(plan, data_dir=tmp_path, clock=clock)
        await stack.enter_async_context(site)
        link = TcpLink("127.0.0.1", site.gateways["GW-1"].port, timing=FAST)
        stack.push_async_callback(link.close)
        yield Wall(site, clock, link)


def test_these_models_ship() -> None:
    assert {
        "DDSY1352-NK", "DTSY1352-NK", "ADF300", "ADF300-3P", "ADM100", "ADF100",
        "ACR10R", "PZ96-E3", "ADL3000-E", "ADW300", "DTSD1352", "GENERIC-MODBUS",
    } <= set(MODELS)  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
async def test_a_reading_has_the_energy_that_the_meter_counts(wall: Wall, model: str) -> None:
    driver = wall.driver(model)
    first = await driver.read()
    assert first.total == 12_000_000
    wall.clock.advance(timedelta(minutes=30))
    later = await driver.read()
    meter, _ = wall.site.meters[f"2300000000{MODELS.index(model) + 1:02d}"]
    drawn = meter.state().shown_wh()[0] - 12_000_000
    assert drawn > 1000
    assert abs(later.total - first.total - drawn) < (1000 if model == "ACR10R" else 10)
    if later.power_w is not None:
        assert 1000 < later.power_w < 32_767
    if later.voltage_mv is not None:
        assert later.voltage_mv == 220_000
    if later.current_ma is not None and later.power_w is not None:
        # of one phase, at a power factor of 0.98
        expected = later.power_w * 1_000_000 // (220 * 980) // profile_of(model).phases
        assert abs(later.current_ma - expected) <= 100


@pytest.mark.parametrize("model", SOLD)
async def test_a_meter_that_holds_money_is_sold_to_and_reads_back(wall: Wall, model: str) -> None:
    driver = wall.driver(model)
    before = await driver.wallet()
    assert (before.remaining, before.purchase_count) == (Money.parse("20.00"), 4)
    await driver.credit(amount=FIFTY, purchase_count=5)
    after = await driver.wallet()
    assert (after.remaining, after.purchase_count) == (Money.parse("70.00"), 5)
    snapshot = await driver.read()
    assert (snapshot.remaining, snapshot.purchase_count) == (after.remaining, 5)
    with pytest.raises(MeterRefused):
        await driver.credit(amount=FIFTY, purchase_count=5)


@pytest.mark.parametrize("model", [model for model in MODELS if model not in SOLD])
async def test_a_meter_without_a_sale_is_never_sold_to(wall: Wall, model: str) -> None:
    with pytest.raises(Conflict):
        await wall.driver(model).credit(amount=FIFTY, purchase_count=1)


@pytest.mark.parametrize("model", SWITCHED)
async def test_a_switch_is_seen_in_the_next_reading(wall: Wall, model: str) -> None:
    driver = wall.driver(model)
    await driver.keep_power()
    assert (await driver.read()).relay is Relay.CLOSED
    await driver.trip()
    assert (await driver.read()).relay is Relay.OPEN
    await driver.release()
    assert (await driver.read()).relay is Relay.CLOSED
    with pytest.raises(Conflict):
        await driver.allow_close()


@pytest.mark.parametrize("model", ["DTSY1352-NK", "ADF300-3P"])
async def test_a_relay_whose_phases_differ_is_told_as_unknown(wall: Wall, model: str) -> None:
    layout, registers = _map(model), await wall.registers(model)
    place = layout.relay
    assert place is not None
    (begin,) = [block.address for block in layout.blocks if block.name == place.block]
    at = 2 * (place.register - begin)
    phases = [1 << bit for bit in range(16) if place.closed_mask >> bit & 1]
    seen = {}
    for closed in product((0, 1), repeat=len(phases)):
        block = bytearray(registers[place.block])
        word = int.from_bytes(block[at : at + 2], "big") & ~place.closed_mask
        word |= sum(phase for phase, is_closed in zip(phases, closed, strict=True) if is_closed)
        block[at : at + 2] = word.to_bytes(2, "big")
        seen[closed] = decode_snapshot(layout, {**registers, place.block: bytes(block)}).relay
    assert (seen.pop((1, 1, 1)), seen.pop((0, 0, 0))) == (Relay.CLOSED, Relay.OPEN)
    assert list(seen.values()) == [Relay.UNKNOWN] * 6


@pytest.mark.parametrize("model", [model for model in MODELS if model not in SWITCHED])
async def test_a_power_meter_has_no_relay(wall: Wall, model: str) -> None:
    driver = wall.driver(model)
    assert (await driver.read()).relay is Relay.UNKNOWN
    for order in (driver.trip, driver.keep_power, driver.release, driver.close):
        with pytest.raises(Conflict):
            await order()


@pytest.mark.parametrize("model", SET)
async def test_settings_are_read_back_as_they_were_written(wall: Wall, model: str) -> None:
    driver = wall.driver(model)
    prices = {"spike": 12_345, "peak": 9_876, "flat": 6_543, "valley": 3_210}
    await driver.write_prices(prices)
    assert await driver.prices() == prices
    settings = _map(model).settings
    assert settings is not None
    has_overdraft = "overdraft" in settings.values
    wanted = Thresholds(
        alarm1=Money.parse("15.00"),
        alarm2=Money.parse("7.50"),
        overdraft=Money.parse("3.00") if has_overdraft else None,
        overload_w=8000,
    )
    await driver.write_thresholds(wanted)
    assert await driver.thresholds() == wanted
    assert await driver.prices() == prices


@pytest.mark.parametrize("model", [model for model in MODELS if model not in SET])
async def test_a_meter_without_settings_says_so(wall: Wall, model: str) -> None:
    driver = wall.driver(model)
    for ask in (driver.prices, driver.thresholds, driver.calendar):
        with pytest.raises(Conflict):
            await ask()


@pytest.mark.parametrize("model", [model for model in MODELS if _map(model).identity])
async def test_a_meter_of_another_type_is_told_apart_before_a_number_is_believed(
    wall: Wall, model: str
) -> None:
    other = next(sold for sold in SOLD if _type_code(sold) != _type_code(model))
    there = MODELS.index(other) + 1
    with pytest.raises(WrongModel, match=f"{model} is type") as wrong:
        await ModbusDriver(profile_of(model), there, wall.link.exchange).read()
    assert (wrong.value.expected, wrong.value.found) == (_type_code(model), _type_code(other))


async def test_a_meter_that_refuses_the_prepaid_poll_is_read_by_the_vendors_own_table(
    wall: Wall,
) -> None:
    async def old_firmware(request: bytes, expected: Framing, /) -> bytes:
        if request[2:4] == b"\x02\x00":  # as if it had no such block: ask for one it has not
            gone = modbus.read_registers(unit=request[0], address=0x0700, count=48)
            return await wall.link.exchange(gone.request, gone.expected)
        return await wall.link.exchange(request, expected)

    unit = MODELS.index("DDSY1352-NK") + 1
    snapshot = await ModbusDriver(profile_of("DDSY1352-NK"), unit, old_firmware).read()
    assert (snapshot.total, snapshot.voltage_mv) == (12_000_000, 220_000)
    assert snapshot.remaining is None
    assert snapshot.relay is Relay.UNKNOWN
    # Where nothing can take its place, the refusal is told.
    unit = MODELS.index("ADF300") + 1
    with pytest.raises(MeterRefused):
        await ModbusDriver(profile_of("ADF300"), unit, old_firmware).read()


async def test_a_block_that_is_not_read_by_default_can_be_asked_for(wall: Wall) -> None:
    blocks = await wall.registers("DTSY1352-NK", "measurement", "deep")
    assert list(blocks) == ["poll", "measurement", "deep"]
    snapshot = decode_snapshot(_map("DTSY1352-NK"), blocks)
    assert snapshot.total == 12_000_000
    assert snapshot.bands["deep"] == 0


async def test_a_transformer_ratio_of_zero_is_an_error_and_no_reading(wall: Wall) -> None:
    layout = _map("DTSY1352-NK")
    poll = bytearray((await wall.registers("DTSY1352-NK"))["poll"])
    poll[2 * 0x14 : 2 * 0x15] = b"\0\0"
    with pytest.raises(BadValue, match="CT ratio"):
        check_reading(layout, {"poll": bytes(poll)}, model="DTSY1352-NK")


@pytest.mark.parametrize(
    ("model", "ct", "pt"),
    [
        ("DTSY1352-NK", 40, 1),
        ("DTSY1352-NK", 20, 100),
        ("ADL3000-E", 60, 1),
        ("PZ96-E3", 80, 10),
    ],
)
async def test_behind_transformers_primary_values_are_stored(
    tmp_path: Path, model: str, ct: int, pt: int
) -> None:
    clock = SetClock(START)
    meter = {
        "serial": "1", "unit": 9, "model": model, "energy": "480000.00", "remaining": "20.00",
        "average_w": 90_000, "ct": ct, "pt": pt,
    }  # fmt: skip
    plan = parse_site({"gateways": [{"serial": "G", "meters": [meter]}]})
    async with VirtualSite(plan, data_dir=tmp_path, clock=clock) as site:
        link = TcpLink("127.0.0.1", site.gateways["G"].port, timing=FAST)
        driver = ModbusDriver(profile_of(model), 9, link.exchange)
        question = modbus.read_registers(
            unit=9,
            address=next(f.register for f in _map(model).fields if f.target == "total"),
            count=2,
        )
        raw = modbus.registers_of(await link.exchange(question.request, question.expected))
        snapshot = await driver.read()
        await link.close()
    unit = 1 if model == "PZ96-E3" else 10
    assert int.from_bytes(raw, "big") == 480_000_000 // (ct * pt) // unit  # the secondary value
    assert snapshot.total == 480_000_000
    power = site.meters["1"][0].spec.load.power_w(int(START.timestamp()) // 900)
    if snapshot.power_w is not None:
        assert abs(snapshot.power_w - power) < ct * pt
    if snapshot.voltage_mv is not None and model == "DTSY1352-NK":
        assert snapshot.voltage_mv == 220_000 * pt


async def test_ratios_and_parts_of_a_unit_that_a_site_sets_are_whole_numbers_rounded_down(
    tmp_path: Path,
) -> None:
    text = (PROFILE_DIR / "generic-modbus.toml").read_text("utf-8")
    for right, mine in (
        ("multiply = 10\n", "multiply = 1\n"),
        ("divide = 1\n", "divide = 10\n"),  # 0.1 Wh
        ("ct = { fixed = 1 }", "ct = { fixed = 40 }"),
        ("pt = { fixed = 1 }", "pt = { fixed = 3 }"),
    ):
        assert right in text
        text = text.replace(right, mine, 1)
    path = tmp_path / "site.toml"
    path.write_text(text, "utf-8")
    layout = load_profile(path).map
    assert isinstance(layout, ModbusMap)
    for raw, wh in ((0, 0), (1, 12), (7, 84), (1_234_567, 14_814_804), (2**32 - 1, 51_539_607_540)):
        registers = raw.to_bytes(4, "big")
        assert decode_snapshot(layout, {"energy": registers}).total == wh
    text = text.replace("ct = { fixed = 40 }", "ct = { fixed = 1 }")
    path.write_text(text.replace("pt = { fixed = 3 }", "pt = { fixed = 1 }"), "utf-8")
    layout = load_profile(path).map
    assert isinstance(layout, ModbusMap)
    for raw, wh in ((9, 0), (10, 1), (19, 1)):
        assert decode_snapshot(layout, {"energy": raw.to_bytes(4, "big")}).total == wh


async def test_a_site_that_sets_the_ratio_of_its_own_dtsd1352_reads_primary_values(
    tmp_path: Path,
) -> None:
    text = (PROFILE_DIR / "dtsd1352.toml").read_text("utf-8")
    path = tmp_path / "copy.toml"
    path.write_text(text.replace("ct = { fixed = 1 }", "ct = { fixed = 40 }"), "utf-8")
    meter = {"serial": "1", "unit": 3, "model": "DTSD1352", "energy": "480000.00", "ct": 40}
    plan = parse_site({"gateways": [{"serial": "G", "meters": [meter]}]})
    async with VirtualSite(plan, data_dir=tmp_path, clock=SetClock(START)) as site:
        link = TcpLink("127.0.0.1", site.gateways["G"].port, timing=FAST)
        right = await ModbusDriver(load_profile(path), 3, link.exchange).read()
        raw = await ModbusDriver(profile_of("DTSD1352"), 3, link.exchange).read()
        await link.close()
    assert (right.total, raw.total) == (480_000_000, 12_000_000)
