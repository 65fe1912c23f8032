"""DDL takes no parameters: a migration may compose it."""


async def forward(connection: object, month: str) -> None:
    """Make a partition."""
    await connection.execute(f"CREATE TABLE reading_{month} PARTITION OF reading DEFAULT")
