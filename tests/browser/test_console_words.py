"""A Chinese manager reads Chinese on the console, an English one English, on a tablet held upright too."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import UUID

import pytest

from backend.alerts.operations import NewCase, open_cases
from backend.kernel.clock import SystemClock
from backend.kernel.db import unit_of_work
from backend.sandbox.embedded.services import EmbeddedServices

from ..flows.town import Town, running_town
from .console import Console, console
from .pages import words

pytestmark = pytest.mark.chromium

# As their rooms tell them; the other kinds are told with their gateway alone.
DETAILS: dict[str, dict[str, str]] = {
    "BILLING_HOLD": {"reason": "NEGATIVE", "reading": "2026-05-04T08:00:00+00:00"},
    "BILL_DIFFERS": {"day": "2026-05-03", "class": "ONLY_THEIRS", "theirs": "50.00"}
    | {"reason": "no such order, or billed before", "transaction": "4200001234202605036789012345"},
    "VEND_STOPPED": {"reason": "the meter's purchase count is 7, the ledger expects 2"}
    | {"ledgerPurchaseNo": "3", "meterPurchaseNo": "7", "meterRemaining": "12.00"},
    "SUPPLY_NOT_OBEYED": {"wanted": "OFF", "rule": "ARREARS"}
    | {"reason": "the meter said that it took it, but the relay is closed"},
    "TRIPS_HELD": {"why": "ARREARS", "limit": "PROJECT"},
    "UPLINK_READING_REFUSED": {"why": "BACKWARDS", "meter": "2026000001"},
    "CLOSING_STUCK": {"reason": "3.20 yuan are left; refunds ended: 20260504-7"}
    | {"wayOut": "resume the closing to ask for refunds anew, rule on held readings, or cancel it"},
    "TAKEDOWN_STUCK": {"purpose": "REPLACE", "reason": "the meter does not answer"}
    | {"wayOut": "read the meter, or type its last figures, or cancel"},
    "METER_PRICES_LAG": {"tries": "4", "why": "FAILED: the meter refuses: too many rates"},
    "CUSTOMER_UNREACHED": {"event": "low_2", "lastChannel": "SMS"},
    "PAYMENT_MISMATCH": {"reason": "differs from our order: amount, merchant"}
    | {"source": "notice", "paid": "5.00", "currency": "CNY", "channel": "WECHAT_PAY"},
    "BATCH_HALTED": {"why": "nobody carried it on for a while: resume it if it is still meant"},
    "PRICE_DOUBTED": {"version": "01978a5e-5a3c-7c1e-8f2a-3b9d1e5f7a10", "amount": "12.00"},
    "SMS_LIMIT": {"event": "cut", "wayOut": "see who sends so many, or raise the limit"},
}
OUTCOMES = {
    "QUEUED": "the gateway cannot be reached",
    "FAILED": "another meter answers here: its register is 123000, the archive's last is 4560000",
    "EXPIRED": "it may have reached the meter; the meter took it, but the relay is closed",
    "SUPERSEDED": "not wanted any more: PAID",
}
SHOWN = (
    ("电价疑似有误", "电价版本…1e5f7a10"),
    ("计费待核对", "表号查看表计"),
    ("计费待核对", "原因读数倒走"),
    ("已停止售电", "查看表计"),
    ("批量中有失败的表", "查看批量"),
    ("表计未按要求通断", "依据欠费"),
    ("表计未按要求通断", "应为断电"),
    ("表计未按要求通断", "原因表计答复已接受，但继电器已闭合"),
    ("付款与订单不符", "原因与订单不一致：金额、商户号"),
    ("拆表未完成", "处理办法重新抄表，或人工录入最后读数，或取消"),
)
WIDER = """[document.documentElement.scrollWidth - innerWidth,
  ...[...document.querySelectorAll('main .scroll')].map((each) => each.scrollWidth - each.clientWidth)]"""
LATIN = re.compile(r"\b(?!CNY|GW-|Modbus|TCP|DTU|ESAM)[A-Za-z_]{3,}")


@pytest.fixture
async def town(services: EmbeddedServices, tmp_path: Path, unique: str) -> AsyncIterator[Town]:
    """The town of the flows; nothing in it moves by itself."""
    async with running_town(services, tmp_path, unique) as built:
        yield built


async def tablet(desk: Console) -> None:
    """A tablet that is held upright."""
    size = {"width": 820, "height": 1180, "deviceScaleFactor": 1, "mobile": False}
    await desk.tab.send("Emulation.setDeviceMetricsOverride", **size)


async def fits(desk: Console) -> None:
    """Nothing is wider than the page, and no table must be pushed to be read."""
    assert [wider for wider in await desk.value(WIDER) if wider > 0] == []


async def meter_of(town: Town) -> tuple[UUID, UUID]:
    """The project and the meter of our first home."""
    async with unit_of_work(await town.group_id()) as work:
        row = await work.fetchrow(
            "SELECT project_id, id FROM metering_meter WHERE serial = $1", town.shop.meter
        )
    assert row is not None
    return row["project_id"], row["id"]


async def cases(town: Town, details: Mapping[str, dict[str, str]]) -> None:
    """A case of each kind in our project."""
    project_id, meter_id = await meter_of(town)
    named = {"BILLING_HOLD": {"meter": str(meter_id)}}
    found = [
        NewCase(project_id, kind, str(meter_id), detail | named.get(kind, {}))
        for kind, detail in details.items()
    ]
    async with unit_of_work(await town.group_id()) as work:
        await open_cases(work, cases=found, at=SystemClock().now())


async def all_cases(desk: Console, number: int, on: str) -> tuple[list[list[str]], list[str]]:
    """The rows of the two pages of cases and the links in them; nothing on either is too wide. `on`: how the
    button is called that leads to the second."""
    rows, links = list[list[str]](), list[str]()
    for left in (50, number - 50):
        await desk.until(f"document.querySelectorAll('main tbody tr').length === {left}")
        await fits(desk)
        rows += await desk.rows()
        links += await desk.value(
            "[...document.querySelectorAll('main tbody a')].map((a) => a.getAttribute('href'))"
        )
        if left == 50:
            await desk.click(on)
    assert len(rows) == number > 50
    return rows, links


async def test_cases_of_every_kind_are_read_in_chinese_and_in_english_and_only_by_their_own_group(
    town: Town, tmp_path: Path
) -> None:
    kinds = [key.removeprefix("case.") for key in words("zh") if key.startswith("case.")]
    assert set(DETAILS) <= set(kinds)
    every = {kind: DETAILS.get(kind, {"gateway": "GW-1"}) for kind in kinds}
    await cases(town, every)
    async with console(town, tmp_path / "desk") as desk:
        await tablet(desk)
        await desk.sign_in(f"admin@{town.ours.code}")
        await desk.rows()
        await desk.go("cases")
        rows, links = await all_cases(desk, len(kinds), "下一页")
        assert [row for row in rows if LATIN.search(f"{row[0]} {row[2]}")] == []
        told = {row[0].split(" ")[0]: row[2].replace(" ", "") for row in rows}
        for kind, sentence in SHOWN:
            assert sentence in told[kind], (kind, told[kind])
        await desk.click("English")
        await desk.sees("Exception cases")
        rows, _ = await all_cases(desk, len(kinds), "Next")
        shown = "\n".join(f"{row[0]} {row[2]}" for row in rows)
        assert "the register went back" in shown
        assert "the meter does not answer" in shown
        assert re.findall(r"\b[A-Z]+_[A-Z_]+\b|\b(?:NEGATIVE|ARREARS|OFF)\b", shown) == []
        (meter,) = {link for link in links if "/meter/" in link}
        await desk.value(f"location.hash = {meter!r}")
        await desk.sees(town.shop.meter)
        await desk.is_clean()
    async with console(town, tmp_path / "other") as other:
        await other.sign_in(f"admin@{town.theirs.code}")
        await other.rows()
        await other.go("cases")
        await other.sees("没有待处理的异常。")


async def test_a_meters_commands_and_what_failed_in_a_batch_are_told_in_chinese(
    town: Town, tmp_path: Path
) -> None:
    first, second = town.ours.sites[0].homes
    project_id, meter_id = await meter_of(town)
    async with unit_of_work(await town.group_id()) as work:
        for place, (state, outcome) in enumerate(OUTCOMES.items()):
            await work.execute(
                "INSERT INTO control_command (group_id, id, project_id, meter_id, kind, family, settings,"
                " state, reason, requested_by, issued_at, expires_at, finished_at, outcome)"
                " SELECT $1, gen_random_uuid(), $2, $3, 'TRIP', 'RELAY', '{}', $4, 'supply: ARREARS',"
                "  'supply engine', now(), now() + interval '2 minutes',"
                "  CASE WHEN $4 = 'QUEUED' THEN NULL ELSE now() END, $5",
                work.group_id,
                project_id,
                meter_id,
                state,
                outcome,
            )
            assert place < 8, "a page shows eight"
    async with console(town, tmp_path / "desk") as desk:
        await desk.sign_in(f"admin@{town.ours.code}")
        await desk.rows()
        await desk.value("document.querySelector('tbody a').click()")
        await desk.sees("最近指令")
        await desk.sees("可能已到表；表计已接受，但继电器已闭合")
        await desk.sees("应答的不是这块表：它的读数是 123000，档案最后读数是 4560000")
        await desk.sees("已不需要：有余额")
        await desk.sees("自动控制：欠费")
        await tablet(desk)
        await desk.sees("户号")
        await fits(desk)
        await desk.go("new-batch")
        await desk.fill("numbers", f"{first.meter}\n{second.meter}")
        await desk.fill("reason", "楼道检修停电")
        await desk.click("预览")
        await desk.sees("还没有下发")
        async with unit_of_work(await town.group_id()) as work:
            await work.execute(
                "UPDATE control_batch_item SET state = 'FAILED', changed_at = now(), note ="
                " 'an emergency trip stands here (配电间进水); end it first' WHERE no = 1"
            )
            await work.execute(
                "UPDATE control_batch_item SET state = 'CANCELLED', note = 'its day was over' WHERE no = 2"
            )
            await work.execute(
                "UPDATE control_batch SET state = 'DONE', second = false, confirmed_at = asked_at,"
                " tended_at = now(), starts_at = now(), finished_at = now(), note = 'paused by ling'"
            )
        await desk.value("location.reload()")
        await desk.sees("正处于紧急断电（配电间进水），请先解除")
        await desk.sees("已超过 24 小时")
        await desk.sees("由 ling 暂停")
        await fits(desk)
        await desk.is_clean()
