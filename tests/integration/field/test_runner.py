"""The virtual site as a process of its own: its control page, and its wallet after a kill."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from backend.kernel.clock import SetClock
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from workers.drivers.modbus import ModbusDriver
from workers.gateway.command import add_words
from workers.links.errors import LinkDown, NoAnswer
from workers.links.line import Timing
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.virtual.site import VirtualSite, load_site, parse_site

from .conftest import PLAN, START, Field

ROOT = Path(__file__).parents[3]
SERIAL = "230000000001"
# A process that has just begun, on a machine with other work: what is slow is not taken for dead.
PATIENT = Timing(answer_s=5.0, least_s=5.0, connect_s=5.0, drain_s=0.25, silence_s=0.0)


@asynccontextmanager
async def _process(
    folder: Path, plan: dict[str, Any] = PLAN
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    site = folder / "site.json"
    site.write_text(json.dumps(plan), "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.virtual", "--site", str(site), "--data", str(folder / "data"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            ports = json.loads(await process.stdout.readline())
        yield process, ports
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _driver(ports: dict[str, Any]) -> AsyncIterator[ModbusDriver]:
    link = TcpLink("127.0.0.1", ports["gateways"]["GW-1"], timing=PATIENT)
    yield ModbusDriver(profile_of("DDSY1352-NK"), 1, link.exchange)
    await link.close()


async def test_the_wallet_survives_a_kill_of_the_process(tmp_path: Path) -> None:
    async with _process(tmp_path) as (process, ports), _driver(ports) as driver:
        before = await driver.wallet()
        await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        with pytest.raises((NoAnswer, LinkDown)):
            await driver.wallet()
    async with _process(tmp_path) as (_, ports), _driver(ports) as driver:
        after = await driver.wallet()
    assert after.purchase_count == 5
    # The household goes on using power by the real clock, a few fen at most.
    assert Money.parse("49.90") <= after.remaining - before.remaining <= Money.parse("50.00")


async def test_a_kill_between_the_write_and_its_answer_keeps_the_sale(tmp_path: Path) -> None:
    async with _process(tmp_path) as (process, ports), _driver(ports) as driver:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['control']}") as page:
            faults = {"drop_write_answers": 1}
            await page.post(f"/meters/{SERIAL}/faults", json=faults)
        with pytest.raises(NoAnswer):
            await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
        process.kill()
        await process.wait()
    async with _process(tmp_path) as (_, ports), _driver(ports) as driver:
        assert (await driver.wallet()).purchase_count == 5


async def test_the_control_page_shows_a_meter_and_sets_its_faults(tmp_path: Path) -> None:
    async with _process(tmp_path) as (process, ports), _driver(ports) as driver:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['control']}") as page:
            await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
            shown = (await page.get(f"/meters/{SERIAL}")).json()
            assert shown["gateway"] == "GW-1"
            assert (shown["unit"], shown["purchase_count"], shown["relay"]) == (1, 5, "CLOSED")
            assert 6990 <= shown["remaining_fen"] <= 7000
            assert Money.parse(shown["remaining"]).fen == shown["remaining_fen"]
            assert shown["energy"].startswith("1234.5")
            assert [(s["purchase_count"], s["amount"]) for s in shown["sales"]] == [(5, "50.00")]
            assert len((await page.get("/meters")).json()) == 2

            faults = await page.post(f"/meters/{SERIAL}/faults", json={"silent": True})
            assert faults.json()["silent"] is True
            with pytest.raises(NoAnswer):
                await driver.wallet()
            await page.post(f"/meters/{SERIAL}/faults", json={"silent": False})
            assert (await driver.wallet()).purchase_count == 5

            await page.post("/gateways/GW-1/faults", json={"offline": True})
            with pytest.raises((LinkDown, NoAnswer)):
                await driver.wallet()
            await page.post("/gateways/GW-1/faults", json={"offline": False})
            assert (await driver.wallet()).purchase_count == 5

            wrong = await page.post(f"/meters/{SERIAL}/faults", json={"sillent": True})
            assert (wrong.status_code, "sillent" in wrong.json()["error"]) == (422, True)
            assert (await page.post("/meters/7/faults", json={})).status_code == 404
            assert (await page.get("/meters/7")).status_code == 404
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0


def test_a_wrong_site_file_names_the_key(tmp_path: Path) -> None:
    meter = {"serial": "1", "unit": 1}
    for tree, message in (
        ({}, "gateways"),
        ({"gateways": [{}]}, r"gateways\[0\].*serial"),
        ({"gateways": [{"serial": "G", "meters": [{"serial": "1", "unit": 300}]}]}, "unit"),
        ({"gateways": [{"serial": "G", "meters": [{**meter, "remaining": "1e9"}]}]}, "yuan"),
        ({"gateways": [{"serial": "G", "meters": [{**meter, "model": "X"}]}]}, "model"),
        ({"gateways": [{"serial": "G", "meters": [meter, {"serial": "2", "unit": 1}]}]}, "unit"),
        ({"gateways": [{"serial": g, "meters": [meter]} for g in "GH"]}, "same serial"),
    ):
        with pytest.raises(InvalidInput, match=message):
            parse_site(tree)
    path = tmp_path / "site.toml"
    path.write_text('[[gateways]]\nserial = "G"\n[[gateways.meters]]\nserial = "1"\nunit = 9\n')
    assert load_site(path)[0].meters[0].bus_address == "9"
    path.write_text("[[gateways]\n")
    with pytest.raises(InvalidInput, match="cannot be parsed"):
        load_site(path)


def test_the_field_works_on_uvloop_too(tmp_path: Path) -> None:
    async def vend() -> int:
        async with VirtualSite(parse_site(PLAN), data_dir=tmp_path, clock=SetClock(START)) as site:
            link = TcpLink("127.0.0.1", site.gateways["GW-1"].port, timing=PATIENT)
            driver = ModbusDriver(profile_of("DDSY1352-NK"), 1, link.exchange)
            await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
            count = (await driver.wallet()).purchase_count
            await link.close()
            return count

    assert uvloop.run(vend()) == 5


async def test_faults_last_as_often_as_told(field: Field) -> None:
    field.meter().faults.corrupt_answers = 2
    for _ in range(2):
        with pytest.raises(Exception, match="CRC"):
            await field.driver().wallet()
    assert (await field.driver().wallet()).purchase_count == 4


async def test_a_newcomer_tries_meters_on_a_serial_line_without_hardware_and_without_a_cloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan: dict[str, Any] = deepcopy(PLAN)
    plan["gateways"][0]["serial_line"] = True
    for meter in plan["gateways"][0]["meters"]:
        meter["average_w"] = 0  # on a slow machine it would show 19.99 by the time it is read
    async with _process(tmp_path, plan) as (_, told):
        device = told["lines"]["GW-1"]
        file = tmp_path / "box.toml"
        meters = [
            f'[[meters]]\nserial = "M-{unit}"\nmodel = "DDSY1352-NK"\nbus = 1\naddress = "{unit}"\n'
            for unit in (1, 2, 3)
        ]
        file.write_text(f'[[buses]]\nnumber = 1\ndevice = "{device}"\n' + "".join(meters))
        code, lines = await asyncio.to_thread(_try, file, capsys)
        assert lines[0] == f"bus 1: {device}, 9600 8N1"
        assert lines[1].startswith("  M-1: DDSY1352-NK, 1234560 Wh, 20.00 yuan, relay CLOSED")
        assert lines[3] == "  M-3: NO_ANSWER, no answer in time", "nobody is there"
        assert (code, len(lines)) == (1, 4)
    code, lines = await asyncio.to_thread(_try, file, capsys)
    assert (code, len(lines)) == (1, 2)
    assert f"{device} is not there" in lines[1]


def _try(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """`shuidian gateway try`: its exit code and lines."""
    parser = argparse.ArgumentParser()
    add_words(parser)
    options = parser.parse_args(["try", str(file)])
    code = options.run(options)
    return code, capsys.readouterr().out.splitlines()
