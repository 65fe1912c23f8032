"""Exception cases: what a person must look at and decide."""

from __future__ import annotations

from datetime import datetime
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
from .paging import Connection, cut, page, size, uuid_key
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


def _case_page(rows: list[CaseRow], more: bool) -> Connection[Case]:
    return page([case_of(row) for row in rows], more=more, key=lambda node: str(node.key))


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
        project_id, before = uuid_of(project, "Project"), uuid_key(after)
        async with info.context.work() as work:
            found = await queries.cases_page(
                work,
                scope=info.context.caller(),
                project_id=project_id,
                only_open=only_open,
                before=before,
                limit=size(first) + 1,
            )
        return _case_page(*cut(found, first))


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
