"""What power costs in the demo: one tariff a project, drafted by one person and approved by another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from backend.kernel.band_calendar import DaySlot
from backend.kernel.db import UnitOfWork
from backend.kernel.scope import Actor, Scope
from backend.tariffs import changes, operations
from backend.tariffs.rules import Season, TariffKind, Terms

PRICE_HAO = 8_500
FLAT = Terms(TariffKind.ELECTRICITY, (Season(1, 1, {"flat": PRICE_HAO}),))
_DAY = (
    (0, "valley"),
    (7, "flat"),
    (10, "peak"),
    (15, "flat"),
    (18, "peak"),
    (21, "flat"),
    (23, "valley"),
)
BY_HOURS = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, {"flat": PRICE_HAO, "peak": 11_500, "valley": 4_500}),),
    (tuple(DaySlot(60 * hour, band) for hour, band in _DAY),),
)
_APPROVER = Actor("system", "demo-2", "demo approver")


async def price_accounts(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    terms: Terms,
    account_ids: Sequence[UUID],
    at: datetime,
) -> None:
    """Give a project its tariff, and all its accounts that tariff."""
    tariff = await operations.add_tariff(
        work,
        scope=scope,
        project_id=project_id,
        kind=TariffKind.ELECTRICITY,
        name="商业用电",
        at=at,
    )
    draft = await operations.draft_version(
        work, scope=scope, tariff_id=tariff.id, terms=terms, effective_at=at, at=at
    )
    await operations.submit_version(
        work, scope=scope, version_id=draft.id, confirm_jumps=True, at=at
    )
    await operations.approve_version(
        work, scope=replace(scope, actor=_APPROVER), version_id=draft.id, at=at
    )
    await changes.assign_first(
        work,
        scope=scope,
        tariff_id=tariff.id,
        account_ids=account_ids,
        started_at=at,
        at=at,
    )
