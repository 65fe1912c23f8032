"""A new group is made by the platform (owner role), never by the application: its first administrator."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg

from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.ids import uuid7

from .rules import PRESET_ROLES


async def add_group(
    owner_dsn: str, *, code: str, name: str, login: str, password_hash: str, at: datetime
) -> int:
    """Create a group with the preset roles and one administrator of the whole group; returns its id.

    Raises Conflict (the code is taken), InvalidInput (code, name or login malformed).
    """
    connection = await asyncpg.connect(owner_dsn)
    try:
        async with connection.transaction():
            group_id: int = await connection.fetchval(
                "INSERT INTO tenancy_directory (code) VALUES ($1) RETURNING group_id", code
            )
            await connection.execute("SELECT set_config('app.group_id', $1, true)", str(group_id))
            await _fill(connection, group_id, code, name, login, password_hash, at)
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"the group code {code} is taken") from error
    except asyncpg.CheckViolationError as error:
        raise InvalidInput("the code, name or login is malformed") from error
    finally:
        await connection.close()
    return group_id


async def _fill(
    connection: asyncpg.Connection[Any],
    group_id: int,
    code: str,
    name: str,
    login: str,
    hashed: str,
    at: datetime,
) -> None:
    await connection.execute(
        "INSERT INTO tenancy_group (group_id, code, name, created_at) VALUES ($1, $2, $3, $4)",
        group_id,
        code,
        name,
        at,
    )
    operator_id = uuid7(at)
    await connection.execute(
        "INSERT INTO tenancy_operator (group_id, id, login, name, password_hash, created_at)"
        " VALUES ($1, $2, $3, $3, $4, $5)",
        group_id,
        operator_id,
        login,
        hashed,
        at,
    )
    for role, permissions in PRESET_ROLES.items():
        role_id = uuid7(at)
        await connection.execute(
            "INSERT INTO tenancy_role (group_id, id, name, permissions) VALUES ($1, $2, $3, $4)",
            group_id,
            role_id,
            role,
            [str(permission) for permission in permissions],
        )
        if role == "administrator":
            await connection.execute(
                "INSERT INTO tenancy_grant (group_id, id, operator_id, role_id, created_at)"
                " VALUES ($1, $2, $3, $4, $5)",
                group_id,
                uuid7(at),
                operator_id,
                role_id,
                at,
            )
