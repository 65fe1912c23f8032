"""Prices that were taken back, or left behind: nobody pays by them, and who asks is told (C14, C29)."""

from __future__ import annotations

import pytest

from backend.journeys.what_if import what_if_changed
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.tariffs import operations as tariffs
from backend.tariffs import queries
from backend.tariffs.queries import Version
from backend.tariffs.rules import TariffKind

from .priced import FLAT, assign, flat, in_force, later, make_draft, make_tariff, priced, propose
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
    async with unit_of_work(ours.group_id) as work:
        with pytest.raises(NotFound, match="no such project"):
            await queries.tariffs_of_project(work, scope=nobody, project_id=ours.project.id)
        found = await queries.tariffs_of_project(work, scope=ours.scope, project_id=ours.project.id)
    assert found == [tariff]
