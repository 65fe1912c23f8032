"""Claims in PostgreSQL, for one enrolment (backend.uplink.enrol.ClaimStore)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime

from backend.kernel.db import UnitOfWork, unit_of_work
from backend.uplink.enrol import Claim

from . import operations, queries
from .queries import ClaimRow


class PostgresClaims:
    """Finds and counts in transactions of their own, so that a wrong try stays whatever becomes of
    the rest; spends in the one that is opened on `stack` and stays open for the caller, as `work`."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._found: ClaimRow | None = None
        self._work: UnitOfWork | None = None

    @property
    def found(self) -> ClaimRow | None:
        """The claim that was found last."""
        return self._found

    @property
    def work(self) -> UnitOfWork:
        """The transaction in which the claim was spent."""
        if self._work is None:
            raise RuntimeError("no claim has been spent")
        return self._work

    async def find(self, claim_id: bytes) -> Claim | None:
        """The claim, or None when there is none or it was killed."""
        group_id, self._found = await queries.group_of_claim(claim_id), None
        if group_id is not None:
            async with unit_of_work(group_id) as work:
                self._found = await queries.claim(work, claim_id=claim_id)
        return None if self._found is None else self._found.claim

    async def count_wrong(self, claim_id: bytes) -> int:
        """One more wrong try, committed before this returns; how many there are."""
        async with unit_of_work(self._of(claim_id).claim.group_id) as work:
            return await operations.count_wrong(work, claim_id=claim_id)

    async def spend(self, claim_id: bytes, *, at: datetime) -> bool:
        """Mark as used, to be committed with what the caller stores; False when it is dead by now."""
        group_id = self._of(claim_id).claim.group_id
        self._work = await self._stack.enter_async_context(unit_of_work(group_id))
        return await operations.spend_claim(self._work, claim_id=claim_id, at=at)

    def _of(self, claim_id: bytes) -> ClaimRow:
        if self._found is None or self._found.claim.claim_id != claim_id:
            raise RuntimeError("only a claim that was found is counted or spent")
        return self._found
