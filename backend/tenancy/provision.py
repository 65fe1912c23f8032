"""A new group is made by the platform (owner role), never by the application."""

from __future__ import annotations

import json
from datetime import datetime

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
    roles = {
        role: {"id": str(uuid7(at)), "permissions": [str(p) for p in permissions]}
        for role, permissions in PRESET_ROLES.items()
    }
    connection = await asyncpg.connect(owner_dsn)
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
