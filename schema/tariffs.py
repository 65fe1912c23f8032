"""Tariffs (电价): versions with their way from draft to approval, who pays by which, what use would cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

import strawberry

from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.tariffs import operations, queries
from backend.tariffs.calendar import season_on
from backend.tariffs.queries import VersionState
from backend.tariffs.rules import (
    Line,
    LineKind,
    Position,
    TariffKind,
    compile_terms,
    price_usage,
    total_of,
)
from backend.tenancy.rules import Permission

from .context import Info
from .loaders import versions_of
from .nodes import Node
from .paging import size
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import DecimalText, ref, thousandths, uuid_of
from .tariff_terms import (
    BandUseInput,
    TariffTerms,
    TariffTermsInput,
    base_units,
    percent_text,
    terms_given,
    terms_shown,
    use_given,
)

strawberry.enum(
    VersionState,
    name="TariffVersionState",
    description="DRAFT waits for its author, SUBMITTED for a second person. APPROVED holds from its"
    " instant on; REJECTED never does.",
)
strawberry.enum(
    LineKind,
    name="PriceLineKind",
    description="ENERGY by band, STEP what a step adds, LOSS, PUBLIC and SERVICE fees, FIXED monthly.",
)


_NONE = DecimalText("0")


@strawberry.type(description="What a tariff says from an instant on. It never changes.")
class TariffVersion(Node):
    """电价版本."""

    tariff: strawberry.ID
    number: int
    state: VersionState
    effective_at: datetime
    terms: TariffTerms
    drafted_by: str
    drafted_at: datetime
    submitted_by: str | None
    submitted_at: datetime | None
    jumps: list[str] = strawberry.field(
        description="What is many times the former price, confirmed by who submitted it."
    )
    decided_by: str | None
    decided_at: datetime | None
    note: str | None


@strawberry.type(description="A tariff of a project.")
class Tariff(Node):
    """电价."""

    key: strawberry.Private[UUID]
    project: strawberry.ID
    kind: TariffKind
    name: str
    created_at: datetime

    @field(description="Its versions, newest first.")
    async def versions(self, info: Info, first: int = 20) -> list[TariffVersion]:
        """The newest versions; those of several tariffs are read by one statement."""
        return [version_of(row) for row in await versions_of(info.context, self.key, size(first))]


@strawberry.type(description="One line of a price.")
class PriceLine:
    """价格明细."""

    kind: LineKind
    detail: str = strawberry.field(description="The band of ENERGY, the step of STEP.")
    quantity: DecimalText = strawberry.field(description="kWh or m³; days of FIXED.")
    price: Money
    percent: DecimalText
    amount: Money


@strawberry.type(description="What use would cost.")
class PricedUse:
    """试算."""

    lines: list[PriceLine]
    total: Money


AddTariffResult = Annotated[Tariff | AnyProblem, strawberry.union("AddTariffResult")]
TariffVersionResult = Annotated[TariffVersion | AnyProblem, strawberry.union("TariffVersionResult")]


def tariff_of(row: queries.Tariff) -> Tariff:
    """A tariff as the schema shows it."""
    return Tariff(
        id=ref("Tariff", row.id),
        key=row.id,
        project=ref("Project", row.project_id),
        kind=row.kind,
        name=row.name,
        created_at=row.created_at,
    )


def version_of(row: queries.Version) -> TariffVersion:
    """A version as the schema shows it: persons by name."""
    return TariffVersion(
        id=ref("TariffVersion", row.id),
        tariff=ref("Tariff", row.tariff_id),
        number=row.number,
        state=row.state,
        effective_at=row.effective_at,
        terms=terms_shown(row.terms),
        drafted_by=row.drafted_name,
        drafted_at=row.drafted_at,
        submitted_by=row.submitted_name,
        submitted_at=row.submitted_at,
        jumps=list(row.jumps),
        decided_by=row.decided_name,
        decided_at=row.decided_at,
        note=row.note,
    )


def lines_shown(lines: Sequence[Line]) -> PricedUse:
    """Priced lines as the schema shows them."""
    shown = [
        PriceLine(
            kind=line.kind,
            detail=line.detail,
            quantity=_quantity(line),
            price=Money(line.price),
            percent=percent_text(line.share),
            amount=Money(line.amount),
        )
        for line in lines
    ]
    return PricedUse(lines=shown, total=Money(total_of(lines)))


def _quantity(line: Line) -> DecimalText:
    if line.kind is LineKind.FIXED:
        return DecimalText(str(line.quantity))
    return thousandths(line.quantity)


async def load_tariff(work: UnitOfWork, info: Info, tariff_id: UUID) -> Tariff:
    """One tariff by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    return tariff_of(await queries.tariff(work, scope=scope, tariff_id=tariff_id))


async def load_version(work: UnitOfWork, info: Info, version_id: UUID) -> TariffVersion:
    """One version by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    return version_of(await queries.version(work, scope=scope, version_id=version_id))


@strawberry.type
class TariffQueries:
    """Reads."""

    @field(description="The tariffs of a project, by kind and name.")
    async def tariffs(self, info: Info, project: strawberry.ID) -> list[Tariff]:
        """The tariffs. Raises NotFound."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        async with info.context.work() as work:
            rows = await queries.tariffs_of_project(work, scope=scope, project_id=project_id)
        return [tariff_of(row) for row in rows]

    @field(description="What use would cost by a version, approved or not. Nothing is charged.")
    async def price_usage(
        self,
        info: Info,
        version: strawberry.ID,
        use: list[BandUseInput],
        on: date,
        used_before: DecimalText = _NONE,
    ) -> PricedUse:
        """`used_before` in the step period. Raises NotFound, InvalidInput."""
        scope, wanted = info.context.caller(), uuid_of(version, "TariffVersion")
        given, before = use_given(use), base_units(used_before, "usedBefore")
        async with info.context.work() as work:
            found = await queries.version(work, scope=scope, version_id=wanted)
        plan = compile_terms(found.terms)
        return lines_shown(price_usage(plan, given, Position(season_on(plan, on), before)))


@strawberry.type
class TariffMutations:
    """Writes."""

    @mutation(Permission.TARIFF_WRITE)
    async def add_tariff(
        self, info: Info, project: strawberry.ID, kind: TariffKind, name: str
    ) -> AddTariffResult:
        """A new tariff without a version."""
        scope, at = info.context.caller(), info.context.now
        project_id = uuid_of(project, "Project")
        async with info.context.work() as work:
            row = await operations.add_tariff(
                work, scope=scope, project_id=project_id, kind=kind, name=name, at=at
            )
        return tariff_of(row)

    @mutation(Permission.TARIFF_WRITE)
    async def draft_tariff_version(
        self, info: Info, tariff: strawberry.ID, terms: TariffTermsInput, effective_at: datetime
    ) -> TariffVersionResult:
        """A new version, to be submitted; it never changes, a better draft is a new one."""
        scope, at, of = info.context.caller(), info.context.now, uuid_of(tariff, "Tariff")
        async with info.context.work() as work:
            kind = (await queries.tariff(work, scope=scope, tariff_id=of)).kind
            said = terms_given(kind, terms)
            row = await operations.draft_version(
                work, scope=scope, tariff_id=of, terms=said, effective_at=effective_at, at=at
            )
        return version_of(row)

    @mutation(Permission.TARIFF_WRITE)
    async def submit_tariff_version(
        self, info: Info, version: strawberry.ID, confirm_jumps: bool = False
    ) -> TariffVersionResult:
        """Hand a draft to a second person. A price that is many times the former one needs
        `confirmJumps`, and is told in the review."""
        scope, at = info.context.caller(), info.context.now
        wanted = uuid_of(version, "TariffVersion")
        async with info.context.work() as work:
            row = await operations.submit_version(
                work, scope=scope, version_id=wanted, confirm_jumps=confirm_jumps, at=at
            )
        return version_of(row)

    @mutation(Permission.TARIFF_APPROVE)
    async def approve_tariff_version(
        self, info: Info, version: strawberry.ID
    ) -> TariffVersionResult:
        """Let a submitted version hold from its instant on; not by who drafted or submitted it."""
        scope, at = info.context.caller(), info.context.now
        wanted = uuid_of(version, "TariffVersion")
        async with info.context.work() as work:
            row = await operations.approve_version(work, scope=scope, version_id=wanted, at=at)
        return version_of(row)

    @mutation(Permission.TARIFF_APPROVE)
    async def reject_tariff_version(
        self, info: Info, version: strawberry.ID, note: str
    ) -> TariffVersionResult:
        """Refuse a version, or take back an approved one before it holds."""
        scope, at = info.context.caller(), info.context.now
        wanted = uuid_of(version, "TariffVersion")
        async with info.context.work() as work:
            row = await operations.reject_version(
                work, scope=scope, version_id=wanted, note=note, at=at
            )
        return version_of(row)
