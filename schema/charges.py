"""Charges (扣费) of accounts whose money is in the cloud: what, why, how much is left; credit classes."""

from __future__ import annotations

from datetime import date, datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry

from backend.accounts import queries as accounts
from backend.charges import credit
from backend.charges.queries import charges_of_account
from backend.charges.rules import Charge as ChargeRow
from backend.charges.rules import Figures, Reason, Ruling
from backend.journeys import (
    charge_estimate,
    charge_explain,
    charge_grants,
    charge_rulings,
    shared_purse,
)
from backend.kernel.clock import day_period
from backend.kernel.errors import NotFound
from backend.kernel.money import Money
from backend.tariffs.rules import TariffKind
from backend.tenancy.rules import Permission

from .context import Info
from .paging import Connection, cut, page, size, uuid_key
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import DecimalText, ref, thousandths, uuid_of
from .tariffs import PriceLine, lines_shown

strawberry.enum(
    Reason,
    name="ChargeReason",
    description="USE between two readings; CORRECTION of a month; ESTIMATE, provisional, and its reversal.",
)
strawberry.enum(
    Ruling,
    name="HoldRuling",
    description=(
        "IGNORE: the reading was wrong. REBASE: use counts anew from it."
        " COUNT: it gained more than is believed, and did so indeed."
    ),
)


@strawberry.type(description="What an account was charged for the use between two instants.")
class Charge:
    """扣费."""

    id: strawberry.ID
    key: strawberry.Private[UUID]
    account: strawberry.ID
    reason: Reason
    kind: TariffKind
    month: date
    day: date
    start: datetime = strawberry.field(name="from")
    end: datetime = strawberry.field(name="to")
    used: DecimalText = strawberry.field(description="kWh or m³.")
    shared: bool = strawberry.field(
        description="The use is shared by time over days or prices: readings do not tell it."
    )
    energy: Money
    fixed: Money
    loss: Money
    public: Money
    service: Money
    total: Money
    charged_at: datetime


@strawberry.type(description="How a charge came about.")
class ExplainedCharge:
    """扣费说明."""

    charge: Charge
    from_register: DecimalText | None = strawberry.field(description="kWh or m³ at its start.")
    to_register: DecimalText | None
    version: strawberry.ID | None = strawberry.field(description="The tariff version it used.")
    used_before: DecimalText | None = strawberry.field(
        description="Used in the step period before it."
    )
    step: int | None = strawberry.field(description="The step that the next unit is in.")
    lines: list[PriceLine]
    agrees: bool = strawberry.field(description="Pricing it anew gives what was posted.")


@strawberry.type(description="The three figures of an account, each apart (C3).")
class AccountFigures:
    """余额三项."""

    balance: Money = strawberry.field(description="What its purse holds, less what it owes.")
    uncharged: Money = strawberry.field(description="Read and not charged yet, at the last price.")
    overdraft: Money = strawberry.field(description="How far it may go below zero.")
    available: Money = strawberry.field(description="balance - uncharged + overdraft.")


@strawberry.type(description="How far accounts may go below zero, and what they are given.")
class CreditClass:
    """信用类别."""

    id: strawberry.ID
    name: str
    overdraft: Money
    emergency: Money
    monthly_grant: Money


@strawberry.type(description="Charges that came of it: only differences are posted.")
class Recharged:
    """重算结果."""

    charges: int


@strawberry.type(description="What was charged provisionally.")
class UseEstimated:
    """暂估扣费."""

    amount: Money


@strawberry.type(description="Emergency credit that can be used now.")
class EmergencyDrawn:
    """应急额度."""

    amount: Money


@strawberry.type(description="The class that the account is in now.")
class CreditClassSet:
    """信用类别已设."""

    account: strawberry.ID
    credit_class: strawberry.ID


@strawberry.type(description="The purse that the account draws from now.")
class PurseJoined:
    """共用钱包."""

    account: strawberry.ID
    purse: strawberry.ID = strawberry.field(description="The account whose purse it is.")
    moved: Money = strawberry.field(description="What went along, beside what its meters hold.")


CreditClassResult = Annotated[CreditClass | AnyProblem, strawberry.union("CreditClassResult")]
CreditClassSetResult = Annotated[
    CreditClassSet | AnyProblem, strawberry.union("CreditClassSetResult")
]
EstimateResult = Annotated[UseEstimated | AnyProblem, strawberry.union("EstimateResult")]
EmergencyResult = Annotated[EmergencyDrawn | AnyProblem, strawberry.union("EmergencyResult")]
PurseResult = Annotated[PurseJoined | AnyProblem, strawberry.union("PurseResult")]
RechargedResult = Annotated[Recharged | AnyProblem, strawberry.union("RechargedResult")]


def charge_of(row: ChargeRow) -> Charge:
    """A charge as the schema shows it."""
    amounts = row.amounts
    return Charge(
        id=ref("Charge", row.id),
        key=row.id,
        account=ref("Account", row.account_id),
        reason=row.reason,
        kind=TariffKind(row.kind),
        month=row.month,
        day=row.day,
        start=row.from_at,
        end=row.to_at,
        used=thousandths(sum(row.use)),
        shared=row.shared,
        energy=Money(amounts.energy),
        fixed=Money(amounts.fixed),
        loss=Money(amounts.loss),
        public=Money(amounts.public),
        service=Money(amounts.service),
        total=Money(amounts.total),
        charged_at=row.charged_at,
    )


def explained_of(told: charge_explain.Explained) -> ExplainedCharge:
    """An explained charge as the schema shows it."""
    row = told.charge
    before = None
    if row.step_before is not None:
        before = thousandths(row.step_before + sum(row.use_before or ()))
    return ExplainedCharge(
        charge=charge_of(row),
        from_register=None if row.from_total is None else thousandths(row.from_total),
        to_register=None if row.to_total is None else thousandths(row.to_total),
        version=None if row.version_id is None else ref("TariffVersion", row.version_id),
        used_before=before,
        step=told.step,
        lines=lines_shown(told.lines).lines,
        agrees=told.agrees,
    )


def figures_of(row: Figures) -> AccountFigures:
    """The figures as the schema shows them."""
    return AccountFigures(
        balance=row.balance,
        uncharged=row.uncharged,
        overdraft=row.overdraft,
        available=row.available,
    )


def joined_of(row: shared_purse.Joined) -> PurseJoined:
    """An account and its purse as the schema shows them."""
    return PurseJoined(
        account=ref("Account", row.account_id), purse=ref("Account", row.purse), moved=row.moved
    )


def class_of(row: credit.CreditClass) -> CreditClass:
    """A credit class as the schema shows it."""
    return CreditClass(
        id=ref("CreditClass", row.id),
        name=row.name,
        overdraft=row.overdraft,
        emergency=row.emergency,
        monthly_grant=row.monthly_grant,
    )


@strawberry.type
class ChargeQueries:
    """Reads."""

    @field(description="The charges of an account, newest first.")
    async def charges(
        self, info: Info, account: strawberry.ID, first: int = 20, after: str | None = None
    ) -> Connection[Charge]:
        """A page. Raises NotFound, InvalidInput."""
        scope, wanted = info.context.caller(), uuid_of(account, "Account")
        async with info.context.work() as work:
            found = await accounts.account(work, scope=scope, account_id=wanted)
            if not scope.may(Permission.TOPUP_READ, found.project_id):
                raise NotFound("no such account")
            rows = await charges_of_account(
                work, account_id=wanted, before=uuid_key(after), limit=size(first) + 1
            )
        some, more = cut(rows, first)
        return page([charge_of(row) for row in some], more=more, key=lambda node: str(node.key))

    @field(description="A charge with its readings, version, step position and lines, priced anew.")
    async def explain_charge(self, info: Info, id: strawberry.ID) -> ExplainedCharge:
        """By id. Raises NotFound."""
        scope, wanted = info.context.caller(), uuid_of(id, "Charge")
        async with info.context.work() as work:
            return explained_of(await charge_explain.explain(work, scope=scope, charge_id=wanted))

    @field(description="The credit classes of a project, by name.")
    async def credit_classes(self, info: Info, project: strawberry.ID) -> list[CreditClass]:
        """The classes. Raises NotFound."""
        scope, wanted = info.context.caller(), uuid_of(project, "Project")
        async with info.context.work() as work:
            rows = await credit.classes_of_project(work, scope=scope, project_id=wanted)
        return [class_of(row) for row in rows]


@strawberry.type
class ChargeMutations:
    """Writes."""

    @mutation(Permission.CHARGE_WRITE)
    async def re_rate(
        self,
        info: Info,
        account: strawberry.ID,
        kind: TariffKind,
        start: Annotated[date, strawberry.argument(name="from")],
    ) -> RechargedResult:
        """Rate what an account used of a kind anew from a month on; only differences are posted."""
        made = await charge_rulings.re_rate(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            kind=kind.value,
            first=day_period(start).start,
            at=info.context.now,
        )
        return Recharged(charges=made)

    @mutation(Permission.CHARGE_WRITE)
    async def rule_billing_hold(
        self, info: Info, meter: strawberry.ID, ruling: Ruling, note: str
    ) -> RechargedResult:
        """Say what of the reading that is held (it went back, or gained more than a meter can measure), and
        go on charging the meter."""
        made = await charge_rulings.rule_on_hold(
            scope=info.context.caller(),
            meter_id=uuid_of(meter, "Meter"),
            ruling=ruling,
            note=note,
            at=info.context.now,
        )
        return Recharged(charges=made)

    @mutation(Permission.CHARGE_WRITE)
    async def estimate_use(self, info: Info, meter: strawberry.ID) -> EstimateResult:
        """Charge a silent meter by what it used before; its next reading takes that back."""
        amount = await charge_estimate.estimate_use(
            scope=info.context.caller(), meter_id=uuid_of(meter, "Meter"), at=info.context.now
        )
        return UseEstimated(amount=amount)

    @mutation(Permission.CREDIT_WRITE)
    async def save_credit_class(
        self,
        info: Info,
        project: strawberry.ID,
        name: str,
        overdraft: Money,
        emergency: Money,
        monthly_grant: Money,
    ) -> CreditClassResult:
        """Make a credit class, or change the one of that name."""
        scope, at, of = info.context.caller(), info.context.now, uuid_of(project, "Project")
        save = partial(credit.save_class, overdraft=overdraft, emergency=emergency)
        save = partial(save, scope=scope, project_id=of, monthly_grant=monthly_grant)
        async with info.context.work() as work:
            return class_of(await save(work, name=name, at=at))

    @mutation(Permission.CREDIT_WRITE)
    async def set_credit_class(
        self, info: Info, account: strawberry.ID, credit_class: strawberry.ID
    ) -> CreditClassSetResult:
        """Put an account into a credit class of its project."""
        await charge_grants.set_class(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            class_id=uuid_of(credit_class, "CreditClass"),
            at=info.context.now,
        )
        return CreditClassSet(account=account, credit_class=credit_class)

    @mutation(Permission.CREDIT_WRITE)
    async def draw_emergency_credit(self, info: Info, account: strawberry.ID) -> EmergencyResult:
        """Let an account go below zero by the emergency credit of its class, until it is paid back."""
        drawn = await charge_grants.draw_emergency(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            at=info.context.now,
        )
        return EmergencyDrawn(amount=drawn)

    @mutation(Permission.PURSE_WRITE)
    async def share_purse(
        self, info: Info, account: strawberry.ID, owner: strawberry.ID, reason: str
    ) -> PurseResult:
        """Let an account draw from the owner's purse; its money and arrears go there."""
        joined = await shared_purse.share_purse(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            owner_id=uuid_of(owner, "Account"),
            reason=reason,
            at=info.context.now,
        )
        return joined_of(joined)

    @mutation(Permission.PURSE_WRITE)
    async def part_purse(self, info: Info, account: strawberry.ID, reason: str) -> PurseResult:
        """Let an account draw from its own purse again."""
        joined = await shared_purse.part_purse(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            reason=reason,
            at=info.context.now,
        )
        return joined_of(joined)
