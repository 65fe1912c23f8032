"""A change of what accounts pay by is proposed by one and approved by another, whole or not (C22, C30)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from backend.audit.queries import entries
from backend.journeys.what_if import what_if_changed
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.scope import Scope
from backend.tariffs import changes
from backend.tariffs.changes import Change, ChangeState
from backend.tariffs.queries import Tariff, assignments_of_accounts
from backend.tenancy.rules import Permission

from .priced import flat, in_force, later, make_tariff, priced, propose, second_person
from .world import START, World, admin_scope, make_account, make_project, new_id

Two = tuple[World, World]
TOMORROW = later(days=1)


async def cheaper(world: World) -> Tariff:
    """The world's account pays by one tariff; another one is in force beside it."""
    await priced(world)
    tariff = await make_tariff(world, name="Big shops")
    await in_force(world, tariff, terms=flat(5_000))
    return tariff


async def approve(world: World, change: Change, *, scope: Scope | None = None) -> Change:
    async with unit_of_work(world.group_id) as work:
        return await changes.approve_change(
            work,
            scope=scope or second_person(world),
            change_id=change.id,
            at=world.clock.now(),
        )


async def reject(world: World, change: Change, note: str = "too dear") -> Change:
    async with unit_of_work(world.group_id) as work:
        return await changes.reject_change(
            work, scope=second_person(world), change_id=change.id, note=note, at=world.clock.now()
        )


async def paid_by(world: World, account_id: UUID) -> Sequence[UUID]:
    """The tariffs of an account, one after the other."""
    async with unit_of_work(world.group_id) as work:
        found = await assignments_of_accounts(work, account_ids=[account_id])
    return [each.tariff_id for each in found[account_id]]


async def test_nothing_changes_until_another_person_approved(worlds: Two) -> None:
    ours, theirs = worlds
    tariff = await cheaper(ours)
    change = await propose(ours, tariff, started_at=TOMORROW)
    assert (change.state, change.proposed_name) == (ChangeState.PROPOSED, "ling")
    assert tariff.id not in await paid_by(ours, ours.account.id)
    with pytest.raises(Forbidden, match="cannot approve"):
        await approve(ours, change, scope=ours.scope)
    done = await approve(ours, change)
    assert (done.state, done.decided_name) == (ChangeState.APPROVED, "wei")
    assert (await paid_by(ours, ours.account.id))[-1] == tariff.id
    async with unit_of_work(ours.group_id) as work:
        told = await entries(work, before_seq=None, limit=2)
    assert [entry.action for entry in told] == ["tariff:change:approve", "tariff:change:propose"]
    assert await paid_by(theirs, theirs.account.id) == []


async def test_one_person_alone_gives_a_first_tariff_but_never_another_one(worlds: Two) -> None:
    ours, _ = worlds
    tariff = await cheaper(ours)
    new = await make_account(ours, no="100002")

    async def first(*account_ids: UUID) -> int:
        async with unit_of_work(ours.group_id) as work:
            return await changes.assign_first(
                work,
                scope=ours.scope,
                tariff_id=tariff.id,
                account_ids=account_ids,
                started_at=TOMORROW,
                at=START,
            )

    with pytest.raises(Conflict, match="propose the change"):
        await first(new.id, ours.account.id)
    assert await paid_by(ours, new.id) == []
    assert await first(new.id) == 1
    with pytest.raises(Conflict, match="propose the change"):
        await first(new.id)


async def test_the_database_itself_refuses_an_approval_by_the_proposer(
    worlds: Two, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    ours, _ = worlds
    change = await propose(ours, await cheaper(ours), started_at=TOMORROW)
    with pytest.raises(asyncpg.CheckViolationError):
        await superuser.execute(
            "UPDATE tariffs_change SET state = 'APPROVED', decided_by = proposed_by,"
            " decided_at = now() WHERE id = $1",
            change.id,
        )
    for statement in (
        "UPDATE tariffs_change SET started_at = now() WHERE id = $1",
        "UPDATE tariffs_change SET account_ids = account_ids || account_ids WHERE id = $1",
        "DELETE FROM tariffs_change WHERE id = $1",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await superuser.execute(statement, change.id)
    await reject(ours, change)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await superuser.execute(
            "UPDATE tariffs_change SET state = 'APPROVED', decided_by = 'op-3' WHERE id = $1",
            change.id,
        )


async def test_a_change_is_decided_once_even_by_two_at_the_same_moment(worlds: Two) -> None:
    ours, _ = worlds
    tariff = await cheaper(ours)
    refused = await reject(ours, await propose(ours, tariff, started_at=TOMORROW))
    assert (refused.state, refused.note) == (ChangeState.REJECTED, "too dear")
    with pytest.raises(Conflict, match="REJECTED"):
        await approve(ours, refused)
    change = await propose(ours, tariff, started_at=TOMORROW)
    done = await asyncio.gather(approve(ours, change), reject(ours, change), return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Change", "Conflict"]


async def test_what_came_meanwhile_stops_a_change_as_a_whole(worlds: Two) -> None:
    ours, _ = worlds
    tariff = await cheaper(ours)
    other = await make_account(ours, no="100002")
    change = await propose(ours, tariff, ours.account.id, other.id, started_at=TOMORROW)
    late = await propose(ours, tariff, started_at=START)
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE accounts_account SET closed_at = $3 WHERE group_id = $1 AND id = $2",
            ours.group_id,
            other.id,
            START,
        )
    with pytest.raises(Conflict, match="100002 is closed"):
        await approve(ours, change)
    ours.clock.advance(timedelta(seconds=1))
    with pytest.raises(Conflict, match="propose it anew"):
        await approve(ours, late)
    assert tariff.id not in await paid_by(ours, ours.account.id)


@pytest.mark.parametrize("note", ["", "  no ", "x" * 201])
async def test_a_refusal_says_why(worlds: Two, note: str) -> None:
    ours, _ = worlds
    change = await propose(ours, await cheaper(ours), started_at=TOMORROW)
    with pytest.raises(InvalidInput):
        await reject(ours, change, note)


async def test_nothing_is_proposed_that_could_not_be_done(worlds: Two) -> None:
    ours, theirs = worlds
    tariff = await cheaper(ours)
    second = await make_project(ours)
    for stranger in (theirs.account.id, second.account.id, new_id()):
        with pytest.raises(NotFound, match="no such account"):
            await propose(ours, tariff, ours.account.id, stranger, started_at=TOMORROW)
    with pytest.raises(InvalidInput, match="from now on"):
        await propose(ours, tariff, started_at=START - timedelta(seconds=1))
    empty = await make_tariff(ours, name="Empty")
    with pytest.raises(Conflict, match="no approved version"):
        await propose(ours, empty, started_at=TOMORROW)


async def test_each_step_needs_its_right_and_strangers_see_nothing(worlds: Two) -> None:
    ours, theirs = worlds
    change = await propose(ours, await cheaper(ours), started_at=TOMORROW)
    writer = admin_scope(
        ours.group_id,
        permissions=frozenset({str(Permission.TARIFF_READ), str(Permission.TARIFF_WRITE)}),
    )
    with pytest.raises(Forbidden):
        await approve(ours, change, scope=writer)
    with pytest.raises(NotFound):
        await approve(theirs, change)
    async with unit_of_work(ours.group_id) as work:
        nobody = admin_scope(ours.group_id, permissions=frozenset())
        for door in (
            changes.change(work, scope=nobody, change_id=change.id),
            changes.changes_page(
                work, scope=nobody, project_id=ours.project.id, before=None, limit=9
            ),
        ):
            with pytest.raises(NotFound):
                await door
        page = await changes.changes_page(
            work, scope=ours.scope, project_id=ours.project.id, before=None, limit=9
        )
    assert page == [change]


async def test_a_change_is_run_over_last_month_before_it_is_approved(worlds: Two) -> None:
    ours, _ = worlds
    change = await propose(ours, await cheaper(ours), started_at=TOMORROW)
    ours.clock.advance(timedelta(days=10))
    found = await what_if_changed(
        scope=ours.scope, change_id=change.id, month=None, first=9, at=ours.clock.now()
    )
    (compared,) = found.accounts
    assert (compared.account_id, compared.used, found.pay_more) == (ours.account.id, 0, 0)
    assert found.version.tariff_id == change.tariff_id
