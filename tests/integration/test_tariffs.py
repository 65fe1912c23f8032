"""A price is drafted by one and approved by another, never changes, and each account has one of a kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from backend.audit.queries import verify
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, DomainError, Forbidden, InvalidInput, NotFound
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tariffs import operations as tariffs
from backend.tariffs import queries
from backend.tariffs.queries import Version, VersionState
from backend.tariffs.rules import Fee, Season, Step, StepPeriod, TariffKind, Terms
from backend.tenancy.rules import Permission

from .priced import (
    FLAT,
    approve,
    assign,
    flat,
    in_force,
    later,
    make_draft,
    make_tariff,
    priced,
    second_person,
    submit,
)
from .world import START, World, admin_scope, make_account, make_project, new_id

Two = tuple[World, World]
RICH = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, {"flat": 6_000, "peak": 9_000, "valley": 3_000, "deep": 2_000}),),
    step_period=StepPeriod.YEAR,
    steps=(Step(2_760_000, 500), Step(4_800_000, 3_000)),
    loss=Fee(0, 300),
    public=Fee(100, 0),
    monthly=50_000,
)


async def held(
    world: World, account_id: UUID, kind: TariffKind = TariffKind.ELECTRICITY
) -> list[tuple[Any, str]]:
    """(from when, which version) of an account, as charging gets it."""
    async with unit_of_work(world.group_id) as work:
        found = await queries.timelines(
            work, account_ids=[account_id], kind=kind, until=later(days=3650)
        )
    return [(each.effective_at, each.plan.version) for each in found.get(account_id, ())]


async def audited(world: World) -> list[str]:
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT action FROM audit_entry WHERE group_id = $1 AND action LIKE 'tariff:%'"
            " ORDER BY seq",
            world.group_id,
        )
        assert (await verify(work)).broken_at is None
    return [row["action"] for row in rows]


async def test_a_price_drafted_by_one_and_approved_by_another_holds_for_the_account(
    worlds: Two,
) -> None:
    ours, theirs = worlds
    tariff = await make_tariff(ours)
    version = await in_force(ours, tariff, terms=RICH)
    assert (version.state, version.number, version.terms) == (VersionState.APPROVED, 1, RICH)
    assert (version.drafted_name, version.decided_name) == ("ling", "wei")
    assert await assign(ours, tariff) == 1
    assert await held(ours, ours.account.id) == [(START, str(version.id))]
    assert await held(theirs, theirs.account.id) == []
    assert await audited(ours) == [
        "tariff:self:add",
        "tariff:version:draft",
        "tariff:version:submit",
        "tariff:version:approve",
        "tariff:accounts:assign",
    ]
    assert await audited(theirs) == []


async def test_who_drafted_or_submitted_a_price_cannot_approve_it(worlds: Two) -> None:
    ours, _ = worlds
    tariff = await make_tariff(ours)
    draft = await make_draft(ours, tariff)
    waiting = await submit(ours, draft)
    with pytest.raises(Forbidden, match="cannot approve"):
        await approve(ours, waiting, scope=ours.scope)
    other = await make_draft(ours, tariff, terms=flat(6_100))
    async with unit_of_work(ours.group_id) as work:
        await tariffs.submit_version(
            work, scope=second_person(ours), version_id=other.id, confirm_jumps=False, at=START
        )
    for scope in (ours.scope, second_person(ours)):
        with pytest.raises(Forbidden, match="cannot approve"):
            await approve(ours, other, scope=scope)


async def test_the_database_itself_refuses_an_approval_by_the_author(
    worlds: Two, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Past all code of ours: a bug in an operation cannot approve a price by its author."""
    ours, _ = worlds
    tariff = await make_tariff(ours)
    waiting = await submit(ours, await make_draft(ours, tariff))
    for author in ("op-1", None):
        with pytest.raises(asyncpg.CheckViolationError):
            async with unit_of_work(ours.group_id) as work:
                await work.execute(
                    "UPDATE tariffs_version SET state = 'APPROVED', decided_by = $2,"
                    " decided_at = $3 WHERE group_id = $1 AND id = $4",
                    ours.group_id,
                    author,
                    START,
                    waiting.id,
                )
    with pytest.raises(asyncpg.CheckViolationError):
        async with unit_of_work(ours.group_id) as work:
            await work.execute(
                "INSERT INTO tariffs_version (group_id, id, project_id, tariff_id, number, terms,"
                " effective_at, state, drafted_by, drafted_name, drafted_at, decided_by, decided_at)"
                " VALUES ($1, $2, $3, $4, 9, '{}', $5, 'APPROVED', 'op-1', 'ling', $5, 'op-2', $5)",
                ours.group_id,
                new_id(),
                ours.project.id,
                tariff.id,
                START,
            )


@pytest.mark.parametrize(
    "change",
    [
        "terms = jsonb_set(terms, '{monthly}', '1')",
        "effective_at = effective_at + interval '1 day'",
        "drafted_by = 'op-9'",
        "number = 7",
        "submitted_by = 'op-9'",
        "state = 'DRAFT', decided_by = NULL, decided_at = NULL",
        "state = 'SUBMITTED', decided_by = NULL, decided_at = NULL",
    ],
)
async def test_a_version_is_never_changed_even_by_the_owner_of_the_table(
    worlds: Two, superuser: asyncpg.Connection[asyncpg.Record], change: str
) -> None:
    ours, _ = worlds
    version = await in_force(ours, await make_tariff(ours))
    statement = f"UPDATE tariffs_version SET {change} WHERE id = $1"
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.CheckViolationError)):
        await superuser.execute(statement, version.id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await superuser.execute("DELETE FROM tariffs_version WHERE id = $1", version.id)


async def test_an_assignment_that_has_begun_is_never_changed_even_by_the_owner(
    worlds: Two, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    ours, _ = worlds
    await priced(ours)
    of = ours.account.id
    for change in ("tariff_id = tariff_id, started_at = now()", "assigned_by = 'op-9'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await superuser.execute(
                f"UPDATE tariffs_assignment SET {change} WHERE account_id = $1", of
            )
    with pytest.raises(asyncpg.CheckViolationError):
        await superuser.execute(
            "UPDATE tariffs_assignment SET superseded_at = started_at + interval '1 second'"
            " WHERE account_id = $1",
            of,
        )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await superuser.execute("DELETE FROM tariffs_assignment WHERE account_id = $1", of)


async def test_a_price_typed_a_hundred_times_too_high_is_asked_about_and_told_in_the_review(
    worlds: Two,
) -> None:
    ours, _ = worlds
    tariff = await priced(ours)
    slipped = await make_draft(ours, tariff, terms=flat(600_000), effective_at=later(days=1))
    with pytest.raises(InvalidInput, match="flat: 6000 -> 600000") as refused:
        await submit(ours, slipped, confirm_jumps=False)
    assert refused.value.field == "confirmJumps"
    confirmed = await submit(ours, slipped)
    assert "flat: 6000 -> 600000" in confirmed.jumps
    modest = await make_draft(ours, tariff, terms=flat(6_600), effective_at=later(days=1))
    assert (await submit(ours, modest, confirm_jumps=False)).jumps == ()


async def test_a_new_version_holds_from_its_instant_and_what_was_before_stays(worlds: Two) -> None:
    ours, _ = worlds
    tariff = await make_tariff(ours)
    first = await in_force(ours, tariff)
    await assign(ours, tariff)
    ours.clock.advance(timedelta(days=1))
    third = await in_force(ours, tariff, terms=flat(7_000), effective_at=later(days=30))
    second = await in_force(ours, tariff, terms=flat(6_500), effective_at=later(days=9))
    assert await held(ours, ours.account.id) == [
        (START, str(first.id)),
        (later(days=9), str(second.id)),
        (later(days=30), str(third.id)),
    ]


async def test_prices_never_change_backwards(worlds: Two) -> None:
    ours, _ = worlds
    tariff = await priced(ours)
    ours.clock.advance(timedelta(days=1))
    late = await make_draft(ours, tariff, effective_at=later(hours=1))
    with pytest.raises(Conflict, match="backwards"):
        await submit(ours, late)
    slow = await submit(ours, await make_draft(ours, tariff, effective_at=later(days=2)))
    ours.clock.advance(timedelta(days=2))
    with pytest.raises(Conflict, match="backwards"):
        await approve(ours, slow)


async def test_two_versions_cannot_hold_from_one_instant(worlds: Two) -> None:
    """Two persons approve two versions at the same moment: one of them is told."""
    ours, _ = worlds
    tariff = await priced(ours)
    drafts = [
        await submit(ours, await make_draft(ours, tariff, terms=terms, effective_at=later(days=1)))
        for terms in (flat(7_000), flat(8_000))
    ]
    done = await asyncio.gather(*(approve(ours, each) for each in drafts), return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Conflict", "Version"]


@pytest.mark.parametrize("steps", ["draft", "draft submit approve approve", "draft submit reject"])
async def test_a_version_goes_one_way_only(worlds: Two, steps: str) -> None:
    ours, _ = worlds
    tariff = await make_tariff(ours)
    version = await make_draft(ours, tariff)
    for step in steps.split()[1:-1]:
        version = await (submit if step == "submit" else approve)(ours, version)
    last = steps.split()[-1]
    if last == "reject":
        async with unit_of_work(ours.group_id) as work:
            version = await tariffs.reject_version(
                work, scope=second_person(ours), version_id=version.id, note="too dear", at=START
            )
        assert (version.state, version.note) == (VersionState.REJECTED, "too dear")
        with pytest.raises(Conflict, match="REJECTED"):
            await submit(ours, version)
    with pytest.raises(Conflict):
        await approve(ours, version)


async def test_an_approved_version_is_taken_back_only_before_it_holds_and_not_when_needed(
    worlds: Two,
) -> None:
    ours, _ = worlds
    tariff = await priced(ours)
    coming = await in_force(ours, tariff, terms=flat(7_000), effective_at=later(days=1))

    async def reject(version: Version) -> Version:
        async with unit_of_work(ours.group_id) as work:
            return await tariffs.reject_version(
                work,
                scope=second_person(ours),
                version_id=version.id,
                note="a mistake",
                at=ours.clock.now(),
            )

    assert (await reject(coming)).state is VersionState.REJECTED
    again = await in_force(ours, tariff, terms=flat(7_000), effective_at=later(days=1))
    ours.clock.advance(timedelta(days=1))
    with pytest.raises(Conflict, match="holds already"):
        await reject(again)
    other = await make_tariff(ours, name="Later")
    only = await in_force(ours, other, effective_at=later(days=5))
    await assign(ours, other, started_at=later(days=5))
    with pytest.raises(Conflict, match="are to pay by"):
        await reject(only)


async def test_a_household_has_one_price_of_a_kind_at_any_instant(worlds: Two) -> None:
    ours, _ = worlds
    one = await priced(ours)
    water = await priced(ours, terms=flat(30_000, TariffKind.WATER), name="Water")
    other = await make_tariff(ours, name="Big shops")
    second = await in_force(ours, other, terms=flat(5_000))
    await assign(ours, other, started_at=later(days=10))
    await assign(ours, one, started_at=later(days=20))
    found = await held(ours, ours.account.id)
    assert [at for at, _ in found] == [START, later(days=10), later(days=20)]
    await assign(ours, other, started_at=later(days=5))
    found = await held(ours, ours.account.id)
    assert [at for at, _ in found] == [START, later(days=5)]
    assert found[-1][1] == str(second.id)
    assert len(await held(ours, ours.account.id, TariffKind.WATER)) == 1
    async with unit_of_work(ours.group_id) as work:
        by = {
            tariff.name: await queries.accounts_of_tariff(
                work, tariff_id=tariff.id, at=later(days=6), limit=10
            )
            for tariff in (one, water, other)
        }
    assert by == {"Shops": [], "Water": [ours.account.id], "Big shops": [ours.account.id]}


async def test_what_was_charged_keeps_its_price_but_a_first_tariff_may_reach_back(
    worlds: Two,
) -> None:
    ours, _ = worlds
    tariff = await make_tariff(ours)
    await in_force(ours, tariff, effective_at=later(days=-1))
    ours.clock.advance(timedelta(days=3))
    assert await assign(ours, tariff, started_at=later(days=1)) == 1
    for when in (later(days=2), later(days=1), START):
        with pytest.raises(InvalidInput, match="from now on"):
            await assign(ours, tariff, started_at=when)
    other = await make_account(ours, no="100002")
    with pytest.raises(InvalidInput, match="opened later"):
        await assign(ours, tariff, other.id, started_at=START - timedelta(seconds=1))


async def test_two_persons_who_assign_at_once_leave_one_price(worlds: Two) -> None:
    ours, _ = worlds
    one, other = await make_tariff(ours), await make_tariff(ours, name="Other")
    for tariff in (one, other):
        await in_force(ours, tariff)
    when = later(days=1)
    done = await asyncio.gather(
        *(assign(ours, tariff, started_at=when) for tariff in (one, other) * 5),
        return_exceptions=True,
    )
    assert {type(each) for each in done} <= {int, Conflict}  # nobody is told of an index
    assert len(await held(ours, ours.account.id)) == 1


async def test_a_batch_is_all_or_nothing(worlds: Two) -> None:
    ours, theirs = worlds
    tariff = await make_tariff(ours)
    await in_force(ours, tariff)
    more = [await make_account(ours, no=f"10001{n}", phone=f"1390013900{n}") for n in range(3)]
    ids = [account.id for account in more]
    with pytest.raises(NotFound):
        await assign(ours, tariff, *ids, theirs.account.id)
    second = await make_project(ours)
    with pytest.raises(NotFound):
        await assign(ours, tariff, *ids, second.account.id)
    assert [await held(ours, each) for each in ids] == [[], [], []]
    assert await assign(ours, tariff, *ids, ids[0]) == 3
    assert [len(await held(ours, each)) for each in ids] == [1, 1, 1]
    with pytest.raises(InvalidInput, match="a batch"):
        await assign(ours, tariff, *[new_id() for _ in range(1_001)])


async def test_a_closed_account_and_a_price_that_does_not_hold_yet_are_refused(
    worlds: Two,
) -> None:
    ours, _ = worlds
    tariff = await make_tariff(ours)
    await in_force(ours, tariff, effective_at=later(days=2))
    with pytest.raises(Conflict, match="no approved version"):
        await assign(ours, tariff, started_at=later(days=1))
    assert await assign(ours, tariff, started_at=later(days=2)) == 1
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE accounts_account SET closed_at = $3 WHERE group_id = $1 AND id = $2",
            ours.group_id,
            ours.account.id,
            START,
        )
    with pytest.raises(Conflict, match="closed"):
        await assign(ours, tariff, started_at=later(days=3))


def _limited(world: World, *held_: Permission) -> World:
    names = frozenset(str(permission) for permission in held_)
    return replace(world, scope=admin_scope(world.group_id, permissions=names))


@pytest.mark.parametrize(
    "act",
    [
        lambda world, tariff, version: make_draft(world, tariff),
        lambda world, tariff, version: submit(world, version),
        lambda world, tariff, version: approve(world, version, scope=world.scope),
        lambda world, tariff, version: assign(world, tariff),
        lambda world, tariff, version: make_tariff(world, name="Another"),
    ],
)
async def test_each_step_needs_its_own_right_and_tells_strangers_nothing(
    worlds: Two, act: Callable[..., Any]
) -> None:
    ours, theirs = worlds
    tariff = await make_tariff(ours)
    version = await make_draft(ours, tariff)
    reader = _limited(ours, Permission.TARIFF_READ, Permission.ACCOUNT_READ)
    with pytest.raises(Forbidden):
        await act(reader, tariff, version)
    with pytest.raises(NotFound):
        await act(_limited(ours), tariff, version)
    stranger = replace(theirs, project=ours.project)
    with pytest.raises((NotFound, asyncpg.ForeignKeyViolationError)):
        await act(stranger, tariff, version)


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        (flat(-1), "prices"),
        (flat(6_000, TariffKind.WATER), "ELECTRICITY"),
        (replace(FLAT, seasons=()), "seasons"),
    ],
)
async def test_terms_that_mean_nothing_are_refused_before_anything_is_kept(
    worlds: Two, terms: Terms, refusal: str
) -> None:
    ours, _ = worlds
    tariff = await make_tariff(ours)
    with pytest.raises(InvalidInput, match=refusal):
        await make_draft(ours, tariff, terms=terms)
    async with unit_of_work(ours.group_id) as work:
        found = await queries.versions_of_tariffs(work, tariff_ids=[tariff.id], limit=5)
    assert found == {tariff.id: []}


async def test_a_name_is_given_once_a_project(worlds: Two) -> None:
    ours, theirs = worlds
    await make_tariff(ours)
    with pytest.raises(Conflict, match="that name"):
        await make_tariff(ours, name=" Shops ")
    assert (await make_tariff(theirs)).name == "Shops"
    for name in ("", "  ", "x" * 65):
        with pytest.raises(InvalidInput):
            await make_tariff(ours, name=name)


async def test_numbers_of_versions_rise_without_gap_whoever_drafts_at_once(
    worlds: Two, database: EmbeddedServices
) -> None:
    ours, _ = worlds
    tariff = await make_tariff(ours)
    drafts = await asyncio.gather(*(make_draft(ours, tariff) for _ in range(6)))
    assert sorted(draft.number for draft in drafts) == [1, 2, 3, 4, 5, 6]


async def test_ids_of_others_and_of_nothing_are_refused_alike(worlds: Two) -> None:
    ours, theirs = worlds
    tariff = await priced(theirs)
    async with unit_of_work(theirs.group_id) as work:
        (version,) = (await queries.versions_of_tariffs(work, tariff_ids=[tariff.id], limit=1))[
            tariff.id
        ]
    told = set()
    async with unit_of_work(ours.group_id) as work:
        for door, id_ in (
            (queries.tariff, {"tariff_id": tariff.id}),
            (queries.tariff, {"tariff_id": new_id()}),
        ):
            with pytest.raises(NotFound) as refused:
                await door(work, scope=ours.scope, **id_)
            told.add(refused.value.message)
        for version_id in (version.id, new_id()):
            with pytest.raises(DomainError) as gone:
                await queries.version(work, scope=ours.scope, version_id=version_id)
            told.add(gone.value.message)
        for project_id in (theirs.project.id, new_id()):
            found = await queries.tariffs_of_project(work, scope=ours.scope, project_id=project_id)
            assert found == []
    assert told == {"no such tariff", "no such tariff version"}
