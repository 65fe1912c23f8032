"""A meter is replaced and its money moves in, exactly once, whatever dies in between (A17, C8-C10, C16)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from backend.alerts.levels import keep_meter_levels, levels_of_meters
from backend.control.load_guards import lock_guarded
from backend.control.rules import Wallet
from backend.control.supplies import supplies_of_meters
from backend.control.timetables import followers
from backend.journeys import vend as journey
from backend.journeys.cases import CaseAction, resolve
from backend.journeys.supply import protect_meter
from backend.journeys.takedown import cancel_takedown, name_next_meter
from backend.journeys.takedown_steps import agree_typed, go_on, look, type_final
from backend.journeys.timetable import plan_timing
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.ledger.rules import AccountKind
from backend.metering.queries import assignment_by_id, assignment_of_meter, meter_by_id
from backend.metering.takedown_rules import FinalBy, FinalWord, TakedownState
from backend.sandbox.embedded.services import EmbeddedServices
from workers.links.lane import Priority
from workers.models import meter_models

from .dormitory import guarded, make_guard, make_timetable
from .household import Street, expect_meters_agree, expect_sound, streets
from .refunding import allow_alone, second
from .world import World

TWENTY, FIFTY = Money.parse("20"), Money.parse("50")


@pytest.fixture
async def both(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[tuple[Street, Street]]:
    """Our street and theirs; nothing is drawn."""
    async with streets(worlds, database, tmp_path) as made:
        yield made


@pytest.fixture
async def street(both: tuple[Street, Street]) -> AsyncIterator[Street]:
    """Our street; nothing ever happens in theirs."""
    yield both[0]
    theirs = both[1]
    assert await theirs.value("SELECT count(*) FROM metering_takedown") == 0
    assert await theirs.value("SELECT count(*) FROM ledger_entry") == 0


async def test_the_new_meter_holds_the_old_ones_money_once_and_the_book_agrees(
    street: Street,
) -> None:
    account = await street.household("300001", 1)
    await street.buy(account, 5000, unit=1)
    await street.work()
    assert street.wallet(1) == (7000, 1)
    await street.register(2)
    begun = await street.replace(1, 2, key="replace-1")
    again = await street.replace(1, 2, key="replace-1")
    assert again.id == begun.id
    await street.work()
    done = await street.now(begun)
    assert (done.state, done.moved, done.used) == (TakedownState.DONE, Money.parse("70"), ZERO)
    assert done.final_by is FinalBy.READ
    assert street.wallet(2) == (7000, 1)
    assert street.wallet(1) == (
        7000,
        1,
    )  # no command takes it back: it is dead money, and off the book
    book = await street.book()
    assert book[AccountKind.METER_WALLET] == Money.parse("70")
    assert book[AccountKind.IN_TRANSIT] == book[AccountKind.PURSE] == ZERO
    await expect_sound(street)
    await expect_meters_agree(street, {2: account})
    for _ in range(3):  # whatever rings again
        await go_on(group_id=street.world.group_id, takedown_id=begun.id, at=street.clock.now())
        await street.pass_time(minutes=10)
    assert street.wallet(2) == (7000, 1)
    async with unit_of_work(street.world.group_id) as work:
        old = await assignment_by_id(work, assignment_id=begun.assignment_id)
        new = await assignment_of_meter(work, meter_id=street.meters[2].id)
        gone = await meter_by_id(work, meter_id=street.meters[1].id)
    assert new is not None
    assert (old.closing_remaining_hao, old.closing_purchase_no) == (700_000, 1)
    assert (new.account_id, new.opening_purchase_no, new.last_purchase_no) == (account.id, 0, 1)
    assert gone.removed_at is not None
    assert await street.cases() == []


async def test_what_is_wanted_of_a_circuit_is_wanted_of_its_new_meter(street: Street) -> None:
    world = street.world
    await street.household("300001", 1)
    old, at = street.meters[1], street.clock.now()
    await protect_meter(
        scope=world.scope,
        meter_id=old.id,
        reason="a ventilator",
        review_at=at + timedelta(days=90),
        at=at,
    )
    kept, guard = await make_timetable(world), await make_guard(world)
    await plan_timing(
        scope=world.scope,
        timetable_id=kept.id,
        meter_ids=[old.id],
        reason="lights out at eleven",
        models=meter_models(),
        at=at,
    )
    await guarded(world, guard, [old.id])
    async with unit_of_work(world.group_id) as work:
        levels = await keep_meter_levels(
            work,
            actor=world.scope.actor,
            project_id=world.project.id,
            meter_id=old.id,
            low=(FIFTY, TWENTY),
            overload_w=2_000,
            at=at,
        )
    await street.register(2)
    begun = await street.replace(1, 2, key="replace-1")
    await street.work()
    assert (await street.now(begun)).state is TakedownState.DONE
    new = street.meters[2]
    async with unit_of_work(world.group_id) as work:
        supply = (await supplies_of_meters(work, meter_ids=[new.id]))[new.id]
        assert await followers(work, timetable_id=kept.id) == sorted([old.id, new.id])
        (under,) = await lock_guarded(work, meter_ids=[new.id])
        assert await levels_of_meters(work, meter_ids=[new.id]) == {new.id: levels}
    assert supply.protected is not None
    assert supply.protected.reason == "a ventilator"
    assert supply.force is None
    assert under.guard == guard.guard


async def test_a_protection_of_the_new_meter_is_not_taken_off_by_a_replacement(
    street: Street,
) -> None:
    world, at = street.world, street.clock.now()
    await street.household("300001", 1)
    await street.register(2)
    new = street.meters[2]
    await protect_meter(
        scope=world.scope,
        meter_id=new.id,
        reason="a lift",
        review_at=at + timedelta(days=90),
        at=at,
    )
    begun = await street.replace(1, 2, key="replace-1")
    await street.work()
    assert (await street.now(begun)).state is TakedownState.DONE
    async with unit_of_work(world.group_id) as work:
        supply = (await supplies_of_meters(work, meter_ids=[new.id]))[new.id]
    assert supply.protected is not None
    assert supply.protected.reason == "a lift"


async def test_what_was_used_at_the_old_meter_is_income_out_of_grants_first(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> None:
    async with streets(worlds, database, tmp_path, watts=3000) as (street, _):
        account = await street.household("300001", 1)
        await street.buy(account, 5000, unit=1)
        await street.work()
        await street.pass_time(minutes=600, steps=4)
        left, _count = street.wallet(1)
        assert left < 7000
        await street.register(2)
        begun = await street.replace(1, 2)
        await street.work()
        done = await street.now(begun)
        had = await street.value("SELECT sum(amount_hao)::bigint FROM ledger_lot")
        assert done.used.hao == had - done.moved.hao > TWENTY.hao
        assert 0 <= done.moved.fen - street.wallet(2)[0] <= 1  # it draws on meanwhile
        whole = "SELECT used_hao = amount_hao FROM ledger_lot WHERE kind = 'GRANT'"
        assert await street.value(whole)
        await expect_sound(street)


async def test_a_vend_that_never_came_moves_with_the_rest_and_one_that_came_is_counted(
    street: Street,
) -> None:
    account = await street.household("300001", 1)
    street.box(1).faults.drop_write_answers = 1  # acts, its answer is lost
    await street.buy(account, 1000, unit=1)
    street.box(1).faults.silent = True
    await street.work()
    street.box(1).faults.silent = False
    await street.buy(account, 3000, unit=1)
    await street.register(2)
    begun = await street.replace(1, 2)
    await street.work()
    if (await street.now(begun)).state is not TakedownState.DONE:
        await street.pass_time(minutes=12, steps=3)
    states = await street.value(
        "SELECT string_agg(state, ',' ORDER BY purchase_no) FROM control_vend WHERE source = 'TOPUP'"
    )
    assert states == "VOIDED,VOIDED"
    assert street.wallet(2) == (6000, 1)
    await expect_sound(street)
    await expect_meters_agree(street, {2: account})


async def test_a_write_that_was_under_way_is_decided_by_the_meters_count(street: Street) -> None:
    """The meter took the credit, its answer was lost and the worker died: the last word counts it."""
    account = await street.household("300001", 1)
    await street.buy(account, 1000, unit=1)
    at, group_id = street.clock.now(), street.world.group_id
    task = await journey.next_work(group_id=group_id, meter_id=street.meters[1].id)
    assert task is not None
    before = Wallet(0, TWENTY)
    await journey.about_to_write(group_id=group_id, vend=task.vend, before=before, at=at)
    begun = await street.replace(1, None)
    with pytest.raises(Conflict):  # a worker that still thinks of writing is held back
        await journey.about_to_write(group_id=group_id, vend=task.vend, before=before, at=at)
    assert begun.unsure_until == at + timedelta(minutes=1)
    errand = await look(
        group_id=group_id, takedown_id=begun.id, models=meter_models(), at=street.clock.now()
    )
    assert (errand.read, errand.again_at) == ((), begun.unsure_until)
    bus = await street.context.buses.bus(street.world.gateway)
    async with bus.turn(Priority.VEND) as turn:  # the write arrives late
        await turn.driver(street.meters[1]).credit(amount=Money.parse("10"), purchase_count=1)
    await street.pass_time(minutes=2)
    assert (await street.now(begun)).state is TakedownState.KNOWN
    await street.register(2)
    await name_next_meter(
        scope=street.world.scope,
        takedown_id=begun.id,
        to_meter_id=street.meters[2].id,
        at=street.clock.now(),
    )
    await street.work()
    assert await street.value("SELECT state FROM control_vend WHERE source = 'TOPUP'") == "VERIFIED"
    assert street.wallet(2) == (3000, 1)
    await expect_sound(street)


async def test_money_that_lands_while_a_meter_is_replaced_goes_to_the_new_one(
    street: Street,
) -> None:
    account = await street.household("300001", 1)
    begun = await street.replace(1, None)
    await street.work()
    await street.buy(account, 2500, unit=1)
    await street.work()
    assert street.wallet(1) == (2000, 0)  # nothing is sold to a meter that is being taken down
    await street.register(2)
    await name_next_meter(
        scope=street.world.scope,
        takedown_id=begun.id,
        to_meter_id=street.meters[2].id,
        at=street.clock.now(),
    )
    await street.work()
    assert street.wallet(2) == (4500, 1)
    await expect_sound(street)


async def test_the_new_meter_may_have_the_old_ones_place_on_the_bus(street: Street) -> None:
    await street.household("300001", 1)
    old = street.meters[1]
    begun = await street.replace(1, None)
    with pytest.raises(Conflict):
        await street.register(1)
    await street.work()
    assert (await street.now(begun)).state is TakedownState.KNOWN
    street.box(1).act("replace", {"number": "230000000099"})
    new = await street.register(1)
    assert new.id != old.id
    await name_next_meter(
        scope=street.world.scope, takedown_id=begun.id, to_meter_id=new.id, at=street.clock.now()
    )
    await street.work()
    assert street.wallet(1) == (2000, 1)
    await expect_sound(street)


def _typed(street: Street, yuan: str, *, count: int = 1) -> FinalWord:
    return FinalWord(street.clock.now(), 0, Money.parse(yuan), count)


async def test_a_dead_meters_figures_are_typed_and_above_the_limit_a_second_one_agrees(
    street: Street,
) -> None:
    account = await street.household("300001", 1)
    await street.buy(account, 5000, unit=1)
    await street.work()
    street.box(1).faults.silent = True
    await street.register(2)
    begun = await street.replace(1, 2)
    await street.pass_time(minutes=40, steps=4)
    assert await street.cases() == ["TAKEDOWN_STUCK"]
    await allow_alone(street.world, fen=1000)
    scope, at = street.world.scope, street.clock.now()
    for wrong, error in (
        (_typed(street, "70.01"), Conflict),  # more than the book has
        (_typed(street, "70", count=0), Conflict),  # it was seen to take number 1
        (_typed(street, "70", count=2), Conflict),  # number 2 was never allocated
        (_typed(street, "60.001"), InvalidInput),
    ):
        with pytest.raises(error):
            await type_final(
                scope=scope, takedown_id=begun.id, word=wrong, note="by the book", at=at
            )
    word = _typed(street, "66.60")
    with pytest.raises(InvalidInput):
        await type_final(scope=scope, takedown_id=begun.id, word=word, note=" ", at=at)
    typed = await type_final(
        scope=scope, takedown_id=begun.id, word=word, note="last reading and book", at=at
    )
    assert typed.state is TakedownState.TYPED
    await street.work()
    assert (await street.now(begun)).state is TakedownState.TYPED
    with pytest.raises(Forbidden):
        await agree_typed(scope=scope, takedown_id=begun.id, agrees=True, note="", at=at)
    other = second(street.world)
    refused = await agree_typed(
        scope=other, takedown_id=begun.id, agrees=False, note="look again", at=at
    )
    assert refused.state is TakedownState.WAITING
    await type_final(
        scope=scope, takedown_id=begun.id, word=word, note="last reading and book", at=at
    )
    await agree_typed(scope=other, takedown_id=begun.id, agrees=True, note="", at=at)
    await street.work()
    done = await street.now(begun)
    assert (done.state, done.final_by) == (TakedownState.DONE, FinalBy.TYPED)
    assert (done.moved, done.used) == (Money.parse("66.60"), Money.parse("3.40"))
    assert street.wallet(2) == (6660, 1)
    assert await street.cases() == []
    await expect_sound(street)


async def test_a_meter_whose_count_does_not_fit_is_a_case_and_moves_nothing(
    street: Street,
) -> None:
    await street.household("300001", 1)
    street.box(1).faults.count_off = 3
    await street.register(2)
    begun = await street.replace(1, 2)
    await street.work()
    assert (await street.now(begun)).state is TakedownState.WAITING
    assert await street.cases() == ["TAKEDOWN_STUCK"]
    assert street.wallet(2) == (0, 0)
    street.box(1).faults.count_off = 0
    await street.pass_time(minutes=11)
    assert (await street.now(begun)).state is TakedownState.DONE
    assert street.wallet(2) == (2000, 1)
    assert await street.cases() == []


async def test_a_cancelled_replacement_leaves_the_meter_as_it_was(street: Street) -> None:
    account = await street.household("300001", 1)
    begun = await street.replace(1, None)
    await street.buy(account, 1500, unit=1)
    await street.work()
    assert street.wallet(1) == (2000, 0)
    cancelled = await cancel_takedown(
        scope=street.world.scope,
        takedown_id=begun.id,
        note="the display works",
        models=meter_models(),
        at=street.clock.now(),
    )
    assert cancelled.state is TakedownState.CANCELLED
    await street.work()
    assert street.wallet(1) == (3500, 1)
    async with unit_of_work(street.world.group_id) as work:
        meter = await meter_by_id(work, meter_id=street.meters[1].id)
    assert (meter.removed_at, meter.selling_stopped_at) == (None, None)
    with pytest.raises(Conflict):
        await cancel_takedown(
            scope=street.world.scope,
            takedown_id=begun.id,
            note="once more",
            models=meter_models(),
            at=street.clock.now(),
        )
    await expect_sound(street)


async def test_a_stopped_vend_cannot_be_retried_at_a_meter_that_is_taken_down(
    street: Street,
) -> None:
    account = await street.household("300001", 1)
    street.box(1).faults.count_off = 5
    await street.buy(account, 1000, unit=1)
    await street.work()
    case_id = await street.value("SELECT id FROM alerts_case WHERE kind = 'VEND_STOPPED'")
    await street.replace(1, None)
    with pytest.raises(Conflict):
        await resolve(
            scope=street.world.scope,
            case_id=case_id,
            action=CaseAction.RETRY,
            note="look again",
            at=street.clock.now(),
        )


async def test_another_group_and_another_project_cannot_touch_it(
    both: tuple[Street, Street],
) -> None:
    ours, theirs = both
    await ours.household("300001", 1)
    await theirs.household("300001", 1)
    await theirs.register(2)
    begun = await ours.replace(1, None)
    with pytest.raises(NotFound):
        await theirs.replace(1, None, scope=ours.world.scope)
    with pytest.raises(NotFound):
        await name_next_meter(
            scope=ours.world.scope,
            takedown_id=begun.id,
            to_meter_id=theirs.meters[2].id,
            at=ours.clock.now(),
        )
    with pytest.raises(NotFound):
        await cancel_takedown(
            scope=theirs.world.scope,
            takedown_id=begun.id,
            note="not mine",
            models=meter_models(),
            at=ours.clock.now(),
        )
