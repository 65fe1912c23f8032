"""Prices that were taken back, or left behind: nobody pays by them, and who asks is told (C14, C29)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.audit.queries import entries
from backend.journeys.what_if import what_if_changed
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.tariffs import changes, queries
from backend.tariffs import operations as tariffs
from backend.tariffs.changes import ChangeState
from backend.tariffs.queries import Version
from backend.tariffs.rules import TariffKind
from backend.tariffs.terms import as_json

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
    propose,
    submit,
)
from .priced import second_person as second
from .world import START, World, admin_scope

Two = tuple[World, World]


async def reject(world: World, version: Version, *, note: str = "too dear") -> Version:
    """Refused, or taken back, by the second person."""
    async with unit_of_work(world.group_id) as work:
        return await tariffs.reject_version(
            work, scope=second(world), version_id=version.id, note=note, at=world.clock.now()
        )


@pytest.mark.parametrize("note", ["", "  no ", "x" * 201])
async def test_a_price_is_refused_once_and_with_a_reason(worlds: Two, note: str) -> None:
    ours, _ = worlds
    draft = await make_draft(ours, await make_tariff(ours))
    with pytest.raises(InvalidInput, match="why"):
        await reject(ours, draft, note=note)
    assert (await reject(ours, draft)).note == "too dear"
    with pytest.raises(Conflict, match="rejected before"):
        await reject(ours, draft, note="much too dear")
    async with unit_of_work(ours.group_id) as work:
        found = await queries.version(work, scope=ours.scope, version_id=draft.id)
    assert found.note == "too dear"


async def test_who_left_a_tariff_does_not_pay_by_its_later_prices(worlds: Two) -> None:
    ours, _ = worlds
    old = await priced(ours)
    await in_force(ours, old, terms=flat(7_000), effective_at=later(days=5))
    await in_force(ours, old, terms=flat(9_000), effective_at=later(days=20))
    new = await make_tariff(ours, name="Big shops")
    await in_force(ours, new, terms=flat(5_000))
    await assign(ours, new, started_at=later(days=10))
    async with unit_of_work(ours.group_id) as work:
        found = await queries.timelines(
            work,
            account_ids=[ours.account.id],
            kind=TariffKind.ELECTRICITY,
            until=later(days=30),
        )
    held = [(each.effective_at, each.plan.terms) for each in found[ours.account.id]]
    assert held == [(START, FLAT), (later(days=5), flat(7_000)), (later(days=10), flat(5_000))]


async def test_at_the_instant_of_a_move_the_new_tariffs_newest_price_holds_alone(
    worlds: Two,
) -> None:
    ours, _ = worlds
    old, new = await priced(ours), await make_tariff(ours, name="Big shops")
    await in_force(ours, new, terms=flat(4_000))
    for tariff, price in ((old, 9_000), (new, 5_000)):
        await in_force(ours, tariff, terms=flat(price), effective_at=later(days=10))
    await assign(ours, new, started_at=later(days=10))
    async with unit_of_work(ours.group_id) as work:
        found = await queries.timelines(
            work,
            account_ids=[ours.account.id],
            kind=TariffKind.ELECTRICITY,
            until=later(days=30),
        )
    held = [(each.effective_at, each.plan.terms) for each in found[ours.account.id]]
    assert held == [(START, FLAT), (later(days=10), flat(5_000))]


async def test_a_proposed_change_whose_price_was_taken_back_is_not_run_and_says_so(
    worlds: Two,
) -> None:
    ours, _theirs = worlds
    await priced(ours)
    other = await make_tariff(ours, name="Coming")
    coming = await in_force(ours, other, terms=flat(5_000), effective_at=later(days=1))
    change = await propose(ours, other, started_at=later(days=2))
    await reject(ours, coming, note="a mistake")
    for world in worlds:
        with pytest.raises(NotFound) as told:
            await what_if_changed(
                scope=second(world),
                change_id=change.id,
                month=None,
                first=10,
                at=world.clock.now(),
            )
        assert told.value.message == (
            "no such tariff version" if world is ours else "no such tariff change"
        )


async def test_who_may_not_read_prices_is_not_told_which_there_are(worlds: Two) -> None:
    ours, _ = worlds
    tariff = await priced(ours)
    nobody = admin_scope(ours.group_id, permissions=frozenset({"account:read"}))
    with pytest.raises(NotFound, match=r"^no such project$"):
        await make_tariff(replace(ours, scope=nobody), name="Other")
    async with unit_of_work(ours.group_id) as work:
        with pytest.raises(NotFound, match="no such project"):
            await queries.tariffs_of_project(work, scope=nobody, project_id=ours.project.id)
        found = await queries.tariffs_of_project(work, scope=ours.scope, project_id=ours.project.id)
        assert found == [tariff]
    for name in ("x", "x" * 64):
        assert (await make_tariff(ours, name=f" {name} ")).name == name


async def test_what_is_decided_at_its_very_instant_still_holds_from_then_on(worlds: Two) -> None:
    ours, theirs = worlds
    old, new = await priced(ours), await make_tariff(ours, name="Big shops")
    waiting = await submit(ours, await make_draft(ours, old, effective_at=later(days=1)))
    await in_force(ours, new, terms=flat(5_000))
    change = await propose(ours, new, started_at=later(days=1))
    ours.clock.advance(timedelta(days=1))
    await approve(ours, waiting)
    async with unit_of_work(ours.group_id) as work:
        done = await changes.approve_change(
            work, scope=second(ours), change_id=change.id, at=ours.clock.now()
        )
        held = await queries.assignments_of_accounts(
            work, account_ids=[ours.account.id, theirs.account.id]
        )
    assert (done.state, done.decided_at) == (ChangeState.APPROVED, later(days=1))
    assert [(each.tariff_id, each.started_at) for each in held[ours.account.id]] == [
        (old.id, START),
        (new.id, later(days=1)),
    ]
    assert held[theirs.account.id] == []


async def test_a_few_words_are_reason_enough(worlds: Two) -> None:
    ours, _ = worlds
    tariff = await priced(ours)
    draft = await make_draft(ours, tariff, effective_at=later(days=1))
    for note in ("太贵了点", "x" * 200):
        assert (await reject(ours, draft, note=note)).note == note
        draft = await make_draft(ours, tariff, effective_at=later(days=1))
        change = await propose(ours, tariff, started_at=later(days=1))
        async with unit_of_work(ours.group_id) as work:
            refused = await changes.reject_change(
                work, scope=second(ours), change_id=change.id, note=f" {note} ", at=START
            )
        assert (refused.state, refused.note) == (ChangeState.REJECTED, note)


async def test_the_audit_tells_which_price_was_decided_for_whom_by_whom(worlds: Two) -> None:
    ours, theirs = worlds
    tariff = await make_tariff(ours, name=" Shops ")
    version = await in_force(ours, tariff)
    await assign(ours, tariff)
    day, account = later(days=1), str(ours.account.id)
    change = await propose(ours, tariff, started_at=day)
    async with unit_of_work(ours.group_id) as work:
        await changes.reject_change(
            work, scope=second(ours), change_id=change.id, note="too dear", at=START
        )
        told = [
            entry
            for entry in await entries(work, before_seq=None, limit=100)
            if entry.action.startswith("tariff:")
        ][::-1]
    of_version = {"tariff": str(tariff.id), "number": 1, "from": START.isoformat()}
    of_change = {"tariff": str(tariff.id), "from": day.isoformat(), "accounts": [account]}
    decided: dict[str, list[str] | None] = {"jumps": [], "note": None}
    assert [(entry.action, entry.actor.name, entry.after) for entry in told] == [
        ("tariff:self:add", "ling", {"kind": "ELECTRICITY", "name": "Shops"}),
        (
            "tariff:version:draft",
            "ling",
            of_version | {"state": "DRAFT", "terms": json.dumps(as_json(FLAT))},
        ),
        ("tariff:version:submit", "ling", of_version | {"state": "SUBMITTED"} | decided),
        ("tariff:version:approve", "wei", of_version | {"state": "APPROVED"} | decided),
        ("tariff:accounts:assign", "ling", {"from": START.isoformat(), "accounts": [account]}),
        ("tariff:change:propose", "ling", of_change | {"state": "PROPOSED", "note": None}),
        ("tariff:change:reject", "wei", of_change | {"state": "REJECTED", "note": "too dear"}),
    ]
    assert {entry.project_id for entry in told} == {ours.project.id}
    subjects = [tariff.id, *[version.id] * 3, tariff.id, *[change.id] * 2]
    assert [entry.subject for entry in told] == [str(subject) for subject in subjects]
    before = [None, None, {"state": "DRAFT"}, {"state": "SUBMITTED"}, None, None, None]
    assert [entry.before for entry in told] == before
    async with unit_of_work(theirs.group_id) as work:
        others = await entries(work, before_seq=None, limit=100)
    assert [entry for entry in others if entry.action.startswith("tariff:")] == []
