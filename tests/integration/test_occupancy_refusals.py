"""What replacing, moving, closing, hanging and opening refuse, by name, and that a refusal moves nothing
(A13, A17)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from backend.accounts.models import Account
from backend.journeys.closing import cancel_closing, close_account, resume_closing
from backend.journeys.occupancy import assign_meter
from backend.journeys.opening import NewHousehold, open_household
from backend.journeys.takedown import cancel_takedown, move_account, name_next_meter
from backend.journeys.takedown_steps import agree_typed, type_final
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput
from backend.kernel.money import Money
from backend.metering.takedown_rules import FinalWord
from backend.metering.takedowns import Takedown, takedown
from backend.sandbox.embedded.services import EmbeddedServices
from workers.models import meter_models

from .household import Street, streets
from .refunding import allow_alone, second
from .world import World, make_account, make_project

_ROWS = (
    "metering_takedown",
    "metering_assignment",
    "accounts_closing",
    "accounts_account",
    "accounts_opening",
    "control_command",
    "control_vend",
    "ledger_entry",
    "outbox_event",
    "audit_entry",
)


@pytest.fixture
async def street(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[Street]:
    """Our street; nothing ever happens in theirs."""
    async with streets(worlds, database, tmp_path) as (ours, theirs):
        before = await _rows(theirs)
        yield ours
        assert await _rows(theirs) == before


async def _rows(street: Street) -> list[str]:
    """All that a refusal could have left: every row of occupancy and what follows from it."""
    async with unit_of_work(street.world.group_id) as work:
        return [
            await work.fetchval(
                f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {each} t"
            )
            for each in _ROWS
        ]


@asynccontextmanager
async def expect_refused(
    street: Street, match: str, error: type[Exception] = Conflict
) -> AsyncIterator[None]:
    """What is done inside is refused in these words, and nothing is left of it."""
    before = await _rows(street)
    with pytest.raises(error, match=match):
        yield
    assert await _rows(street) == before


async def sql(street: Street, statement: str, *given: object) -> None:
    """Change rows of the street's group."""
    async with unit_of_work(street.world.group_id) as work:
        await work.execute(statement, *given)


async def move(
    street: Street,
    account: Account,
    meters_to: dict[UUID, UUID],
    *,
    area_id: UUID | None = None,
    key: str = "move-0001",
) -> list[Takedown]:
    """An operator moves a household."""
    return await move_account(
        scope=street.world.scope,
        account_id=account.id,
        area_id=area_id or street.world.area.id,
        meters_to=meters_to,
        cut=False,
        ask=street.ask(key=key),
    )


async def name_next(street: Street, takedown: Takedown, unit: int) -> Takedown:
    """An operator says which meter takes over."""
    return await name_next_meter(
        scope=street.world.scope,
        takedown_id=takedown.id,
        to_meter_id=street.meters[unit].id,
        at=street.clock.now(),
    )


async def takedown_of(street: Street, unit: int) -> Takedown:
    """The takedown of the meter at a unit."""
    id_ = await street.value(
        "SELECT id FROM metering_takedown WHERE meter_id = $1", street.meters[unit].id
    )
    async with unit_of_work(street.world.group_id) as work:
        return await takedown(work, scope=street.world.scope, takedown_id=id_)


async def test_a_meter_is_replaced_only_by_a_free_one_of_its_site_that_does_the_same(
    street: Street,
) -> None:
    await street.household("300001", 1)
    await street.household("300002", 2)
    for unit in (3, 4, 5):
        await street.register(unit)
    async with expect_refused(street, "this meter serves nobody"):
        await street.replace(3, 4)
    async with expect_refused(street, "serves an account already"):
        await street.replace(1, 2)
    async with expect_refused(street, "serves an account already"):
        await street.replace(1, 1)
    other = await make_project(street.world)
    street.meters[9] = other.meter
    async with expect_refused(street, "not on this site"):
        await street.replace(1, 9)
    await sql(
        street, "UPDATE metering_meter SET removed_at = now() WHERE id = $1", street.meters[5].id
    )
    async with expect_refused(street, "not on this site"):
        await street.replace(1, 5)
    await sql(street, "UPDATE metering_meter SET kind = 'WATER' WHERE id = $1", street.meters[4].id)
    async with expect_refused(street, "measures something else"):
        await street.replace(1, 4)
    await sql(
        street,
        "UPDATE metering_meter SET kind = 'ELECTRICITY', credit_mode = 'NONE' WHERE id = $1",
        street.meters[4].id,
    )
    async with expect_refused(street, "not sold to"):
        await street.replace(1, 4)
    await street.replace(1, 3)
    async with expect_refused(street, "taken"):
        await street.replace(2, 3)


async def test_a_meter_is_taken_down_once_and_its_key_is_good_for_it_alone(street: Street) -> None:
    await street.household("300001", 1)
    account = await street.household("300002", 2)
    for unit in (3, 4):
        await street.register(unit)
    begun = await street.replace(1, 3, key="replace-0001")
    assert (await street.replace(1, 3, key="replace-0001")).id == begun.id
    async with expect_refused(street, "used for something else"):
        await street.replace(2, 4, key="replace-0001")
    async with expect_refused(street, "being taken down already"):
        await street.replace(1, 4, key="replace-0002")
    for key in ("short", "k" * 201):
        async with expect_refused(street, "8 to 200", InvalidInput):
            await street.replace(2, 4, key=key)
    await street.replace(2, 4, key="move-0001:1")
    async with expect_refused(street, "used for something else"):
        await move(street, account, {street.meters[2].id: street.meters[4].id})


async def test_a_household_moves_with_all_its_meters_within_its_project(street: Street) -> None:
    account = await street.household("300001", 1, 2)
    stranger = await street.household("300002", 3)
    for unit in (4, 5):
        await street.register(unit)
    one, two, three, four, five = (street.meters[unit].id for unit in range(1, 6))
    other = await make_project(street.world)
    async with expect_refused(street, "the place is not of this project"):
        await move(street, account, {}, area_id=other.area.id)
    async with expect_refused(street, "each of its meters", InvalidInput):
        await move(street, account, {one: four})
    async with expect_refused(street, "serves another account", InvalidInput):
        await move(street, account, {one: four, two: five, three: four})
    async with expect_refused(street, "taken"):
        await move(street, account, {one: four, two: four})
    async with expect_refused(street, "serves an account already"):
        await move(street, account, {one: four, two: three})
    await sql(street, "UPDATE accounts_account SET closed_at = now() WHERE id = $1", stranger.id)
    async with expect_refused(street, "closed"):
        await move(street, stranger, {})
    async with expect_refused(street, "closed"):
        await street.replace(3, 5)


async def test_the_next_meter_is_named_while_it_is_taken_down_and_only_where_one_follows(
    street: Street,
) -> None:
    await street.household("300001", 1)
    await street.household("300002", 2)
    closing = await street.household("300003", 3)
    for unit in (4, 5):
        await street.register(unit)
    first, other = await street.replace(1, 4), await street.replace(2, None)
    async with expect_refused(street, "cannot take over"):
        await name_next(street, other, 4)
    await street.close(closing)
    ends = await takedown_of(street, 3)
    async with expect_refused(street, "no meter takes over"):
        await name_next(street, ends, 5)
    async with expect_refused(street, "cancel the closing"):
        await _cancel(street, ends)
    await street.work()
    async with expect_refused(street, "this takedown has ended"):
        await name_next(street, first, 5)
    async with expect_refused(street, "this takedown has ended"):
        await _cancel(street, first)


async def _cancel(street: Street, takedown: Takedown) -> Takedown:
    return await cancel_takedown(
        scope=street.world.scope,
        takedown_id=takedown.id,
        note="it works again",
        models=meter_models(),
        at=street.clock.now(),
    )


async def test_a_last_word_is_typed_once_and_agreed_to_once_by_another(street: Street) -> None:
    await street.household("300001", 1)
    street.box(1).faults.silent = True
    begun = await street.replace(1, None)
    await street.pass_time(minutes=40, steps=4)
    await allow_alone(street.world, fen=100)
    scope, at = street.world.scope, street.clock.now()
    word = FinalWord(at, 0, Money.parse("20"), 0)

    async def typed() -> None:
        await type_final(scope=scope, takedown_id=begun.id, word=word, note="by the book", at=at)

    async def agreed(by: str) -> None:
        who = scope if by == "typist" else second(street.world)
        await agree_typed(scope=who, takedown_id=begun.id, agrees=True, note="", at=at)

    async with expect_refused(street, "nothing waits for a second operator"):
        await agreed("another")
    await typed()
    async with expect_refused(street, "known, or typed already"):
        await typed()
    async with expect_refused(street, "who typed the figures", Forbidden):
        await agreed("typist")
    await agreed("another")
    async with expect_refused(street, "nothing waits for a second operator"):
        await agreed("another")


async def test_a_closing_begins_once_and_what_has_ended_is_neither_resumed_nor_cancelled(
    street: Street,
) -> None:
    account = await street.household("300001", 1)
    other = await street.household("300002", 2)
    scope = street.world.scope
    closing_id = await street.close(account, key="closing-0001")

    async def cancelled(note: str) -> None:
        await cancel_closing(
            scope=scope,
            closing_id=closing_id,
            note=note,
            models=meter_models(),
            at=street.clock.now(),
        )

    assert await street.close(account, key="closing-0001") == closing_id
    async with expect_refused(street, "used for another account"):
        await street.close(other, key="closing-0001")
    async with expect_refused(street, "closed, or being closed"):
        await street.close(account, key="closing-0002")
    async with expect_refused(street, "few words why", InvalidInput):
        await cancelled(" ")
    await street.pass_time(minutes=40, steps=4)
    assert await street.value(
        "SELECT closed_at IS NOT NULL FROM accounts_account WHERE no = '300001'"
    )
    async with expect_refused(street, "this closing has ended"):
        await resume_closing(scope=scope, closing_id=closing_id, at=street.clock.now())
    async with expect_refused(street, "this closing has ended"):
        await cancelled("they stay")
    async with expect_refused(street, "closed, or being closed"):
        await close_account(
            scope=scope, account_id=account.id, cut=True, ask=street.ask(key="closing-0003")
        )


async def test_a_meter_serves_an_account_that_lives_by_what_it_said_within_the_hour(
    street: Street,
) -> None:
    account = await make_account(street.world, no="300001")
    await street.register(2)

    async def hung() -> None:
        await assign_meter(
            scope=street.world.scope,
            meter_id=street.meters[2].id,
            account_id=account.id,
            at=street.clock.now(),
        )

    street.clock.advance(timedelta(minutes=61))
    async with expect_refused(street, "older than 60 minutes"):
        await hung()
    await street.read(2)
    await sql(street, "UPDATE accounts_account SET closing_at = now() WHERE id = $1", account.id)
    async with expect_refused(street, "the account is being closed"):
        await hung()
    await sql(street, "UPDATE accounts_account SET closed_at = now() WHERE id = $1", account.id)
    async with expect_refused(street, "the account is closed"):
        await hung()


async def test_a_key_opens_one_household_and_no_other(street: Street) -> None:
    async def opened(name: str) -> Account:
        return await open_household(
            scope=street.world.scope,
            new=NewHousehold(street.world.area.id, "400001", name, "13800138001", ()),
            idempotency_key="opening-0001",
            models=meter_models(),
            at=street.clock.now(),
        )

    first = await opened("Noodles")
    assert (await opened("Noodles")).id == first.id
    async with expect_refused(street, "used for another opening"):
        await opened("Dumplings")
