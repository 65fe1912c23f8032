"""Writes of the ledger."""


async def post(work: object, entry: object) -> None:  # BAD
    """Which of the two comes first?"""


async def reverse(entry: object) -> None:  # BAD
    """Only the unit of work comes by position."""


async def settle(work: object, /, *keys: str) -> None:  # BAD
    """A list of anything."""


async def void(work: object, *, entry: object) -> None:  # BAD
    return None


async def reserve(work: object, *, purse_id: int, hao: int) -> None:
    """As it should be. Raises Conflict."""


async def close_day(*, project_id: int) -> None:
    """As it should be, without a unit of work."""


def _lock(work: object, purse_id: int) -> None:
    return None


async def merge(work: object, uow: object) -> None:  # BAD
    """Two of them."""
