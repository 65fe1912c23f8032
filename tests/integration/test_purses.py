"""Purses in the cloud: arrears, figures, grants, and everybody at once (C1, C3, C4, C7)."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from backend.charges import credit
from backend.charges.rules import Figures
from backend.journeys.charge import charge_meters
from backend.journeys.charge_figures import figures
from backend.journeys.charge_grants import draw_emergency, give_monthly_grants
from backend.journeys.views import MeterCreditState, MoneyState, TopUpView, topup_views
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.ledger.operations import spend, unspend
from backend.ledger.purses import PurseCharge, charge
from backend.ledger.rules import ARREARS, AccountKey, AccountKind, take_from_lots
from backend.metering.readings import store_readings
from backend.topups.queries import order_of

from .charged import HALF_HOUR, Home, charge_due, make_home
from .priced import FLAT
from .test_ledger import expect_kept_is_derived
from .world import START, World, admin_scope, make_credential, make_order, pay

MONTH_END = 24 + 48 * 8  # half hours from START to the first of December


async def top_up(home: Home, *, yuan: int) -> TopUpView:
    """A top-up of the home that is paid; what is seen of it."""
    world = home.world
    credential_id = await make_credential(world)
    order = await make_order(
        world,
        credential_id=credential_id,
        amount_fen=100 * yuan,
        account=home.account,
        assignment=home.assignment,
    )
    assert (await pay(world, order)).paid
    async with unit_of_work(world.group_id) as work:
        row = await work.fetchrow("SELECT * FROM topups_order WHERE id = $1", order.id)
        assert row is not None
        return (await topup_views(work, orders=[order_of(row)]))[0]


async def seen(home: Home) -> Figures:
    """The three figures of the home's account."""
    async with unit_of_work(home.world.group_id) as work:
        return (await figures(work, account_ids=[home.account.id]))[home.account.id]


async def test_a_top_up_pays_arrears_first_line_by_line_and_is_credited_at_once(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await make_home(ours, terms=FLAT)
    other = await make_home(theirs)
    async with unit_of_work(ours.group_id) as work:
        lines = {AccountKind.ENERGY: 70_000, AccountKind.SERVICE: 30_000, AccountKind.LOSS: 5_000}
        purse = PurseCharge.of(home.account.id, lines)
        await charge(
            work, project_id=ours.project.id, business_key="charge:1", charges=[purse], at=START
        )
    view = await top_up(home, yuan=9)
    assert (view.money, view.meter_credit) == (MoneyState.PAID, MeterCreditState.CREDITED)
    assert view.credited_at == view.order.paid_at
    assert list(view.recovered.items()) == [
        (AccountKind.ENERGY, Money.parse("7")),
        (AccountKind.LOSS, Money.parse("0.5")),
        (AccountKind.SERVICE, Money.parse("1.5")),
    ]
    assert await home.owed() == ZERO
    view = await top_up(home, yuan=10)
    assert list(view.recovered.items()) == [(AccountKind.SERVICE, Money.parse("1.5"))]
    assert await home.owed() == Money.parse("8.5")
    assert (await top_up(home, yuan=1)).recovered == {}
    async with unit_of_work(ours.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM control_vend") == 0
    assert await other.owed() == ZERO
    await expect_kept_is_derived(ours)


async def test_a_correction_lowers_arrears_first_and_gives_lots_back_the_last_used_first(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.pay("3")
    await home.pay("2", at=START + timedelta(seconds=1))

    async def post(key: str, hao: int) -> None:
        async with unit_of_work(ours.group_id) as work:
            purse = PurseCharge.of(home.account.id, {AccountKind.ENERGY: hao})
            await charge(
                work, project_id=ours.project.id, business_key=key, charges=[purse], at=START
            )

    async def lots() -> list[int]:
        async with unit_of_work(ours.group_id) as work:
            rows = await work.fetch(
                "SELECT amount_hao - used_hao AS left FROM ledger_lot ORDER BY created_at"
            )
        return [row["left"] for row in rows]

    await post("charge:1", 60_000)
    await post("charge:1", 60_000)  # once, whatever is said twice
    assert (await home.owed(), await lots()) == (ZERO, [0, 0])
    assert await home.owed(AccountKind.ENERGY_ARREARS) == Money.parse("1")
    await post("charge:2", -25_000)
    assert await home.owed(AccountKind.ENERGY_ARREARS) == ZERO
    assert (await home.owed(), await lots()) == (Money.parse("1.5"), [0, 15_000])
    await post("charge:3", -10_000)
    assert (await home.owed(), await lots()) == (Money.parse("2.5"), [5_000, 20_000])
    await expect_kept_is_derived(ours)


async def test_a_correction_gives_back_what_was_charged_and_never_what_was_refunded(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.pay("3")
    await home.pay("2", at=START + timedelta(seconds=1))
    purse, key = home.account.id, AccountKey(AccountKind.REFUND_DUE, home.account.id)
    async with unit_of_work(ours.group_id) as work:
        sources = await work.fetch("SELECT source FROM ledger_lot ORDER BY created_at")
        said: dict[str, Any] = {"project_id": ours.project.id, "at": START}
        taken = PurseCharge.of(purse, {AccountKind.ENERGY: 20_000})
        await charge(work, business_key="charge:1", charges=[taken], **said)
        refund: dict[str, Any] = {"amount": Money.parse("2"), "kind": "REFUND", "to": key}
        source = sources[1]["source"]
        assert await spend(
            work, account_id=purse, business_key="refund:1", source=source, **refund, **said
        )
        back = PurseCharge.of(purse, {AccountKind.ENERGY: -5_000})
        await charge(work, business_key="charge:2", charges=[back], **said)
        rows = await work.fetch(
            "SELECT amount_hao - used_hao AS left FROM ledger_lot ORDER BY created_at"
        )
        assert [row["left"] for row in rows] == [15_000, 0]
        assert await unspend(work, business_key="refund:1", reason="failed", **said)
    assert await home.owed() == Money.parse("3.5")
    await expect_kept_is_derived(ours)


async def test_balance_use_not_yet_charged_and_available_are_told_apart(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await make_home(ours)
    await home.pay("10")
    await home.read(home.reading(1, 1_000))
    await home.read(home.reading(2, 3_000), charge=False)
    assert await seen(home) == Figures(Money.parse("9.4"), Money.parse("1.2"), ZERO)
    await home.enter_class("shops", overdraft="5", emergency="3")
    assert (await seen(home)).available == Money.parse("13.2")
    reader = admin_scope(ours.group_id, permissions=frozenset({"account:read"}))

    async def draw(scope: Scope) -> Money:
        return await draw_emergency(scope=scope, account_id=home.account.id, at=START)

    with pytest.raises(Forbidden):
        await draw(reader)
    assert await draw(ours.scope) == Money.parse("3")
    with pytest.raises(Conflict):
        await draw(ours.scope)
    assert (await seen(home)).available == Money.parse("16.2")
    await charge_due(ours)
    await home.read(home.reading(3, 23_000))
    assert await seen(home) == Figures(Money.parse("-3.8"), ZERO, Money.parse("8"))
    await top_up(home, yuan=2)
    assert await seen(home) == Figures(Money.parse("-1.8"), ZERO, Money.parse("8"))
    await top_up(home, yuan=3)  # all of it is had back: it can be drawn again
    assert await seen(home) == Figures(Money.parse("1.2"), ZERO, Money.parse("5"))
    async with unit_of_work(theirs.group_id) as work:
        assert await figures(work, account_ids=[home.account.id]) == {}
        assert await work.fetchval("SELECT count(*) FROM charges_terms") == 0


async def test_a_monthly_grant_is_given_once_used_first_and_ends_with_its_month(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.pay("10")
    await home.enter_class("dormitory", monthly_grant="2")
    for _ in range(2):
        await give_monthly_grants(group_id=ours.group_id, at=START)
    assert await home.owed() == Money.parse("12")
    await home.read(home.reading(1, 1_000))
    assert await home.owed() == Money.parse("11.4")
    await give_monthly_grants(group_id=ours.group_id, at=home.at(MONTH_END))
    assert await home.owed() == Money.parse("12")  # 1.4 ended, 2 given
    await expect_kept_is_derived(ours)


async def test_a_credit_class_is_sane_and_another_groups_is_not_there(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds

    async def save(scope: Scope, name: str, overdraft: Money = ZERO) -> None:
        await credit.save_class(
            work,
            scope=scope,
            project_id=ours.project.id,
            name=name,
            overdraft=overdraft,
            emergency=ZERO,
            monthly_grant=ZERO,
            at=START,
        )

    async with unit_of_work(ours.group_id) as work:
        for name, bad in (("", ZERO), ("x", Money(-1)), ("x", Money.parse("10000.01"))):
            with pytest.raises(InvalidInput):
                await save(ours.scope, name, bad)
        with pytest.raises(NotFound):
            await credit.put_in_class(
                work,
                scope=ours.scope,
                project_id=ours.project.id,
                account_id=ours.account.id,
                class_id=theirs.account.id,
                at=START,
            )
    async with unit_of_work(theirs.group_id) as work:
        with pytest.raises(NotFound):
            await save(theirs.scope, "x")


async def test_several_accounts_draw_from_one_purse(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    one, two = await make_home(ours), await make_home(ours, no="300002")
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE accounts_account SET purse_account_id = $2 WHERE id = $1",
            two.account.id,
            one.account.id,
        )
    await one.pay("10")
    await one.read(one.reading(1, 1_000), two.reading(1, 2_000))
    assert await one.owed() == Money.parse("8.2")
    assert await seen(one) == await seen(two)
    await top_up(two, yuan=5)
    assert await one.owed() == Money.parse("13.2")
    assert await two.owed() == ZERO
    await expect_kept_is_derived(ours)


async def test_charges_and_top_ups_all_at_once_never_break_a_purse(
    worlds: tuple[World, World], unique: str
) -> None:
    ours, _theirs = worlds
    chance = random.Random(unique)
    homes = [await make_home(ours, no=str(300_001 + n)) for n in range(4)]
    used = dict.fromkeys(range(4), 0)
    since = {}
    for turn in range(1, 9):
        for place, home in enumerate(homes):
            used[place] += chance.randrange(0, 3_000)
            async with unit_of_work(ours.group_id) as work:
                await store_readings(work, readings=[home.reading(turn, used[place])])
            since[home.meter.id] = home.at(turn)

    async def charge_some() -> None:
        some = dict(chance.sample(sorted(since.items()), chance.randrange(1, 5)))
        await charge_meters(group_id=ours.group_id, since=some, at=START + 9 * HALF_HOUR)

    async def pay_in(home: Home) -> None:
        await top_up(home, yuan=chance.randrange(1, 4))

    credential = await make_credential(ours)
    assert credential
    tasks = [charge_some() for _ in range(20)]
    tasks += [pay_in(chance.choice(homes)) for _ in range(20)]
    chance.shuffle(tasks)
    await asyncio.gather(*tasks)
    await charge_meters(group_id=ours.group_id, since=since, at=START + 9 * HALF_HOUR)
    for place, home in enumerate(homes):
        assert (await home.charged()).hao == used[place] * 6
    await expect_kept_is_derived(ours)
    async with unit_of_work(ours.group_id) as work:
        paid = await work.fetchval(
            "SELECT sum(amount_fen) * 100 FROM topups_order WHERE state = 'PAID'"
        )
        lots = await work.fetchval("SELECT sum(amount_hao - used_hao)::bigint FROM ledger_lot")
        purses = await work.fetchval(
            "SELECT -sum(balance_hao)::bigint FROM ledger_balance b JOIN ledger_account a"
            " ON a.id = b.account_id WHERE a.kind = 'PURSE'"
        )
        owing = await work.fetchval(
            "SELECT coalesce(sum(balance_hao), 0)::bigint FROM ledger_balance b JOIN ledger_account a"
            " ON a.id = b.account_id WHERE a.kind = ANY($1)",
            [str(kind) for kind in ARREARS],
        )
    assert lots == purses
    assert purses - owing == paid - 6 * sum(used.values())
    assert take_from_lots([], ZERO) == []
