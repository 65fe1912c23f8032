"""A draft price run over last month's readings: who would have paid how much more, and nobody is charged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from backend.accounts.models import Account
from backend.journeys.what_if import WhatIf, what_if
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Forbidden, InvalidInput, NotFound
from backend.metering.readings import Reading, store_readings
from backend.metering.rollups import roll_up
from backend.tariffs.queries import Version, tariffs_of_project
from backend.tariffs.rules import Season, Step, StepPeriod, TariffKind, Terms
from backend.tenancy.rules import Permission
from schema.scalars import ref

from .graphql.edge import make_api, operator_token
from .priced import assign, flat, in_force, make_draft, make_tariff
from .world import START, World, admin_scope, make_account, make_meter, reading_of

Two = tuple[World, World]
DECEMBER = date(2026, 12, 1)
NIGHT = Terms(
    TariffKind.ELECTRICITY, (Season(1, 1, {"flat": 6_000, "peak": 9_000, "valley": 3_000}),)
)
ASK = """query($v: ID!, $m: Date) { tariffWhatIf(version: $v, month: $m, first: 10) {
  month counted payMore payLess unpriced before after
  accounts { account no used before after more doubtful } } }"""


def midnight(day: int) -> datetime:
    """The midnight of China that begins a day of December."""
    return datetime(2026, 12, day, tzinfo=UTC) - timedelta(hours=8)


def read(meter_id: UUID, at: datetime, total: int, **bands: int) -> Reading:
    """A reading with its band registers in Wh."""
    return reading_of(meter_id, at=at, total=total)._replace(bands=bands)


async def lived(world: World) -> tuple[World, Account]:
    """December is over: by day the world's shop used 3 kWh at peak and 1 kWh in the valley, another one
    0.5 kWh at peak and 5 kWh in the valley. Both pay 0.60."""
    other = await make_account(world, no="100002")
    second, _ = await make_meter(world, serial="METER-2", bus_address=2, account=other)
    tariff = await make_tariff(world)
    await in_force(world, tariff)
    await assign(world, tariff, world.account.id, other.id)
    async with unit_of_work(world.group_id) as work:
        await work.execute("SELECT metering_prepare($1)", DECEMBER)
        readings = []
        for day in range(32):
            at = midnight(1) + timedelta(days=day)
            for meter, peak, valley in ((world.meter, 3_000, 1_000), (second, 500, 5_000)):
                readings.append(
                    read(
                        meter.id,
                        at,
                        (peak + valley) * day,
                        spike=0,
                        peak=peak * day,
                        flat=0,
                        valley=valley * day,
                    )
                )
        await store_readings(work, readings=readings)
    world.clock.advance(midnight(1) + timedelta(days=40) - START)
    while True:
        async with unit_of_work(world.group_id) as work:
            if not (await roll_up(work, until=world.clock.now())).batches:
                return world, other


async def draft_of(world: World, terms: Terms) -> Version:
    """A draft of the one tariff of the world."""
    async with unit_of_work(world.group_id) as work:
        (tariff,) = await tariffs_of_project(work, scope=world.scope, project_id=world.project.id)
    return await make_draft(
        world, tariff, terms=terms, effective_at=world.clock.now() + timedelta(days=30)
    )


async def run(world: World, version: Version, month: date | None = None, first: int = 50) -> WhatIf:
    return await what_if(
        scope=world.scope, version_id=version.id, month=month, first=first, at=world.clock.now()
    )


async def test_who_would_have_paid_how_much_more_is_told_before_anybody_approves(
    worlds: Two,
) -> None:
    world, other = await lived(worlds[0])
    found = await run(world, await draft_of(world, NIGHT))
    told = [
        (each.no, each.used, each.compared.before, each.compared.after) for each in found.accounts
    ]
    day_shop = (31 * 4_000, 31 * 24_000, 31 * (3 * 9_000 + 3_000))
    night_shop = (31 * 5_500, 31 * 33_000, 31 * (4_500 + 15_000))
    assert told == [(world.account.no, *day_shop), (other.no, *night_shop)]
    assert (found.month, found.counted, found.pay_more, found.pay_less) == (DECEMBER, 2, 1, 1)
    assert (found.before, found.after) == (day_shop[1] + night_shop[1], day_shop[2] + night_shop[2])
    async with unit_of_work(world.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM ledger_entry") == 0


async def test_steps_of_a_year_and_the_monthly_fee_are_part_of_it(worlds: Two) -> None:
    world, _ = await lived(worlds[0])
    stepped = replace(
        flat(6_000), step_period=StepPeriod.YEAR, steps=(Step(100_000, 1_000),), monthly=310_000
    )
    found = await run(world, await draft_of(world, stepped))
    first, second = found.accounts
    assert first.compared.more == 310_000 + (31 * 5_500 - 100_000)
    assert second.compared.more == 310_000 + (31 * 4_000 - 100_000)


async def test_the_same_price_changes_nothing_and_a_page_still_counts_all(worlds: Two) -> None:
    world, _ = await lived(worlds[0])
    found = await run(world, await draft_of(world, flat(6_000)), first=1)
    assert (len(found.accounts), found.counted) == (1, 2)
    assert (found.pay_more, found.pay_less, found.after - found.before) == (0, 0, 0)


async def test_a_month_without_a_price_is_told_and_one_that_is_not_over_is_refused(
    worlds: Two,
) -> None:
    world, _ = await lived(worlds[0])
    draft = await draft_of(world, NIGHT)
    october = await run(world, draft, date(2026, 10, 5))
    assert (october.counted, october.unpriced, october.month) == (0, 2, date(2026, 10, 1))
    with pytest.raises(InvalidInput, match="over"):
        await run(world, draft, date(2027, 1, 1))


async def test_it_needs_the_rights_to_see_prices_and_accounts(worlds: Two) -> None:
    ours, theirs = worlds
    version = await make_draft(ours, await make_tariff(ours))
    blind = replace(
        ours,
        scope=admin_scope(ours.group_id, permissions=frozenset({str(Permission.TARIFF_READ)})),
    )
    with pytest.raises(Forbidden, match="account:read"):
        await run(blind, version)
    for stranger in (
        replace(ours, scope=admin_scope(ours.group_id, permissions=frozenset())),
        theirs,
    ):
        with pytest.raises(NotFound):
            await run(stranger, version)


async def test_the_console_gets_it_in_yuan_and_kwh(worlds: Two) -> None:
    world, _ = await lived(worlds[0])
    draft = await draft_of(world, NIGHT)
    api = make_api(world.ports, dsn="postgresql://unused")
    token = await operator_token(world, role="auditor")
    found = (await api.data(ASK, {"v": ref("TariffVersion", draft.id)}, token=token))[
        "tariffWhatIf"
    ]
    assert found["accounts"][0] == {
        "account": ref("Account", world.account.id),
        "no": world.account.no,
        "used": "124.000",
        "before": "74.40",
        "after": "93.00",
        "more": "18.60",
        "doubtful": True,  # the meters of this test are read once a day
    }
    assert (found["month"], found["counted"], found["payMore"]) == ("2026-12-01", 2, 1)
