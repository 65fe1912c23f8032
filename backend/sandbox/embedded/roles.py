"""The two roles and the database of the product, made by a superuser; doing it twice is fine.

The owner role owns the tables and runs migrations; the application role owns nothing and cannot
bypass row-level security (DESIGN section 4, C29).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import asyncpg

_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_LOCK = 0x5348554944  # "SHUID": two starters at once take turns
_ATTRIBUTES = "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION"


async def ensure_roles_and_database(
    admin_dsn: str, *, owner: str, app: str, passwords: Mapping[str, str], database: str
) -> None:
    """Make or correct the login roles `owner` and `app` and the `database` owned by `owner`.

    `passwords` maps both role names to their passwords. PUBLIC loses its rights on the database.
    Raises ValueError for a name that is not plain lower case or a missing password, and
    asyncpg.PostgresError when `admin_dsn` lacks the rights.
    """
    for name in (owner, app, database):
        if not _NAME.match(name):
            raise ValueError(f"{name!r} is not a plain lower-case name")
    if missing := {owner, app} - passwords.keys():
        raise ValueError(f"no password for {', '.join(sorted(missing))}")
    connection = await asyncpg.connect(admin_dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        for role in (owner, app):
            known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
            verb = "ALTER" if known else "CREATE"
            await _order(
                connection, f"{verb} ROLE %I {_ATTRIBUTES} PASSWORD %L", role, passwords[role]
            )
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await _order(
                connection, "CREATE DATABASE %I OWNER %I TEMPLATE template0", database, owner
            )
        await _order(connection, "ALTER DATABASE %I OWNER TO %I", database, owner)
        await _order(connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database)
        # Temporary tables carry COPY batches before they are merged.
        await _order(connection, "GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I", database, app)
    finally:
        await connection.close()


async def _order(
    connection: asyncpg.Connection[asyncpg.Record], template: str, *values: str
) -> None:
    """Run a statement whose names (%I) and literals (%L) cannot be bind parameters.

    The server itself quotes them.
    """
    statement = await connection.fetchval(
        "SELECT format($1::text, VARIADIC $2::text[])", template, values
    )
    await connection.execute(statement)
