"""What the platform does with groups as the owner role, never the application: make one, renew its roles."""

from __future__ import annotations

import json
from datetime import datetime

import asyncpg

from backend.kernel.db import connect
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.ids import uuid7

from .rules import PRESET_ROLES


async def add_group(
    owner_dsn: str, *, code: str, name: str, login: str, password_hash: str, at: datetime
) -> int:
    """Create a group with the preset roles and one administrator of the whole group; returns its id.

    Raises Conflict (the code is taken), InvalidInput (code, name or login malformed).
    """
    roles = {
        role: {"id": str(uuid7(at)), "permissions": [str(p) for p in permissions]}
        for role, permissions in PRESET_ROLES.items()
    }
    connection = await connect(owner_dsn)
    try:
        group_id: int = await connection.fetchval(
            "SELECT tenancy_add_group($1, $2, $3, $4, $5, $6::jsonb, $7, $8)",
            code,
            name,
            uuid7(at),
            login,
            password_hash,
            json.dumps(roles),
            uuid7(at),
            at,
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"the group code {code} is taken") from error
    except asyncpg.CheckViolationError as error:
        raise InvalidInput("the code, name or login is malformed") from error
    finally:
        await connection.close()
    return group_id


async def renew_preset_roles(owner_dsn: str) -> int:
    """Give the preset roles of every group what they are to hold in this version; how many changed.

    Part of an upgrade: a right that came with it would be nobody's in a group that was there before.
    """
    changed = 0
    connection = await connect(owner_dsn)
    try:
        for row in await connection.fetch("SELECT tenancy_groups() AS group_id"):
            # For the session: nobody has this connection before or after us.
            await connection.execute(
                "SELECT set_config('app.group_id', $1, false)", str(row["group_id"])
            )
            for name, permissions in PRESET_ROLES.items():
                done: str = await connection.execute(
                    "UPDATE tenancy_role SET permissions = $3"
                    " WHERE group_id = $1 AND name = $2 AND permissions <> $3",
                    row["group_id"],
                    name,
                    [str(permission) for permission in permissions],
                )
                changed += int(done.removeprefix("UPDATE "))
    finally:
        await connection.close()
    return changed
