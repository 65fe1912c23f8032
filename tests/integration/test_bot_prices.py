"""The bot reads prices, steps, bills and refunds of the customer's own accounts from the book (C16, C18)."""

from __future__ import annotations

from dataclasses import replace

from backend.accounts.models import Customer
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.tariffs.rules import Fee, Step
from bots.dialogue import step
from bots.reading import view_of_customer
from bots.state import State
from bots.view import View

from .charged import make_home
from .priced import FLAT, priced
from .refunding import ask, cloud_order
from .world import World, bind_customer

TERMS = replace(
    FLAT, steps=(Step(2_000, 1_000), Step(6_000, 3_000)), service=Fee(per_unit=200), monthly=300_000
)


async def seen(world: World, customer: Customer) -> View:
    """What the bot knows of a customer."""
    async with unit_of_work(world.group_id) as work:
        return await view_of_customer(work, customer_id=customer.id, at=world.clock.now())


async def said(world: World, customer: Customer, text: str) -> list[str]:
    """The lines of the bot's answer."""
    view = await seen(world, customer)
    turn = step(state=State(), said=text, view=view, now=world.clock.now())
    return "\n".join(turn.replies).split("\n")


async def test_a_tenant_is_told_the_price_the_step_and_the_month_as_they_are_charged(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await make_home(ours, terms=TERMS), await make_home(theirs)
    customer = await bind_customer(replace(ours, account=home.account))
    stranger = await bind_customer(replace(theirs, account=other.account))
    await home.pay("50")
    name = f"电表{home.meter.serial[-4:]}"
    assert await said(ours, customer, "多少钱一度电") == [
        f"{name} 现在 0.62 元/度",
        "本月已用 0 度，再用 2 度 进入下一档",
        "每月基本费 30.00 元",
    ]
    ours.clock.instant = home.at(1)
    await home.read(home.reading(1, 3_000))
    assert await said(ours, customer, "阶梯") == [
        f"{name} 现在第 2 档，0.72 元/度",
        "本月已用 3 度，再用 3 度 进入下一档",
    ]
    (charge,) = await home.charges()
    bill = await said(ours, customer, "明细")
    # 3 kWh at 0.60, one of them 0.10 dearer; the fee of 0.02 a unit; no day of November has ended.
    assert charge.amounts.total == 19_600
    assert bill == [
        f"{name} 本月 1.96 元（12:30 数据）",
        "用量 3 度",
        "用能费 1.90 元",
        "损耗、公摊、服务费 0.06 元",
    ]
    assert (await said(ours, customer, "这个月用了多少"))[-1] == "本月费用 1.96 元"
    assert (await said(theirs, stranger, "电价"))[0].endswith("现在 0.60 元/度")
    assert (await said(theirs, stranger, "明细"))[-1] == "本月费用 0.00 元"


async def test_where_a_meter_holds_the_money_the_bot_tells_its_bands_and_no_bill(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    customer = await bind_customer(ours)
    assert (await said(ours, customer, "电价"))[0].endswith("暂未查到价格，请联系人工。")
    await priced(ours, terms=TERMS)
    assert (await said(ours, customer, "电价"))[0].endswith("现在 0.60 元/度")
    assert (await said(ours, customer, "明细"))[-1] == "费用由表内扣除，余额以表计为准。"


async def test_a_tenant_is_told_how_far_a_refund_is(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    customer, stranger = await bind_customer(ours), await bind_customer(theirs)
    await ask(ours, await cloud_order(ours), "12.5")
    assert await said(ours, customer, "退款到哪了") == [
        "退款记录：",
        "12:00 12.50 元 已同意，即将退回",
    ]
    assert (await said(theirs, stranger, "退款到哪了")) == ["没有退款记录。需要退款请联系人工。"]
    assert (await seen(ours, customer)).refunds[0].amount == Money.parse("12.5")
