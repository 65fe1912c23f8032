"""An account is opened with its meters, thresholds and first credit, once (A13, C9, C11)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from backend.accounts.models import Account
from backend.alerts.levels import levels_of_meters
from backend.journeys.cash_desk import open_shift
from backend.journeys.opening import FirstCredit, NewHousehold, OpenedMeter, open_household
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.ledger.rules import AccountKind
from backend.metering.queries import assignment_of_meter
from backend.sandbox.embedded.services import EmbeddedServices
from workers.models import meter_models

from .household import Street, expect_meters_agree, expect_sound, streets
from .refunding import allow_alone
from .world import World, admin_scope

TEN = Money.parse("10")
NO_CREDIT = FirstCredit()


@pytest.fixture
async def both(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[tuple[Street, Street]]:
    """Our street and theirs."""
    async with streets(worlds, database, tmp_path) as made:
        yield made


async def _open(
    street: Street,
    *units: int,
    credit: FirstCredit = NO_CREDIT,
    key: str = "opening-1",
    no: str = "400001",
    area: UUID | None = None,
) -> Account:
    new = NewHousehold(
        area_id=area or street.world.area.id,
        no=no,
        name="Noodles",
        phone="13800138001",
        meters=[OpenedMeter(street.meters[unit].id, {"alarm1": 100_000}) for unit in units],
        credit=credit,
    )
    return await open_household(
        scope=street.world.scope,
        new=new,
        idempotency_key=key,
        models=meter_models(),
        at=street.clock.now(),
    )


async def test_one_household_with_two_meters_thresholds_and_a_grant(
    both: tuple[Street, Street],
) -> None:
    street, theirs = both
    await street.register(1)
    await street.register(2)
    account = await _open(street, 2, 1, credit=FirstCredit(grant=TEN))
    assert (await _open(street, 2, 1, credit=FirstCredit(grant=TEN))).id == account.id
    await street.work()
    assert street.wallet(2) == (1000, 1)
    assert street.wallet(1) == (2000, 0)
    for unit in (1, 2):
        assert street.box(unit).state().settings.alarm1_fen == 1000
    ids = [meter.id for meter in street.meters.values()]
    async with unit_of_work(street.world.group_id) as work:
        levels = await levels_of_meters(work, meter_ids=ids)
    assert [levels[id_].low_1 for id_ in ids] == [TEN, TEN], "the cloud alarms where the meter does"
    assert await street.value("SELECT source FROM control_vend") == "OPENING"
    async with unit_of_work(street.world.group_id) as work:
        served = await assignment_of_meter(work, meter_id=street.meters[1].id)
    assert served is not None
    # What a meter held before is in the book from the first day, so that both agree (C11).
    assert served.opening_remaining_hao == 200_000
    book = await street.book()
    assert book[AccountKind.METER_WALLET] == Money.parse("30")
    assert book[AccountKind.GRANT_FUND] == -Money.parse("30")
    await expect_sound(street)
    await expect_meters_agree(street, {1: account, 2: account})
    assert await theirs.value("SELECT count(*) FROM accounts_opening") == 0


async def test_the_first_cash_goes_through_the_desk_and_a_repeat_takes_it_once(
    both: tuple[Street, Street],
) -> None:
    street, _ = both
    await street.register(2)
    credit = FirstCredit(cash=Money.parse("100"))
    with pytest.raises(Conflict):  # no shift is open: the account is, and a repeat takes the cash
        await _open(street, 2, credit=credit)
    await open_shift(
        scope=street.world.scope,
        project_id=street.world.project.id,
        desk="1",
        change=ZERO,
        at=street.clock.now(),
    )
    for _ in range(2):
        await _open(street, 2, credit=credit)
    await street.work()
    assert street.wallet(2) == (10_000, 1)
    assert await street.value("SELECT count(*) FROM topups_order") == 1
    await expect_sound(street)


async def test_a_key_is_for_one_opening_and_a_wrong_one_opens_nothing(
    both: tuple[Street, Street],
) -> None:
    street, theirs = both
    await street.register(2)
    await theirs.register(3)
    await allow_alone(street.world, fen=500)
    with pytest.raises(InvalidInput):  # more than one operator gives alone
        await _open(street, 2, credit=FirstCredit(grant=TEN))
    with pytest.raises(InvalidInput):
        await _open(street, 2, credit=FirstCredit(grant=Money(1)))
    with pytest.raises(Conflict):  # nothing is there to be credited
        await _open(street, credit=FirstCredit(grant=Money.parse("1")))
    street.meters[9] = theirs.meters[3]
    with pytest.raises(NotFound):
        await _open(street, 2, 9)
    with pytest.raises(NotFound):
        await _open(street, 2, area=theirs.world.area.id)
    assert await street.value("SELECT count(*) FROM accounts_account WHERE no = '400001'") == 0
    await _open(street, 2)
    with pytest.raises(Conflict):
        await _open(street, 2, no="400002")
    street.world.scope = admin_scope(
        street.world.group_id, permissions=frozenset({"account:read", "meter:read"})
    )
    with pytest.raises(Forbidden):
        await _open(street, 2, key="opening-2")


async def test_a_meter_that_was_not_read_within_the_hour_is_not_hung(
    both: tuple[Street, Street],
) -> None:
    street, _ = both
    await street.register(2)
    await street.pass_time(minutes=61)
    with pytest.raises(Conflict):
        await _open(street, 2)
    await street.read(2)
    await _open(street, 2)
