"""A right that comes with an upgrade is somebody's in the groups that were there before (A27, C30)."""

from __future__ import annotations

from backend.kernel.db import unit_of_work
from backend.kernel.ids import uuid7
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.operations import ensure_roles
from backend.tenancy.provision import renew_preset_roles
from backend.tenancy.rules import PRESET_ROLES

from .world import START, World

OLD = ["project:read"]


async def roles(world: World) -> dict[str, list[str]]:
    """What each role of a group may do."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch("SELECT name, permissions FROM tenancy_role")
    return {row["name"]: row["permissions"] for row in rows}


async def test_an_upgrade_gives_preset_roles_their_new_rights_and_leaves_a_groups_own_alone(
    worlds: tuple[World, World], services: EmbeddedServices
) -> None:
    for world in worlds:
        async with unit_of_work(world.group_id) as work:
            await ensure_roles(work, at=START)
            await work.execute("UPDATE tenancy_role SET permissions = $1", OLD)
            await work.execute(
                "INSERT INTO tenancy_role (group_id, id, name, permissions) VALUES ($1, $2, $3, $4)",
                world.group_id,
                uuid7(START),
                "night watch",
                OLD,
            )
    assert await renew_preset_roles(services.owner_dsn()) >= 2 * len(PRESET_ROLES)
    wanted = {name: [str(each) for each in may] for name, may in PRESET_ROLES.items()}
    for world in worlds:
        assert await roles(world) == {**wanted, "night watch": OLD}
    assert await renew_preset_roles(services.owner_dsn()) == 0
