"""Who listens has a connection of its own, and one that notices when its server vanished."""

import asyncpg

from backend.kernel.db import connect


async def deaf(dsn: str) -> None:
    """Waits for two hours for a server that has no power."""
    connection = await asyncpg.connect(dsn)  # BAD
    await connection.execute("LISTEN bell")


async def fine(dsn: str) -> None:
    """Knows it within half a minute."""
    connection = await connect(dsn)
    await connection.execute("LISTEN bell")
    await connection.fetchval("SELECT pg_advisory_lock(7)")
