"""The place."""

from tortoise.transactions import in_transaction


async def run() -> None:
    """Open, work, commit."""
    async with in_transaction() as tx:
        await tx.commit()
