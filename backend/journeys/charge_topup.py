"""Money that stays in a purse: what stands in arrears is paid from it first, line by line (C7)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.charges.credit import end_emergency
from backend.kernel.db import UnitOfWork
from backend.ledger.purses import arrears_of, recover_arrears


async def pay_arrears(
    work: UnitOfWork, *, project_id: UUID, topups: Mapping[UUID, UUID], at: datetime
) -> None:
    """Pay arrears of the purses (refs) that top-ups brought money to, by top-up; then emergency credit is
    no longer drawn where nothing stands in arrears. In the transaction that books the top-ups."""
    owing = await arrears_of(work, purses=list(set(topups.values())))
    for topup_id, purse in sorted(topups.items(), key=lambda pair: (pair[1].int, pair[0].int)):
        if owing[purse]:
            await recover_arrears(
                work, project_id=project_id, purse=purse, source=f"topup:{topup_id}", at=at
            )
    left = await arrears_of(work, purses=[purse for purse, owed in owing.items() if owed])
    clear = [purse for purse in owing if not left.get(purse)]
    await end_emergency(work, account_ids=clear)
