"""How long the money of accounts lasts, as people are told it: what was learned, with what is left now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.accounts import queries as accounts
from backend.accounts.models import Account
from backend.charges.forecast_rules import Basis, Forecast, Measured, forecast
from backend.charges.forecasts import ProjectDay, first_to_run_out, kept_of, project_days
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.tenancy import queries as tenancy
from backend.tenancy.rules import Permission

from .forecast_places import Place, left_at, places


class Shown(NamedTuple):
    """A forecast and how far those before it were off."""

    found: Forecast
    measured: Measured


_UNKNOWN = Shown(Forecast(Basis.LEARNING), Measured())


async def forecasts_of_accounts(
    work: UnitOfWork, *, account_ids: Sequence[UUID], at: datetime
) -> dict[UUID, Shown]:
    """How long the money of each account lasts: of its purse and of its meters, what ends first."""
    found = await places(work, account_ids=account_ids)
    shown = await _shown(work, found, at)
    of_account: dict[UUID, list[Shown]] = {account_id: [] for account_id in account_ids}
    for place in found:
        for account_id in {member.account_id for member in place.members}:
            if account_id in of_account:
                of_account[account_id].append(shown[place.ref])
    return {
        account_id: min(held, key=_ends, default=_UNKNOWN)
        for account_id, held in of_account.items()
    }


async def forecasts_of_meters(
    work: UnitOfWork, *, account_ids: Sequence[UUID], at: datetime
) -> dict[UUID, Shown]:
    """The same by the meters that serve the accounts, each by the money that it draws from."""
    found = await places(work, account_ids=account_ids)
    shown = await _shown(work, found, at)
    return {
        member.meter_id: shown[place.ref]
        for place in found
        for member in place.members
        if member.account_id in account_ids
    }


async def _shown(work: UnitOfWork, found: Sequence[Place], at: datetime) -> dict[UUID, Shown]:
    kept = await kept_of(work, refs=[place.ref for place in found])
    left = await left_at(work, found)
    zones = await _zones(work, {place.project_id for place in found})
    shown = {}
    for place in found:
        known = kept.get(place.ref)
        if known is None:
            shown[place.ref] = _UNKNOWN
        elif place.ref in left and known.profile.known:
            now = forecast(known.profile, left[place.ref], at, zones[place.project_id])
            shown[place.ref] = Shown(now, known.measured)
        else:  # why nothing is known is told as the last look found it
            shown[place.ref] = Shown(known.found, known.measured)
    return shown


async def _zones(work: UnitOfWork, project_ids: set[UUID]) -> Mapping[UUID, ZoneInfo]:
    held = [await tenancy.project_by_id(work, project_id=each) for each in project_ids]
    return {project.id: ZoneInfo(project.time_zone) for project in held}


def _ends(shown: Shown) -> tuple[bool, int, bool, datetime | None]:
    """The order in which money ends; what is not known, or has no end, comes last."""
    days, zero = shown.found.days_left, shown.found.zero_at
    return days is None, days or 0, zero is None, zero


async def running_out(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, limit: int
) -> list[tuple[Account, Forecast]]:
    """The accounts of a project whose money ends first, as the last look found it.

    Raises NotFound where the caller may not read.
    """
    _check(scope, project_id)
    kept = await first_to_run_out(work, project_id=project_id, limit=limit)
    held = await accounts.accounts_by_ids(work, account_ids=[each.account_id for each in kept])
    return [(held[each.account_id], each.found) for each in kept]


async def measured_days(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, limit: int
) -> list[ProjectDay]:
    """How far off a project's forecasts were, the newest day first. Raises NotFound."""
    _check(scope, project_id)
    return await project_days(work, project_id=project_id, limit=limit)


def _check(scope: Scope, project_id: UUID) -> None:
    if not scope.may(Permission.TOPUP_READ, project_id):
        raise NotFound("no such project")
