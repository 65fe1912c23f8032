"""The list of meters as a file: of one's own project, for two minutes, with nothing in it that computes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as Xml
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from zipfile import ZipFile

import httpx
import pytest
from starlette.applications import Starlette

from backend.audit.queries import entries
from backend.control.state_rules import MARKS, MeterState
from backend.kernel.db import unit_of_work
from backend.kernel.ids import uuid7
from backend.kernel.logs import redact
from backend.metering.readings import store_readings
from schema.exports import export_routes
from schema.scalars import ref

from ..world import World, make_account, make_meter, make_project, reading_of
from .edge import Api, operator_token

LINK = """mutation($p: ID!) { answer: exportMeters(project: $p) { __typename
  ... on Problem { code } ... on ExportLink { url expiresAt } } }"""
_NS = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
FORMULA = "=HYPERLINK(1)"


@pytest.fixture
async def browser(worlds: tuple[World, World]) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the route of our files."""
    app = Starlette(routes=export_routes(worlds[0].ports))
    transport = httpx.ASGITransport(app, client=("203.0.113.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        yield client


async def path_of(api: Api, world: World, token: str) -> str:
    """Where the list of the world's project is."""
    given = {"p": ref("Project", world.project.id)}
    answer = (await api.data(LINK, given, token=token))["answer"]
    url: str = answer["url"]
    return "/export/" + url.rsplit("/", 1)[1]


def rows_of(body: bytes) -> list[list[str]]:
    """The cells of a sheet as text; none is a formula."""
    with ZipFile(BytesIO(body)) as book:
        text = book.read("xl/worksheets/sheet1.xml").decode()
        shared = [name for name in book.namelist() if "sharedStrings" in name]
        assert not [name for name in book.namelist() if "calcChain" in name or "vba" in name]
        strings = [
            "".join(each.itertext())
            for name in shared
            for each in Xml.fromstring(book.read(name)).findall("m:si", _NS)
        ]
    assert "<f>" not in text
    found = []
    for row in Xml.fromstring(text).iterfind(".//m:row", _NS):
        cells = {}
        for cell in row.iterfind("m:c", _NS):
            column = re.sub(r"\d", "", cell.attrib["r"])
            value = "".join(cell.itertext())
            cells[column] = strings[int(value)] if cell.get("t") == "s" else value
        found.append([cells.get(chr(ord("A") + place), "") for place in range(15)])
    return found


async def test_the_list_tells_of_each_meter_its_state_by_colour_mark_and_word(
    api: Api, worlds: tuple[World, World], browser: httpx.AsyncClient
) -> None:
    world = worlds[0]
    account = await make_account(world, no="100002")
    lost, _ = await make_meter(world, serial="M-900001", bus_address=9, account=account)
    at = world.clock.now()
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE accounts_account SET name = $2 WHERE group_id = $1 AND id = $3",
            work.group_id,
            FORMULA,
            account.id,
        )
        reading = reading_of(world.meter.id, at=at, total=1_234_567, remaining_hao=123_400)
        await store_readings(work, readings=[reading])
        await work.execute(
            "INSERT INTO metering_episode (group_id, id, project_id, gateway_id, meter_id, kind,"
            " started_at, noticed_at) VALUES ($1, $2, $3, $4, $5, 'LOST', $6, $6)",
            work.group_id,
            uuid7(at),
            world.project.id,
            lost.gateway_id,
            lost.id,
            at,
        )
    token = await operator_token(world, project_id=world.project.id, role="manager")
    answer = await browser.get(await path_of(api, world, token))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "meters-main-20261122-1200.xlsx" in answer.headers["content-disposition"]
    heading, first, second = rows_of(answer.content)
    assert heading[:9] == ["表号", "表型", "类别", "网关", "户号", "户名", "位置", "标记", "状态"]
    opened, gone = MARKS[MeterState.OPENED], MARKS[MeterState.LOST]
    assert first[0] == world.meter.serial
    assert first[7:13] == [opened.glyph, opened.word, "12.3400", "自动", "闭合", "1234.567"]
    assert first[13] == "2026-11-22 12:00:00"
    assert (second[5], second[7], second[8]) == (FORMULA, gone.glyph, gone.word)
    with ZipFile(BytesIO(answer.content)) as book:
        styles = book.read("xl/styles.xml").decode()
    assert opened.color[1:] in styles
    assert gone.color[1:] in styles
    async with unit_of_work(world.group_id) as work:
        told = [entry.action for entry in await entries(work, before_seq=None, limit=2)]
    assert told == ["export:meters:take", "export:meters:link"]


async def test_an_address_is_of_its_project_its_operator_and_its_two_minutes(
    api: Api, worlds: tuple[World, World], browser: httpx.AsyncClient
) -> None:
    world, other = worlds
    second = await make_project(world)
    token = await operator_token(world, project_id=second.project.id)
    refused = await api.data(LINK, {"p": ref("Project", world.project.id)}, token=token)
    assert refused["answer"]["code"] == "NOT_FOUND"
    path = await path_of(api, second, token)
    (_, row) = rows_of((await browser.get(path)).content)
    assert row[0] == second.meter.serial
    for wrong in (path[:-2], path + "AA", "/export/x", "/export/" + "A" * 400):
        assert (await browser.get(wrong)).status_code == 404
    async with unit_of_work(world.group_id) as work:
        await work.execute("DELETE FROM tenancy_grant WHERE group_id = $1", work.group_id)
    assert (await browser.get(path)).status_code == 404
    theirs = await path_of(api, other, await operator_token(other))
    (_, row) = rows_of((await browser.get(theirs)).content)
    assert row[0] == other.meter.serial
    world.clock.advance(timedelta(minutes=2))
    late = await browser.get(theirs)
    assert (late.status_code, late.text) == (404, "this address is not valid any more")


def test_an_address_of_a_file_is_in_no_log() -> None:
    assert redact("GET /export/AAECAwQ-_x") == "GET /export/[hidden]"
