"""Two groups furnished with one object of every type, made once a run in a database that nobody works in,
and copied for who wants them: a copy costs a fraction of what making the objects does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from backend.kernel.db import Database, unit_of_work
from backend.kernel.ids import uuid7
from backend.kernel.migrate import migrate
from backend.sandbox.embedded.services import EmbeddedServices

from ..world import World, make_group, make_project
from .edge import Api, make_api, operator_token
from .permissions import holders, needs
from .things import Things, make_things

_PATTERN = "shuidian_furnished"


@dataclass(frozen=True)
class Furnished:
    """Our group with two projects, another group, what is in them, and operators' sessions.

    `mine` is of `world`'s project, `ungranted` of our second one, `foreign` of the other group. `token`
    is an administrator's of `world`'s project, `group_token` of our whole group, `auditor` an
    auditor's of it, `neighbour` of one who is an administrator in our second project besides. `holders`:
    of who holds just some permissions in `world`'s project or (True) in our whole group. `api` has no bell.
    """

    world: World
    other: World
    mine: Things
    ungranted: Things
    foreign: Things
    token: str
    group_token: str
    auditor: str
    neighbour: str
    holders: Mapping[tuple[frozenset[str], bool], str]
    api: Api


async def furnish(services: EmbeddedServices) -> Furnished:
    """Make the pattern of all copies. The two groups are alike in everything, as in the fixture worlds."""
    await services.prepare_database(_PATTERN)
    await migrate(services.owner_dsn(_PATTERN), at=datetime.now(UTC))
    await Database.open(services.app_dsn(_PATTERN))
    try:
        owner = _Owner(services.owner_dsn(_PATTERN))
        world, other = await make_group(owner, "ours"), await make_group(owner, "theirs")
        other.clock = world.clock
        second = await make_project(world)
        return Furnished(
            world,
            other,
            mine=await make_things(world),
            ungranted=await make_things(second, prefix="2"),
            foreign=await make_things(other),
            token=await operator_token(world, project_id=world.project.id),
            group_token=await operator_token(world),
            auditor=await operator_token(world, role="auditor"),
            neighbour=await operator_token(
                world, role="auditor", also={second.project.id: "administrator"}
            ),
            holders=await _holders(world),
            api=make_api(world.ports, dsn=services.app_dsn(_PATTERN)),
        )
    finally:
        await Database.close()


async def _holders(world: World) -> dict[tuple[frozenset[str], bool], str]:
    """A role and two operators for all that docs/permissions.md makes one hold."""
    tokens = {}
    for number, held in enumerate(sorted(holders(needs()), key=sorted)):
        role = f"holder {number}"
        async with unit_of_work(world.group_id) as work:
            await work.execute(
                "INSERT INTO tenancy_role (group_id, id, name, permissions) VALUES ($1, $2, $3, $4)",
                work.group_id,
                uuid7(world.clock.now()),
                role,
                sorted(held),
            )
        for group_wide in (False, True):
            project = None if group_wide else world.project.id
            tokens[held, group_wide] = await operator_token(world, role=role, project_id=project)
    return tokens


async def copy(services: EmbeddedServices, name: str) -> None:
    """A database `name` with all that `furnish` made."""
    await _order(services, f"CREATE DATABASE {name} TEMPLATE {_PATTERN} STRATEGY FILE_COPY")


@asynccontextmanager
async def copied(services: EmbeddedServices, name: str) -> AsyncIterator[None]:
    """As `copy`, for the length of the block."""
    await copy(services, name)
    try:
        yield
    finally:
        await _order(services, f"DROP DATABASE {name} WITH (FORCE)")


async def _order(services: EmbeddedServices, order: str) -> None:
    admin = await asyncpg.connect(services.postgres.admin_dsn)
    try:
        await admin.execute(order)
    finally:
        await admin.close()


@asynccontextmanager
async def opened(services: EmbeddedServices, name: str) -> AsyncIterator[None]:
    """The process's pool on database `name`, for the length of the block."""
    await Database.open(services.app_dsn(name))
    try:
        yield
    finally:
        await Database.close()


@dataclass(frozen=True)
class _Owner:
    """Where make_group writes its directory rows."""

    address: str

    def owner_dsn(self) -> str:
        """The owner's address of the pattern."""
        return self.address
