"""The console in a real browser on the real server: who sees what, batches from preview to end, alarms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import NewAlarm, raise_alarms
from backend.control.state_rules import MARKS, MeterState
from backend.demo.plan import DemoGroup
from backend.kernel.clock import SystemClock
from backend.kernel.db import unit_of_work
from backend.sandbox.embedded.services import EmbeddedServices

from ..flows.town import Town, running_town
from .console import console

pytestmark = pytest.mark.chromium

HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 2</script>{{7*7}}'
MARKS_SHOWN = """[...document.querySelectorAll('main tbody .mark')].map((mark) =>
  [mark.textContent, getComputedStyle(mark.firstChild).color, mark.firstChild.getAttribute('aria-hidden')])"""
SECRETS = (
    "[document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage)].join(' ')"
)


@pytest.fixture
async def town(services: EmbeddedServices, tmp_path: Path, unique: str) -> AsyncIterator[Town]:
    """The town of the flows; a worker is started by who needs one."""
    async with running_town(services, tmp_path, unique) as built:
        yield built


def shown(state: MeterState) -> list[str]:
    """A state as the page is to show it: its mark and word, its colour, and that readers skip the mark."""
    mark = MARKS[state]
    red, green, blue = bytes.fromhex(mark.color[1:])
    return [mark.glyph + mark.word, f"rgb({red}, {green}, {blue})", "true"]


async def alarm(town: Town, kind: AlarmKind, group: DemoGroup, home: int = 0) -> None:
    """An alarm of a home's meter, as the engine raises it."""
    serial = group.sites[0].homes[home].meter
    async with unit_of_work(await town.group_id(group)) as work:
        row = await work.fetchrow(
            "SELECT m.project_id, m.id, s.id AS place, s.account_id FROM metering_meter m"
            " JOIN metering_assignment s ON s.meter_id = m.id WHERE m.serial = $1",
            serial,
        )
        assert row is not None
        raised = NewAlarm(
            row["project_id"],
            kind,
            str(row["place"]),
            row["account_id"],
            row["id"],
            None,
            3,
            {"left": "0.50"},
        )
        await raise_alarms(work, alarms=[raised], at=SystemClock().now())


async def change(town: Town, sql: str) -> None:
    """Change something of our group behind everybody's back."""
    async with unit_of_work(await town.group_id()) as work:
        await work.execute(sql)


async def test_an_operator_signs_in_and_sees_his_own_groups_meters_by_colour_and_mark(
    town: Town, tmp_path: Path
) -> None:
    ours, theirs = (f"admin@{group.code}" for group in (town.ours, town.theirs))
    first, second = town.ours.sites[0].homes
    await change(town, f"UPDATE accounts_account SET name = $${HOSTILE}$$ WHERE no = '{first.no}'")
    await alarm(town, AlarmKind.ARREARS, town.ours, home=1)
    async with console(town, tmp_path / "desk") as desk:
        await desk.sign_in(ours, "not the password 7")
        await desk.sees("账号或密码不对")
        await desk.open()
        await desk.sign_in(ours)
        rows = await desk.rows()
        assert [row[2].split()[0] for row in rows] == [first.meter, second.meter]
        assert rows[0][3].startswith(f"{first.no} {HOSTILE}"), "a name is a text, whatever it says"
        assert await desk.value(
            "window.hacked === undefined && !document.querySelector('main img')"
        )
        assert await desk.value(MARKS_SHOWN) == [
            shown(MeterState.OPENED),
            shown(MeterState.ARREARS),
        ]
        assert rows[0][4] == "20.00 元"
        legend = await desk.value(
            "[...document.querySelectorAll('.filters .mark')].map((mark) => mark.textContent)"
        )
        assert legend == [shown(state)[0] for state in MeterState], "all six, as GraphQL has them"
        await desk.click(MARKS[MeterState.ARREARS].glyph)
        await desk.until("document.querySelectorAll('main tbody tr').length === 1")
        assert (await desk.rows())[0][2].startswith(second.meter)
        await desk.value("document.querySelector('tbody a').click()")
        await desk.until("document.activeElement.id === 'work'")
        await desk.sees("未经验证")
        await desk.sees("DDSY1352-NK")
        where = await desk.value("location.hash")
        kept = await desk.value(SECRETS)
        assert town.ours.code not in kept, f"a script can read the session: {kept}"

        await desk.click("退出")
        await desk.sees("已退出")
        await desk.sign_in(theirs)
        await desk.sees("找不到，或不在您的权限范围内。")
        await desk.go("meters")
        rows = await desk.rows()
        assert [row[2].split()[0] for row in rows] == [h.meter for h in town.theirs.sites[0].homes]
        assert "/meter/" in where
        async with unit_of_work(await town.group_id(town.theirs)) as work:
            await work.execute("DELETE FROM tenancy_session")
        await desk.sees("会话已结束，请重新登录")
        assert not await desk.value(f"document.body.innerText.includes({town.theirs.name!r})")
        await desk.is_clean()


async def test_a_batch_is_called_off_then_agreed_to_by_a_second_operator_and_followed_to_its_end(
    town: Town, tmp_path: Path
) -> None:
    town.start_worker()
    first, second = town.ours.sites[0].homes
    await change(town, "UPDATE tenancy_project SET batch_alone = 10")
    ling, wen = console(town, tmp_path / "ling"), console(town, tmp_path / "wen", sockets=False)
    async with ling as asks, wen as agrees:
        await asks.sign_in(f"admin@{town.ours.code}")
        await asks.rows()
        await asks.value("document.querySelector('tbody input').click()")
        await asks.sees("已选 1 只")
        await asks.click("批量操作")
        await asks.until("document.querySelector('[name=numbers]') !== null")
        assert await asks.value("document.querySelector('[name=numbers]').value") == first.meter
        text = "\n".join((first.meter, second.meter, "NOBODY-1"))
        await asks.fill("numbers", text)
        await asks.click("预览")
        await asks.sees("请写明原因")
        await asks.fill("reason", "楼道检修停电")
        await asks.click("预览")
        await asks.sees("还没有下发")
        rows = await asks.rows()
        assert [(row[1], row[3], row[4]) for row in rows] == [
            (first.meter, "◷ 待下发", ""),
            (second.meter, "◷ 待下发", ""),
            ("NOBODY-1", "– 不参加", "没有这个表号"),
        ]
        await asks.click("确认")
        await asks.until("/^(60|5\\d) 秒$/.test(document.querySelector('.clock')?.textContent)")
        await asks.click("撤销全部")
        await asks.sees("已取消。")
        assert await town.value("SELECT count(*) FROM control_command WHERE kind = 'TRIP'") == 0

        await change(town, "UPDATE tenancy_project SET batch_alone = 1")
        await asks.go("new-batch")
        await asks.fill("numbers", f"{first.meter}\n{second.meter}")
        await asks.fill("reason", "楼道检修停电")
        await asks.click("预览")
        await asks.sees("需另一位操作员同意")
        await asks.click("确认")
        await asks.sees("等待另一位操作员同意")
        batch = str(await asks.value("location.hash.split('/').pop()"))

        await agrees.sign_in(f"admin@{town.theirs.code}")
        await agrees.rows()
        await agrees.go("batch", batch)
        await agrees.sees("找不到，或不在您的权限范围内。")
        await agrees.click("退出")
        await agrees.sign_in(f"street@{town.ours.code}")
        await agrees.sees("要对 2 只表执行“拉闸 / 关阀”")
        await agrees.click("同意")
        await agrees.sees("现在还可以全部撤销")
        await agrees.sees("每 3 秒刷新")
        await asks.sees("现在还可以全部撤销")  # told by the subscription alone
        await asks.sees("实时更新")
        # A minute passes.
        await change(town, "UPDATE control_batch SET starts_at = now() WHERE state = 'RUNNING'")
        await change(town, "UPDATE outbox_event SET due_at = now() WHERE topic = 'batch.due'")
        for desk in (asks, agrees):
            await desk.sees("已完成。")
            await desk.sees("已结束 2 / 2 只")
            assert [row[3] for row in await desk.rows()] == ["✓ 成功"] * 2
            await desk.is_clean()
    for home in (first, second):
        meter, _ = town.site.meters[home.meter]
        assert not meter.state().closed


async def test_an_alarm_is_heard_at_once_and_taken_on_with_a_note_and_no_other_group_hears_it(
    town: Town, tmp_path: Path
) -> None:
    ours, theirs = console(town, tmp_path / "ours"), console(town, tmp_path / "theirs")
    async with ours as desk, theirs as other:
        for each, group in ((desk, town.ours), (other, town.theirs)):
            await each.sign_in(f"street@{group.code}")
            await each.rows()
            await each.go("alarms")
            await each.sees("现在没有告警。")
            await each.sees("● 实时")
        await alarm(town, AlarmKind.TAMPER, town.ours)
        await desk.sees("新告警：开盖")
        ((level, kind, about, *_),) = await desk.rows()
        assert (level, kind.split()[0]) == ("! 紧急", "开盖")
        assert about.startswith(f"{town.shop.meter} {town.shop.no}")
        await desk.click("确认处理")
        await desk.click("确认")
        await desk.sees("请写处理说明。")
        await desk.fill("note", "已派人到场查看")
        await desk.click("确认")
        await desk.sees("已派人到场查看")
        assert await town.value("SELECT note FROM alerts_alarm") == "已派人到场查看"
        await alarm(town, AlarmKind.TAMPER, town.theirs)
        await other.sees("新告警：开盖")
        ((_, _, about, *_),) = await other.rows()
        assert about.startswith(town.theirs.sites[0].homes[0].meter)
        assert len(await desk.rows()) == 1
        await desk.is_clean()
        await other.is_clean()
