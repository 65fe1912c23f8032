"""COMMIT; in prose is prose. A journey that ends its own transaction."""

from tortoise import transactions as tx  # BAD
from tortoise.transactions import in_transaction  # BAD

from backend.kernel.db import unit_of_work


async def start(connection: object, session: object) -> None:
    """Nine ways round the unit of work."""
    async with in_transaction():  # BAD
        await session.commit()  # BAD
    await session.rollback()  # BAD
    async with connection.transaction():  # BAD
        await connection.execute("BEGIN")  # BAD
        await connection.execute("UPDATE purse SET posted = posted + $1; COMMIT", 1)  # BAD
    await connection.execute("SET app.group_id = '7'")  # BAD
    await connection.fetchval("SELECT pg_advisory_lock(7)")  # BAD
    await connection.execute("LISTEN bell")  # BAD


async def fine(group_id: int) -> None:
    """The unit of work commits."""
    async with unit_of_work(group_id) as work:
        await work.execute("SET LOCAL work_mem = '64MB'; SELECT pg_advisory_xact_lock(7)")
        await work.execute("UPDATE purse SET posted = posted + $1", 1)
