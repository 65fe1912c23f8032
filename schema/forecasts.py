"""Forecasts (预测): how long money lasts, whose ends first, how far off forecasts were."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated

import strawberry

from backend.accounts.models import Account as AccountRow
from backend.charges.forecast_rules import Basis, Forecast, Measured, Miss, mape, wape
from backend.charges.forecasts import ProjectDay
from backend.journeys import forecast_shown as journey
from backend.kernel.money import Money
from backend.tenancy import project_settings
from backend.tenancy.rules import Permission

from .context import Info
from .paging import size
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import DecimalText, ref, thousandths, uuid_of

strawberry.enum(
    Basis,
    name="ForecastBasis",
    description="OWN_USE: what the account itself used by weekday and hour. LEARNING: fewer than seven days"
    " are known. IDLE: nothing is used. NO_PRICE: what a unit costs is not known.",
)


@strawberry.type(description="How far forecasts were off; null before anything was measured.")
class ForecastError:
    """预测误差. A share of what was used, 0.180 is 18 %."""

    spans: int = strawberry.field(description="How many days or weeks were measured.")
    mean: DecimalText | None = strawberry.field(
        description="Mean absolute percentage error of days on which something was used."
    )
    weighted: DecimalText | None = strawberry.field(
        description="All that was missed as a share of all that was used."
    )


@strawberry.type(description="How long the money of an account lasts, with what is left now.")
class AccountForecast:
    """可用天数."""

    days_left: int | None = strawberry.field(
        description="Whole days, at most 1000; null: see basis."
    )
    zero_at: datetime | None = strawberry.field(description="When the money is used up.")
    basis: Basis
    next_day_error: ForecastError = strawberry.field(description="Of the last 28 measured days.")
    next_week_error: ForecastError = strawberry.field(description="Of the last eight weeks.")


@strawberry.type(description="An account whose money ends, as the last look of the hour found it.")
class RunningOut:
    """即将用完."""

    account: strawberry.ID
    no: str
    name: str
    days_left: int
    zero_at: datetime


@strawberry.type(description="How far the forecasts of a project's accounts were off on a day.")
class ForecastDay:
    """每日预测误差."""

    day: date
    accounts: int = strawberry.field(description="Those that used something.")
    mean: DecimalText | None = strawberry.field(
        description="Mean absolute percentage error of the accounts, as a share."
    )
    weighted: DecimalText | None = strawberry.field(
        description="All that was missed as a share of all that was used."
    )
    used: Money


@strawberry.type(description="When customers are warned that their money ends.")
class DaysLeftWarning:
    """余额不足天数预警."""

    days_left: int = strawberry.field(
        description="So many days before; 0: only before the office closes for longer than it lasts."
    )


DaysLeftWarningResult = Annotated[
    DaysLeftWarning | AnyProblem, strawberry.union("DaysLeftWarningResult")
]


def _share(error: int | None) -> DecimalText | None:
    return None if error is None else thousandths(error)


def _error_of(misses: Sequence[Miss]) -> ForecastError:
    return ForecastError(
        spans=len(misses), mean=_share(mape(misses)), weighted=_share(wape(misses))
    )


def forecast_of(shown: journey.Shown) -> AccountForecast:
    """A forecast as the schema shows it."""
    measured: Measured = shown.measured
    return AccountForecast(
        days_left=shown.found.days_left,
        zero_at=shown.found.zero_at,
        basis=shown.found.basis,
        next_day_error=_error_of(measured.days),
        next_week_error=_error_of(measured.weeks),
    )


def _running_of(account: AccountRow, found: Forecast) -> RunningOut:
    assert found.days_left is not None, "they are those that end"
    assert found.zero_at is not None, "they are those that end"
    return RunningOut(
        account=ref("Account", account.id),
        no=account.no,
        name=account.name,
        days_left=found.days_left,
        zero_at=found.zero_at,
    )


def _day_of(row: ProjectDay) -> ForecastDay:
    return ForecastDay(
        day=row.day,
        accounts=row.accounts,
        mean=_share(row.mape),
        weighted=_share(row.wape),
        used=Money(row.came),
    )


@strawberry.type
class ForecastQueries:
    """Reads."""

    @field(description="The accounts of a project whose money ends first.")
    async def running_out(
        self, info: Info, project: strawberry.ID, first: int = 20
    ) -> list[RunningOut]:
        """Raises NotFound, InvalidInput."""
        async with info.context.work() as work:
            rows = await journey.running_out(
                work,
                scope=info.context.caller(),
                project_id=uuid_of(project, "Project"),
                limit=size(first),
            )
        return [_running_of(account, found) for account, found in rows]

    @field(description="How far off a project's forecasts were, the newest day first.")
    async def forecast_days(
        self, info: Info, project: strawberry.ID, first: int = 28
    ) -> list[ForecastDay]:
        """Raises NotFound, InvalidInput."""
        async with info.context.work() as work:
            rows = await journey.measured_days(
                work,
                scope=info.context.caller(),
                project_id=uuid_of(project, "Project"),
                limit=size(first),
            )
        return [_day_of(row) for row in rows]


@strawberry.type
class ForecastMutations:
    """Writes."""

    @mutation(Permission.PROJECT_WRITE)
    async def set_days_left_warning(
        self, info: Info, project: strawberry.ID, days_left: int
    ) -> DaysLeftWarningResult:
        """Warn customers so many days before their money ends."""
        async with info.context.work() as work:
            row = await project_settings.set_warning(
                work,
                scope=info.context.caller(),
                project_id=uuid_of(project, "Project"),
                days_left=days_left,
                at=info.context.now,
            )
        return DaysLeftWarning(days_left=row.warn_days_left)
