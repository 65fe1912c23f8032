"""Since when accounts are warned of a cut (C20): an episode of money stands, a provider took news of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from backend.accounts.queries import purses
from backend.alerts.alarms import standing
from backend.alerts.queries import delivered_at
from backend.kernel.db import UnitOfWork

from .alarm_money import CUT_WARNINGS, warning_key


async def warned_since(work: UnitOfWork, *, account_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """When the first warning of the standing episode of each account was accepted by a provider; an account
    that nobody is known to have been warned of has no entry."""
    purse_of = await purses(work, account_ids=account_ids) if account_ids else {}
    subjects = [str(purse) for purse in set(purse_of.values())]
    alarms = await standing(work, kinds=CUT_WARNINGS, subjects=subjects) if subjects else {}
    keys = {
        warning_key(alarm_id, account_id): account_id
        for account_id, purse in purse_of.items()
        for alarm_id in alarms.get(str(purse), ())
    }
    warned: dict[UUID, datetime] = {}
    for key, at in (await delivered_at(work, keys=list(keys)) if keys else {}).items():
        warned[keys[key]] = min(at, warned.get(keys[key], at))
    return warned
