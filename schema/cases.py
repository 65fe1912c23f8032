"""Exception cases: what a person must look at and decide."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

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
from .scalars import ref, split_ref, uuid_of

strawberry.enum(
    CaseAction,
    description="NOTE closes the case; RETRY also lets a stopped meter be sold to again.",
)


@strawberry.type(description="Something a person must look at; it ends with a note.")
class Case(Node):
    """异常单."""

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
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        before, limit = uuid_key(after), size(first) + 1
        async with info.context.work() as work:
            found = await queries.cases_page(
                work,
                scope=scope,
                project_id=project_id,
                only_open=only_open,
                before=before,
                limit=limit,
            )
        rows, more = cut(found, first)
        return page(
            [case_of(r) for r in rows], more=more, key=lambda node: str(split_ref(node.id)[1])
        )


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
            scope=scope, case_id=uuid_of(id, "Case"), action=action, note=note, at=at
        )
        return case_of(row)
