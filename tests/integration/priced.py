"""Tariffs in force, made by the product's own operations: one person drafts, another approves."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from backend.kernel.db import unit_of_work
from backend.kernel.scope import Actor, Scope
from backend.tariffs import changes
from backend.tariffs import operations as tariffs
from backend.tariffs.queries import Tariff, Version, assignments_of_accounts
from backend.tariffs.rules import Season, TariffKind, Terms

from .world import START, World

FLAT = Terms(TariffKind.ELECTRICITY, (Season(1, 1, {"flat": 6_000}),))


def flat(price: int, kind: TariffKind = TariffKind.ELECTRICITY) -> Terms:
    """One price in hao per kWh (m3), whatever the band."""
    return Terms(kind, (Season(1, 1, {"flat": price}),))


def second_person(world: World) -> Scope:
    """Another operator of the world's group with the same rights: who may approve."""
    return replace(world.scope, actor=Actor("operator", "op-2", "wei", "203.0.113.8"))


async def make_tariff(
    world: World, *, name: str = "Shops", kind: TariffKind = TariffKind.ELECTRICITY
) -> Tariff:
    """A tariff without a version."""
    async with unit_of_work(world.group_id) as work:
        return await tariffs.add_tariff(
            work,
            scope=world.scope,
            project_id=world.project.id,
            kind=kind,
            name=name,
            at=world.clock.now(),
        )


async def make_draft(
    world: World, tariff: Tariff, *, terms: Terms = FLAT, effective_at: datetime = START
) -> Version:
    """A draft by the world's operator."""
    async with unit_of_work(world.group_id) as work:
        return await tariffs.draft_version(
            work,
            scope=world.scope,
            tariff_id=tariff.id,
            terms=terms,
            effective_at=effective_at,
            at=world.clock.now(),
        )


async def submit(world: World, version: Version, *, confirm_jumps: bool = True) -> Version:
    """Handed in by the world's operator."""
    async with unit_of_work(world.group_id) as work:
        return await tariffs.submit_version(
            work,
            scope=world.scope,
            version_id=version.id,
            confirm_jumps=confirm_jumps,
            at=world.clock.now(),
        )


async def approve(world: World, version: Version, *, scope: Scope | None = None) -> Version:
    """Approved by the second person (or `scope`)."""
    async with unit_of_work(world.group_id) as work:
        return await tariffs.approve_version(
            work,
            scope=scope or second_person(world),
            version_id=version.id,
            at=world.clock.now(),
        )


async def in_force(
    world: World, tariff: Tariff, *, terms: Terms = FLAT, effective_at: datetime = START
) -> Version:
    """A version that went all the way."""
    draft = await make_draft(world, tariff, terms=terms, effective_at=effective_at)
    return await approve(world, await submit(world, draft))


async def assign(
    world: World, tariff: Tariff, *account_ids: UUID, started_at: datetime = START
) -> int:
    """Accounts pay by the tariff from then on (the world's account when none is named): at once when it
    is their first of the kind, else proposed by one and approved by another."""
    wanted, at = account_ids or (world.account.id,), world.clock.now()
    async with unit_of_work(world.group_id) as work:
        held = await assignments_of_accounts(work, account_ids=wanted)
        if not any(each.kind is tariff.kind for before in held.values() for each in before):
            return await changes.assign_first(
                work,
                scope=world.scope,
                tariff_id=tariff.id,
                account_ids=wanted,
                started_at=started_at,
                at=at,
            )
    change = await propose(world, tariff, *wanted, started_at=started_at)
    async with unit_of_work(world.group_id) as work:
        scope = second_person(world)
        await changes.approve_change(work, scope=scope, change_id=change.id, at=at)
    return len(change.account_ids)


async def propose(
    world: World, tariff: Tariff, *account_ids: UUID, started_at: datetime
) -> changes.Change:
    """A change proposed by the world's operator."""
    async with unit_of_work(world.group_id) as work:
        return await changes.propose_change(
            work,
            scope=world.scope,
            tariff_id=tariff.id,
            account_ids=account_ids or (world.account.id,),
            started_at=started_at,
            at=world.clock.now(),
        )


async def priced(world: World, *, terms: Terms = FLAT, name: str = "Shops") -> Tariff:
    """The world's account pays by a tariff of these terms from START on."""
    tariff = await make_tariff(world, name=name, kind=terms.kind)
    await in_force(world, tariff, terms=terms)
    await assign(world, tariff)
    return tariff


def later(**by: int) -> datetime:
    """An instant after START."""
    return START + timedelta(**by)
