"""Exception cases: what a person must look at and decide."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry

from backend.alerts import queries
from backend.alerts.queries import Case as CaseRow
from backend.journeys.cases import CaseAction, resolve
from backend.tenancy.rules import Permission

from .audit import KeyValue, pairs
from .context import Info
from .nodes import Node
from .paging import Connection, project_page
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of

strawberry.enum(
    CaseAction,
    description="NOTE: it was dealt with. RETRY tries again what the case is about; a stopped meter is"
    " sold to again. REFUND gives the money of the case back, which needs `refund:request` too.",
)


@strawberry.type(description="Something a person must look at; it ends with a note.")
class Case(Node):
    """异常单."""

    key: strawberry.Private[UUID]
    kind: str
    subject: str
    detail: list[KeyValue]
    opened_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    note: str | None


ResolveCaseResult = Annotated[Case | AnyProblem, strawberry.union("ResolveCaseResult")]


def case_of(row: CaseRow) -> Case:
    """A case as the schema shows it."""
    return Case(
        id=ref("Case", row.id),
        key=row.id,
        kind=row.kind,
        subject=row.subject,
        detail=pairs(row.detail),
        opened_at=row.opened_at,
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
        note=row.note,
    )


@strawberry.type
class CaseQueries:
    """Reads."""

    @field(description="Cases of a project, newest first.")
    async def cases(
        self,
        info: Info,
        project: strawberry.ID,
        only_open: bool = True,
        first: int = 50,
        after: str | None = None,
    ) -> Connection[Case]:
        """A page. Raises NotFound, InvalidInput."""
        rows = partial(queries.cases_page, only_open=only_open)
        return await project_page(info, project, first, after, rows=rows, node=case_of)


@strawberry.type
class CaseMutations:
    """Writes."""

    @mutation(Permission.CASE_RESOLVE, long=frozenset({"note"}))
    async def resolve_case(
        self, info: Info, id: strawberry.ID, action: CaseAction, note: str
    ) -> ResolveCaseResult:
        """Close a case with a note."""
        scope, at = info.context.caller(), info.context.now
        row = await resolve(
            scope=scope,
            case_id=uuid_of(id, "Case"),
            action=action,
            note=note,
            at=at,
            models=info.context.ports.meter_models,
        )
        return case_of(row)
