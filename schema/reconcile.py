"""Reconciliation (对账): the channels' bills, the nightly proofs of meters, the signed daily statement."""

from __future__ import annotations

import base64
from datetime import date, datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry

from backend.journeys import drift, reconcile_desk
from backend.journeys.daily_statement import daily_statement
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.reconcile.models import BillDay as DayRow
from backend.reconcile.models import BillItem as ItemRow
from backend.reconcile.models import DayState
from backend.reconcile.proof_rules import ProofVerdict
from backend.reconcile.proofs import Proof
from backend.reconcile.rules import BillClass
from backend.reconcile.statement_rules import StatementKeys
from backend.reconcile.statements import Statement
from backend.tenancy.rules import Permission

from .context import Info
from .nodes import Node
from .paging import Connection, page_by_key, project_page, size, uuid_key
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of

strawberry.enum(
    DayState,
    name="BillDayState",
    description="WAITING: the bill has not come. FETCHED, then MATCHED: compared with the book. CLOSED.",
)
strawberry.enum(
    BillClass,
    name="BillClass",
    description="What became of a line of the bill or of a booking; a refund's is REFUND_DIFFERS.",
)
strawberry.enum(
    ProofVerdict,
    name="ProofVerdict",
    description="AGREES: use explains it. DRIFT: it does not, selling is stopped. UNREAD, UNSETTLED:"
    " nothing can be said, the next night tries again.",
)


@strawberry.type(description="A merchant account's bill of one China day against the book.")
class BillDay(Node):
    """对账日. `matched`: lines that agree; sums over what was compared."""

    key: strawberry.Private[UUID]
    day: date
    state: DayState
    lines: int
    matched: int
    bill_paid: Money
    bill_refunded: Money
    book_paid: Money
    book_refunded: Money
    carried: Money
    fetched_at: datetime | None
    matched_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    note: str | None
    waiting_for: str | None


@strawberry.type(description="Where bill and book differ; it ends with a note.")
class BillItem(Node):
    """差异. A side that has nothing is null."""

    key: strawberry.Private[UUID]
    kind: BillClass
    order_no: str
    transaction_id: str
    refund_no: str
    ours: Money | None
    theirs: Money | None
    reason: str
    found_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    note: str | None


@strawberry.type(description="A meter's count and money of a night against the book.")
class MeterProof(Node):
    """夜间核对. `use` lies between `least` and `most` when the meter's own use explains it."""

    key: strawberry.Private[UUID]
    meter: strawberry.ID
    day: date
    verdict: ProofVerdict
    reason: str
    read_at: datetime | None
    ledger_count: int | None
    meter_count: int | None
    ledger: Money | None
    remaining: Money | None
    use: Money | None
    least: Money | None
    most: Money | None
    posted: Money
    resolved_at: datetime | None
    resolved_by: str | None
    note: str | None


@strawberry.type(description="The signed statement of a project's day (日结单).")
class DailyStatement:
    """`file` is what `shuidian statement verify` takes, with `publicKey` (base64)."""

    day: date
    hash: str
    previous_hash: str | None
    key_name: str
    public_key: str | None
    file: str
    made_at: datetime


ResolveBillItemResult = Annotated[BillItem | AnyProblem, strawberry.union("ResolveBillItemResult")]
CloseBillDayResult = Annotated[BillDay | AnyProblem, strawberry.union("CloseBillDayResult")]
ResolveMeterDriftResult = Annotated[
    MeterProof | AnyProblem, strawberry.union("ResolveMeterDriftResult")
]


def day_of(row: DayRow) -> BillDay:
    """A bill day as the schema shows it."""
    return BillDay(
        id=ref("BillDay", row.id),
        key=row.id,
        day=row.day,
        state=row.state,
        lines=row.lines,
        matched=row.matched,
        bill_paid=Money.of_fen(row.theirs_paid_fen),
        bill_refunded=Money.of_fen(row.theirs_refund_fen),
        book_paid=Money.of_fen(row.ours_paid_fen),
        book_refunded=Money.of_fen(row.ours_refund_fen),
        carried=Money.of_fen(row.carried_fen),
        fetched_at=row.fetched_at,
        matched_at=row.matched_at,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
        note=row.note,
        waiting_for=row.last_error,
    )


def item_of(row: ItemRow) -> BillItem:
    """An item as the schema shows it."""
    return BillItem(
        id=ref("BillItem", row.id),
        key=row.id,
        kind=row.kind,
        order_no=row.order_no,
        transaction_id=row.transaction_id,
        refund_no=row.refund_no,
        ours=None if row.ours_fen is None else Money.of_fen(row.ours_fen),
        theirs=None if row.theirs_fen is None else Money.of_fen(row.theirs_fen),
        reason=row.reason,
        found_at=row.found_at,
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
        note=row.note,
    )


def proof_of(row: Proof) -> MeterProof:
    """A proof as the schema shows it."""
    return MeterProof(
        id=ref("MeterProof", row.id),
        key=row.id,
        meter=ref("Meter", row.meter_id),
        day=row.day,
        verdict=row.verdict,
        reason=row.reason,
        read_at=row.read_at,
        ledger_count=row.ledger_count,
        meter_count=row.meter_count,
        ledger=row.ledger,
        remaining=row.meter,
        use=row.use,
        least=row.least,
        most=row.most,
        posted=row.posted,
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
        note=row.note,
    )


def statement_of(row: Statement, keys: StatementKeys) -> DailyStatement:
    """A statement as the schema shows it."""
    public = keys.public.get(row.signed.key_name)
    return DailyStatement(
        day=row.day,
        hash=row.signed.hash.hex(),
        previous_hash=None if row.previous is None else row.previous.hex(),
        key_name=row.signed.key_name,
        public_key=None if public is None else base64.b64encode(public).decode(),
        file=row.signed.file,
        made_at=row.made_at,
    )


async def load_bill_day(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    """A bill day by id. Raises NotFound."""
    scope = info.context.caller()
    return day_of(await reconcile_desk.bill_day(work, scope=scope, day_id=id_))


async def load_bill_item(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    """An item by id. Raises NotFound."""
    scope = info.context.caller()
    return item_of(await reconcile_desk.bill_item(work, scope=scope, item_id=id_))


async def load_meter_proof(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    """A proof by id. Raises NotFound."""
    scope = info.context.caller()
    return proof_of(await drift.meter_proof(work, scope=scope, proof_id=id_))


@strawberry.type
class ReconcileQueries:
    """Reads; they need the permission `reconcile:read` in the project."""

    @field(description="The bill days of a project's merchant accounts, planned last first.")
    async def bill_days(
        self,
        info: Info,
        project: strawberry.ID,
        only_open: bool = True,
        first: int = 50,
        after: str | None = None,
    ) -> Connection[BillDay]:
        """A page. Raises NotFound, InvalidInput."""
        rows = partial(reconcile_desk.bill_days, only_open=only_open)
        return await project_page(info, project, first, after, rows=rows, node=day_of)

    @field(description="The items of a bill day, newest first.")
    async def bill_items(
        self, info: Info, day: strawberry.ID, first: int = 50, after: str | None = None
    ) -> Connection[BillItem]:
        """A page. Raises NotFound, InvalidInput."""
        day_id, before = uuid_of(day, "BillDay"), uuid_key(after)
        scope, limit = info.context.caller(), size(first) + 1
        async with info.context.work() as work:
            found = await reconcile_desk.bill_items(
                work, scope=scope, day_id=day_id, before=before, limit=limit
            )
        return page_by_key(found, first, node=item_of)

    @field(description="The nightly proofs of a project's meters, newest first.")
    async def meter_proofs(
        self,
        info: Info,
        project: strawberry.ID,
        only_drift: bool = True,
        first: int = 50,
        after: str | None = None,
    ) -> Connection[MeterProof]:
        """A page. Raises NotFound, InvalidInput."""
        rows = partial(drift.meter_proofs, only_drift=only_drift)
        return await project_page(info, project, first, after, rows=rows, node=proof_of)

    @field(description="The signed statement of a project's business day.")
    async def daily_statement(
        self, info: Info, project: strawberry.ID, day: date
    ) -> DailyStatement:
        """One statement. Raises NotFound."""
        project_id = uuid_of(project, "Project")
        async with info.context.work() as work:
            found = await daily_statement(
                work, scope=info.context.caller(), project_id=project_id, day=day
            )
        return statement_of(found, StatementKeys(info.context.ports.box))


@strawberry.type
class ReconcileMutations:
    """Writes."""

    @mutation(Permission.RECONCILE_WRITE, long=frozenset({"note"}))
    async def resolve_bill_item(
        self, info: Info, id: strawberry.ID, note: str
    ) -> ResolveBillItemResult:
        """End a difference with a note of what was found and done."""
        scope, at = info.context.caller(), info.context.now
        item_id = uuid_of(id, "BillItem")
        return item_of(
            await reconcile_desk.resolve_item(scope=scope, item_id=item_id, note=note, at=at)
        )

    @mutation(Permission.RECONCILE_WRITE, long=frozenset({"note"}))
    async def close_bill_day(self, info: Info, id: strawberry.ID, note: str) -> CloseBillDayResult:
        """Close a day whose items were all ended."""
        scope, at = info.context.caller(), info.context.now
        day_id = uuid_of(id, "BillDay")
        return day_of(await reconcile_desk.close_day(scope=scope, day_id=day_id, note=note, at=at))

    @mutation(Permission.RECONCILE_WRITE, long=frozenset({"note"}))
    async def resolve_meter_drift(
        self, info: Info, id: strawberry.ID, note: str
    ) -> ResolveMeterDriftResult:
        """Let a meter that drifted be sold to again; what nothing explains is set apart."""
        scope, at = info.context.caller(), info.context.now
        proof_id = uuid_of(id, "MeterProof")
        return proof_of(await drift.resolve_drift(scope=scope, proof_id=proof_id, note=note, at=at))
