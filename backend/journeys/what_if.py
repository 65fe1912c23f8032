"""A draft price run over a month that was: who would have paid how much more (A14)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.accounts.queries import accounts_by_ids
from backend.kernel.band_calendar import BANDS
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.metering.account_use import use_of_days, use_of_months
from backend.metering.rules import MeterKind
from backend.tariffs import changes
from backend.tariffs import queries as tariffs
from backend.tariffs.calendar import midnight, month_of, next_month
from backend.tariffs.queries import Version
from backend.tariffs.rules import Plan, Use, compile_terms
from backend.tariffs.what_if import Compared, MonthUse, compare
from backend.tenancy.queries import project_by_id
from backend.tenancy.rules import Permission

MOST_ACCOUNTS = 20_000
_STEP_YEAR = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class AccountCompared:
    """An account's month by what held and by the draft. `used` in base units; `doubtful`: some of its
    use was read after a pause or went back, so the days are not exact."""

    account_id: UUID
    no: str
    name: str
    used: int
    compared: Compared
    doubtful: bool


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The accounts of a draft's tariff (or of a proposed change), those first that would pay more; and all
    of them together."""

    version: Version
    month: date
    accounts: tuple[AccountCompared, ...]
    counted: int
    pay_more: int
    pay_less: int
    unpriced: int
    before: int
    after: int


async def what_if(
    *, scope: Scope, version_id: UUID, month: date | None, first: int, at: datetime
) -> WhatIf:
    """Run a version over a month that is over (the last one when None is named), for the accounts that
    pay by its tariff now. Writes nothing.

    Raises NotFound, Forbidden, InvalidInput (the month is not over, or too many accounts).
    """
    async with unit_of_work(scope.group_id) as work:
        version = await tariffs.version(work, scope=scope, version_id=version_id)
        scope.require(Permission.ACCOUNT_READ, version.project_id)
        account_ids = await tariffs.accounts_of_tariff(
            work, tariff_id=version.tariff_id, at=at, limit=MOST_ACCOUNTS + 1
        )
        if len(account_ids) > MOST_ACCOUNTS:
            raise InvalidInput(f"more than {MOST_ACCOUNTS} accounts pay by this tariff")
        return await _run(work, version, account_ids, month, first, at)


async def what_if_changed(
    *, scope: Scope, change_id: UUID, month: date | None, first: int, at: datetime
) -> WhatIf:
    """As `what_if`, for the accounts of a proposed change and the version that will hold for them then."""
    async with unit_of_work(scope.group_id) as work:
        change = await changes.change(work, scope=scope, change_id=change_id)
        scope.require(Permission.ACCOUNT_READ, change.project_id)
        version = await tariffs.version_at(work, tariff_id=change.tariff_id, at=change.started_at)
        return await _run(work, version, change.account_ids, month, first, at)


async def _run(
    work: UnitOfWork,
    version: Version,
    account_ids: Sequence[UUID],
    month: date | None,
    first: int,
    at: datetime,
) -> WhatIf:
    project = await project_by_id(work, project_id=version.project_id)
    zone = ZoneInfo(project.time_zone)
    wanted = _month(month, at, zone)
    found, unpriced = await _compared(work, version, account_ids, wanted, zone)
    found.sort(key=lambda each: (-each.compared.more, each.no))
    return WhatIf(
        version=version,
        month=wanted,
        accounts=tuple(found[:first]),
        counted=len(found),
        pay_more=sum(each.compared.more > 0 for each in found),
        pay_less=sum(each.compared.more < 0 for each in found),
        unpriced=unpriced,
        before=sum(each.compared.before for each in found),
        after=sum(each.compared.after for each in found),
    )


def _month(month: date | None, at: datetime, zone: ZoneInfo) -> date:
    """The first day of the month to run over. Raises InvalidInput unless it is over."""
    this = month_of(at, zone)
    wanted = (this - timedelta(days=1)).replace(day=1) if month is None else month.replace(day=1)
    if wanted >= this:
        raise InvalidInput("run it over a month that is over", field="month")
    return wanted


async def _compared(
    work: UnitOfWork,
    version: Version,
    account_ids: Sequence[UUID],
    month: date,
    zone: ZoneInfo,
) -> tuple[list[AccountCompared], int]:
    """The accounts that had a price in the month, and how many had none."""
    kind, end = version.terms.kind, next_month(month)
    timelines = await tariffs.timelines(
        work, account_ids=account_ids, kind=kind, until=midnight(end, zone)
    )
    used, doubtful = await _used(work, account_ids, MeterKind(kind), month)
    names = await accounts_by_ids(work, account_ids=account_ids)
    draft: Plan = compile_terms(version.terms, version=str(version.id))
    found = []
    for account_id in account_ids:
        compared = compare(timelines.get(account_id, ()), draft, used[account_id], month, zone)
        if compared is None:
            continue
        account = names[account_id]
        total = sum(use.total for use in used[account_id].days.values())
        found.append(
            AccountCompared(
                account_id, account.no, account.name, total, compared, account_id in doubtful
            )
        )
    return found, len(account_ids) - len(found)


async def _used(
    work: UnitOfWork, account_ids: Sequence[UUID], kind: MeterKind, month: date
) -> tuple[dict[UUID, MonthUse], set[UUID]]:
    """What each account used in the month and the year before it; and of whom some of it is doubtful."""
    last, doubtful = next_month(month) - timedelta(days=1), set[UUID]()
    days: dict[UUID, dict[date, Use]] = defaultdict(dict)
    for each in await use_of_days(work, account_ids=account_ids, kind=kind, first=month, last=last):
        days[each.account_id][each.day] = _by_band(each.total, each.bands)
        if each.doubtful:
            doubtful.add(each.account_id)
    months = await use_of_months(
        work,
        account_ids=account_ids,
        kind=kind,
        first=(month - _STEP_YEAR).replace(day=1),
        last=month - timedelta(days=1),
    )
    return {
        account_id: MonthUse(days[account_id], months.get(account_id, {}))
        for account_id in account_ids
    }, doubtful


def _by_band(total: int, bands: dict[str, int]) -> Use:
    """Use by the meters' band registers; what they do not tell the band of is unbanded (C17)."""
    known = {band: bands.get(band, 0) for band in BANDS}
    return Use(**known, unbanded=max(total - sum(known.values()), 0))
