"""Reads may take their key by position."""


async def purse(work: object, purse_id: int) -> None:
    """One purse."""
