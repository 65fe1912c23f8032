"""How long money lasts is learned by itself, told by the hour, measured, and warned of in time (A22, C27)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from backend.charges.forecast_rules import Basis, Forecast, mape
from backend.charges.forecasts import kept_of
from backend.demo.lived import live_before
from backend.demo.plan import DemoGroup, Home, Site
from backend.journeys.forecast import Tended, tend_forecasts
from backend.journeys.forecast_shown import (
    Shown,
    forecasts_of_accounts,
    measured_days,
    running_out,
)
from backend.journeys.shared_purse import share_purse
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.metering.readings import store_readings
from backend.tenancy.project_settings import set_warning

from .charged import Home as CloudHome
from .charged import add_meter, make_home
from .forecasted import DAY, HOUR, MONDAY, NINE, live, two_shops
from .priced import flat, priced
from .test_bot_prices import said
from .test_customer_news import told
from .world import APP_ID, START, World, bind_customer, reading_of

THURSDAY = datetime(2026, 12, 24, 0, 8, tzinfo=UTC)  # 08:08 in China


async def shown(home: CloudHome, at: datetime = NINE) -> Shown:
    """The forecast of the home's account."""
    async with unit_of_work(home.world.group_id) as work:
        found = await forecasts_of_accounts(work, account_ids=[home.account.id], at=at)
    return found[home.account.id]


async def own(world: World, at: datetime = NINE) -> Forecast:
    """The forecast of the world's account, whose meter holds the money."""
    async with unit_of_work(world.group_id) as work:
        found = await forecasts_of_accounts(work, account_ids=[world.account.id], at=at)
    return found[world.account.id].found


async def remains(world: World, yuan: str, at: datetime) -> None:
    """The world's meter says that so much is left."""
    hao = Money.parse(yuan).hao
    reading = reading_of(world.meter.id, at=at, total=2_000_000, remaining_hao=hao)
    async with unit_of_work(world.group_id) as work:
        await store_readings(work, readings=[reading])


async def alarms(world: World) -> list[tuple[str, bool]]:
    """(subject, whether it stands) of the alarms of days left, those that stand last."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT subject, ended_at IS NULL AS stands FROM alerts_alarm"
            " WHERE kind = 'DAYS_LEFT' ORDER BY ended_at NULLS LAST, id"
        )
    return [(row["subject"], row["stands"]) for row in rows]


async def test_days_left_come_from_the_accounts_own_hours_and_stay_with_its_group(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await two_shops(ours)
    await home.pay("20")
    done = await tend_forecasts(group_id=ours.group_id, at=NINE)
    assert (done.places, done.days) == (2, 2 * 28)
    # 5.76 yuan of Monday from nine, 6.84 on Tuesday and Wednesday, 0.48 by Thursday at eight; 0.08 are 8 min.
    assert (await shown(home)).found == Forecast(Basis.OWN_USE, 2, THURSDAY)
    async with unit_of_work(ours.group_id) as work:
        row = await work.fetchrow(
            "SELECT days_left, zero_at FROM charges_forecast WHERE ref = $1", home.account.id
        )
    assert row is not None
    assert tuple(row) == (2, THURSDAY)
    # A day is learned once, and money that is paid is in the answer at once.
    assert (await tend_forecasts(group_id=ours.group_id, at=NINE + HOUR)).days == 0
    await home.pay("6.84")
    assert (await shown(home)).found.zero_at == THURSDAY + DAY
    assert await tend_forecasts(group_id=theirs.group_id, at=NINE) == Tended(1, 0, 0)
    assert await own(theirs) == Forecast(Basis.NO_PRICE)


async def test_a_meter_that_holds_its_money_is_asked_what_remains(
    worlds: tuple[World, World],
) -> None:
    ours = worlds[0]
    await two_shops(ours)
    await tend_forecasts(group_id=ours.group_id, at=NINE)
    await remains(ours, "20", NINE)
    assert await own(ours) == Forecast(Basis.OWN_USE, 2, THURSDAY)


async def test_money_that_ends_soon_is_looked_at_each_hour_and_other_money_each_night(
    worlds: tuple[World, World],
) -> None:
    ours = worlds[0]
    home = await two_shops(ours)
    await home.pay("200")
    looked = []
    for at in (NINE, NINE + HOUR, NINE + DAY, NINE + DAY + HOUR):
        looked.append((await tend_forecasts(group_id=ours.group_id, at=at)).places)
    assert looked == [2, 1, 2, 1]  # of the other one nothing is left


async def test_a_new_account_is_told_that_too_little_is_known_and_a_silent_day_is_no_day_without_use(
    worlds: tuple[World, World],
) -> None:
    ours = worlds[0]
    home = await make_home(ours)
    await home.pay("20")
    await live(ours, [home.meter.id], days=8, silent=[2, 3])
    await tend_forecasts(group_id=ours.group_id, at=ours.clock.now())
    assert (await shown(home, ours.clock.now())).found == Forecast(Basis.LEARNING)
    await live(ours, [home.meter.id], first=8, days=4)
    await tend_forecasts(group_id=ours.group_id, at=ours.clock.now())
    async with unit_of_work(ours.group_id) as work:
        kept = (await kept_of(work, refs=[home.account.id]))[home.account.id]
    # Wednesday and Thursday of the first week were silent; its Friday began with what came after it.
    assert kept.profile.seen == (2, 2, 1, 1, 1, 1, 1)
    assert kept.found.basis is Basis.OWN_USE
    assert kept.profile.hours[48 + 9] == 6_000


async def test_fixed_fees_and_every_meter_of_a_shared_purse_count(
    worlds: tuple[World, World],
) -> None:
    ours = worlds[0]
    home = await make_home(ours, terms=replace(flat(6_000), monthly=365_000))
    guest = await make_home(ours, no="300002")
    await share_purse(
        scope=ours.scope,
        account_id=guest.account.id,
        owner_id=home.account.id,
        reason="one family",
        at=ours.clock.now(),
    )
    await live(ours, [home.meter.id, guest.meter.id])
    await home.pay("20")
    await tend_forecasts(group_id=ours.group_id, at=NINE)
    async with unit_of_work(ours.group_id) as work:
        kept = (await kept_of(work, refs=[home.account.id]))[home.account.id]
    assert kept.profile.hours[8] == 12_000  # both shops
    assert kept.profile.hours[23] == 1_200 + 12_000  # 1.20 yuan of a fixed fee a day
    assert (await shown(guest)).found == (await shown(home)).found


async def test_a_meter_change_takes_what_was_learned_along(worlds: tuple[World, World]) -> None:
    ours = worlds[0]
    home = await make_home(ours)
    await home.pay("20")
    await live(ours, [home.meter.id])
    moved = MONDAY + 28 * DAY
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET ended_at = $2, closing_total = opening_total"
            " WHERE id = $1",
            home.assignment.id,
            moved,
        )
    await add_meter(ours, home.account, serial="C-NEW", bus_address=77, at=moved)
    await tend_forecasts(group_id=ours.group_id, at=NINE)
    assert (await shown(home)).found == Forecast(Basis.OWN_USE, 2, THURSDAY)


async def test_what_was_said_of_a_day_is_measured_when_it_is_over(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await two_shops(ours)
    await tend_forecasts(group_id=ours.group_id, at=NINE)
    known = await shown(home)
    # Seven days taught the profile; of the first weekend it knew working days alone, later ones by the week.
    assert len(known.measured.days) == 21
    assert len(known.measured.weeks) == 3
    assert mape(known.measured.days[-7:]) == 0
    async with unit_of_work(ours.group_id) as work:
        days = await measured_days(work, scope=ours.scope, project_id=ours.project.id, limit=50)
    assert [day.day for day in days] == [date(2026, 12, 20) - n * DAY for n in range(21)]
    assert (days[0].accounts, days[0].mape, days[0].wape) == (2, 0, 0)
    assert days[-1].came == 2 * 68_400
    async with unit_of_work(theirs.group_id) as work:
        assert not await work.fetchval("SELECT count(*) FROM charges_forecast_day")


async def test_customers_are_warned_days_before_their_money_ends_and_again_only_after_a_top_up(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    await two_shops(ours)
    for world in worlds:
        await bind_customer(world)
    subject = str(ours.assignment.id)
    # Half a day more than warned of is no end of it, ten days are; then it may come again.
    days = [("20", True), ("20", True), ("24", True), ("60", False), ("20", True)]
    for n, (remaining, stands) in enumerate(days):
        await remains(ours, remaining, NINE + n * HOUR // 60)
        await tend_forecasts(group_id=ours.group_id, at=NINE)
        assert (await alarms(ours))[-1] == (subject, stands)
    text = "余额提醒：Shop 100001 余额 20.00 元，按近期用量约可用 2 天，预计 12-24 08:08 用完，请及时充值。"
    assert [words for _, words in await told(ours)] == [text, text]
    assert await alarms(ours) == [(subject, False), (subject, True)]
    assert await told(theirs) == []
    assert await alarms(theirs) == []


async def test_a_weekend_that_the_money_does_not_last_is_warned_of_while_the_office_is_open(
    worlds: tuple[World, World],
) -> None:
    ours = worlds[0]
    home = await two_shops(ours)
    await bind_customer(replace(ours, account=home.account))
    async with unit_of_work(ours.group_id) as work:
        await set_warning(
            work, scope=ours.scope, project_id=ours.project.id, days_left=1, at=ours.clock.now()
        )
    await home.pay("7.60")  # from Friday at ten until Sunday afternoon
    friday = NINE + 4 * DAY + HOUR
    assert (await tend_forecasts(group_id=ours.group_id, at=friday)).warned == 1
    assert await alarms(ours) == [(str(home.account.id), True)]
    assert "12-27 16:40" in (await told(ours))[0][1]


async def test_what_lasts_until_the_office_opens_again_is_not_warned_of(
    worlds: tuple[World, World],
) -> None:
    ours = worlds[0]
    home = await two_shops(ours)
    async with unit_of_work(ours.group_id) as work:
        await set_warning(
            work, scope=ours.scope, project_id=ours.project.id, days_left=1, at=ours.clock.now()
        )
    # 5.16 on Friday, 2.88 at the weekend, 1.08 by nine on Monday: 9.12, and three minutes more.
    await home.pay("9.15")
    assert (await tend_forecasts(group_id=ours.group_id, at=NINE + 4 * DAY + HOUR)).warned == 0
    assert await alarms(ours) == []


async def test_of_an_account_that_is_no_more_nothing_stands(worlds: tuple[World, World]) -> None:
    ours = worlds[0]
    home = await two_shops(ours)
    await home.pay("20")
    await tend_forecasts(group_id=ours.group_id, at=NINE)
    assert await alarms(ours) == [(str(home.account.id), True)]
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE accounts_account SET closed_at = $2 WHERE id = $1", home.account.id, NINE
        )
    await tend_forecasts(group_id=ours.group_id, at=NINE + HOUR)
    assert await alarms(ours) == [(str(home.account.id), False)]
    async with unit_of_work(ours.group_id) as work:
        listed = await running_out(work, scope=ours.scope, project_id=ours.project.id, limit=10)
    assert home.account.no not in [account.no for account, _ in listed]


async def test_what_is_used_up_is_left_to_the_alarms_of_arrears(
    worlds: tuple[World, World],
) -> None:
    ours = worlds[0]
    await two_shops(ours)
    assert (await tend_forecasts(group_id=ours.group_id, at=NINE)).warned == 0
    assert await alarms(ours) == []


async def test_the_bot_tells_a_tenant_how_long_his_money_lasts_and_a_stranger_nothing_of_it(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await two_shops(ours)
    customer = await bind_customer(replace(ours, account=home.account))
    stranger = await bind_customer(theirs)
    await home.pay("20")
    await tend_forecasts(group_id=ours.group_id, at=NINE)
    for world in worlds:
        world.clock.instant = NINE
    assert (await said(ours, customer, "还能用几天"))[0].endswith(
        "约可用 2 天，预计 12月24日 08:08 用完"
    )
    assert "约可用 2 天。" in await said(ours, customer, "余额")
    assert "12月24日" not in "".join(await said(theirs, stranger, "还能用几天"))


async def test_the_demo_knows_at_once_how_long_the_money_of_its_homes_lasts(
    worlds: tuple[World, World],
) -> None:
    ours = worlds[0]
    await priced(ours)
    home = Home(
        no=ours.account.no,
        name="",
        place=(),
        phone="",
        meter=ours.meter.serial,
        openid="",
        remaining="",
        energy="",
        average_w=1_000,
    )
    site = Site("main", "", "SHOPS", ours.gateway.serial, "", (home,))
    await remains(ours, "50", START)
    for _ in range(2):
        await live_before([DemoGroup(ours.code, "", APP_ID, (site,))], at=START)
    found = await own(ours, START)
    # About 24 kWh a day at 0.60 yuan.
    assert (found.basis, found.days_left) == (Basis.OWN_USE, 3)
