"""The pay page of a household with two meters, in a real browser: the payer says which one is paid for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.control.state_rules import MARKS, MeterState
from backend.kernel.db import unit_of_work
from backend.kernel.ids import token as new_token
from backend.kernel.secrets import digest
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.operations import create_link

from ..flows.town import Town, running_town
from .chromium import chromium

pytestmark = pytest.mark.chromium

PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile"
IN_WECHAT = f"{PHONE} MicroMessenger/8.0.50"
# The meter of the home, once more, with another serial number.
_METER = (
    "INSERT INTO metering_meter SELECT (jsonb_populate_record(m, jsonb_build_object("
    " 'id', gen_random_uuid(), 'serial', 'SECOND-0042', 'bus_address', '199'))).*"
    " FROM metering_meter m WHERE m.id = $1 RETURNING id"
)
_SERVES = (
    "INSERT INTO metering_assignment SELECT (jsonb_populate_record(a, jsonb_build_object("
    " 'id', gen_random_uuid(), 'meter_id', $2::uuid,"
    " 'started_at', a.started_at + interval '1 hour'))).*"
    " FROM metering_assignment a WHERE a.meter_id = $1 AND a.ended_at IS NULL"
)


@pytest.fixture
async def town(services: EmbeddedServices, tmp_path: Path, unique: str) -> AsyncIterator[Town]:
    """The town of the flows, with a worker."""
    async with running_town(services, tmp_path, unique) as built:
        async with unit_of_work(
            await built.group_id()
        ) as work:  # the 20.00 of its meters are no alarm
            await work.execute("UPDATE tenancy_project SET low_1_hao = 10000, low_2_hao = 10000")
        built.start_worker()
        yield built


async def general_link(town: Town) -> str:
    """A link of the bound home that names none of its two meters, as the menu makes it."""
    link = f"{town.ours.code}.{new_token()}"
    async with unit_of_work(await town.group_id()) as work:
        home = await work.fetchrow(
            "SELECT b.account_id, b.customer_id, a.meter_id, b.bound_at FROM accounts_binding b"
            " JOIN metering_assignment a ON a.account_id = b.account_id AND a.ended_at IS NULL"
        )
        assert home is not None
        second = await work.fetchval(_METER, home["meter_id"])
        await work.execute(_SERVES, home["meter_id"], second)
        await create_link(
            work,
            token_digest=digest(link),
            account_id=home["account_id"],
            customer_id=home["customer_id"],
            amount_fen=5000,
            at=home["bound_at"],
        )
    return link


async def test_the_payer_chooses_the_meter_and_one_that_the_chat_named_is_only_shown(
    town: Town, tmp_path: Path
) -> None:
    await town.bind()
    named = await town.link()
    general = await general_link(town)
    async with chromium(tmp_path / "page", user_agent=PHONE) as tab:
        await tab.send("Page.navigate", url=f"{town.api}/p/{named}")
        await tab.sees("立即支付 50 元")
        assert await tab.run("document.getElementById('meters-part').hidden")
        shown = await tab.run("document.getElementById('account-meter').textContent")
        assert shown == f"电表 {town.shop.meter[-4:]}", "whoever holds the link is told no state"
        await tab.send("Page.navigate", url=f"{town.api}/p/{general}")
        await tab.sees("给哪一块表充值")
        await tab.sees("电表 0042")
        await tab.run("document.querySelectorAll('#meters input')[1].click()")
        await tab.run("document.getElementById('pay').click()")
        await tab.sees("收银台")
        assert tab.errors == []
    serial = await town.value(
        "SELECT m.serial FROM topups_order o JOIN metering_assignment a ON a.id = o.assignment_id"
        " JOIN metering_meter m ON m.id = a.meter_id"
    )
    assert serial == "SECOND-0042"


async def test_the_customer_himself_sees_each_meters_state_by_its_one_colour_and_mark(
    town: Town, tmp_path: Path
) -> None:
    await town.bind()
    link = await general_link(town)
    async with chromium(tmp_path / "wechat", user_agent=IN_WECHAT) as tab:
        told = {"name": "sandbox_openid", "value": town.shop.openid, "url": town.sandbox}
        await tab.send("Network.setCookie", **told)
        await tab.send("Page.navigate", url=f"{town.api}/p/{link}")
        await tab.sees("给哪一块表充值")
        seen = await tab.run(
            "[...document.querySelectorAll('#meters .state')].map(state => [state.textContent,"
            " state.firstChild.style.color, state.firstChild.getAttribute('aria-hidden')])"
        )
        mark = MARKS[MeterState.OPENED]
        red, green, blue = bytes.fromhex(mark.color[1:])
        assert seen == [[mark.glyph + mark.word, f"rgb({red}, {green}, {blue})", "true"]] * 2
        assert tab.errors == []
