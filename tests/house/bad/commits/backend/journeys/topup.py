"""COMMIT; in prose is prose. A journey that ends its own transaction."""

from tortoise import transactions as tx  # BAD
from tortoise.transactions import in_transaction  # BAD

from backend.kernel.db import unit_of_work


async def start(connection: object, session: object) -> None:
    """Six ways round the unit of work."""
    async with in_transaction():  # BAD
        await session.commit()  # BAD
    await session.rollback()  # BAD
    async with connection.transaction():  # BAD
        await connection.execute("BEGIN")  # BAD
        await connection.execute("UPDATE purse SET posted = posted + $1; COMMIT", 1)  # BAD


async def fine(group_id: int) -> None:
    """The unit of work commits."""
    async with unit_of_work(group_id) as work:
        await work.execute("UPDATE purse SET posted = posted + $1", 1)
