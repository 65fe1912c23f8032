"""Who pays by which tariff (电价设置): the first at once, a change proposed and approved by two."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from backend.kernel.db import UnitOfWork
from backend.tariffs import changes
from backend.tenancy.rules import Permission

from .context import Info
from .nodes import Node
from .paging import Connection, cut, page, size, uuid_key
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of

strawberry.enum(
    changes.ChangeState,
    name="TariffChangeState",
    description="PROPOSED waits for a second person; APPROVED was done; REJECTED was not.",
)


@strawberry.type(description="Accounts that are to pay by another tariff from an instant on.")
class TariffChange(Node):
    """调价单."""

    key: strawberry.Private[UUID]
    tariff: strawberry.ID
    accounts: list[strawberry.ID]
    started_at: datetime
    state: changes.ChangeState
    proposed_by: str
    proposed_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    note: str | None


@strawberry.type(description="How many accounts pay by a tariff, and from when on.")
class TariffAssigned:
    """批量设置电价."""

    accounts: int
    started_at: datetime


AssignTariffResult = Annotated[TariffAssigned | AnyProblem, strawberry.union("AssignTariffResult")]
TariffChangeResult = Annotated[TariffChange | AnyProblem, strawberry.union("TariffChangeResult")]


def change_of(row: changes.Change) -> TariffChange:
    """A change as the schema shows it: persons by name."""
    return TariffChange(
        id=ref("TariffChange", row.id),
        key=row.id,
        tariff=ref("Tariff", row.tariff_id),
        accounts=[ref("Account", account_id) for account_id in row.account_ids],
        started_at=row.started_at,
        state=row.state,
        proposed_by=row.proposed_name,
        proposed_at=row.proposed_at,
        decided_by=row.decided_name,
        decided_at=row.decided_at,
        note=row.note,
    )


async def load_change(work: UnitOfWork, info: Info, change_id: UUID) -> TariffChange:
    """One change by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    return change_of(await changes.change(work, scope=scope, change_id=change_id))


@strawberry.type
class TariffChangeQueries:
    """Reads."""

    @field(description="The changes of a project, newest first.")
    async def tariff_changes(
        self, info: Info, project: strawberry.ID, first: int = 50, after: str | None = None
    ) -> Connection[TariffChange]:
        """Raises NotFound, InvalidInput."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        limit, before = size(first) + 1, uuid_key(after)
        async with info.context.work() as work:
            found = await changes.changes_page(
                work, scope=scope, project_id=project_id, before=before, limit=limit
            )
        rows, more = cut(found, first)
        return page([change_of(row) for row in rows], more=more, key=lambda n: str(n.key))


@strawberry.type
class TariffChangeMutations:
    """Writes."""

    @mutation(Permission.TARIFF_WRITE)
    async def assign_tariff(
        self,
        info: Info,
        tariff: strawberry.ID,
        accounts: list[strawberry.ID],
        started_at: datetime,
    ) -> AssignTariffResult:
        """Give accounts their first tariff of a kind from an instant on; all of them or none."""
        scope, at, of = info.context.caller(), info.context.now, uuid_of(tariff, "Tariff")
        ids = [uuid_of(account, "Account") for account in accounts]
        async with info.context.work() as work:
            count = await changes.assign_first(
                work, scope=scope, tariff_id=of, account_ids=ids, started_at=started_at, at=at
            )
        return TariffAssigned(accounts=count, started_at=started_at)

    @mutation(Permission.TARIFF_WRITE)
    async def propose_tariff_change(
        self,
        info: Info,
        tariff: strawberry.ID,
        accounts: list[strawberry.ID],
        started_at: datetime,
    ) -> TariffChangeResult:
        """Ask a second person to let accounts pay by a tariff from an instant on."""
        scope, at, of = info.context.caller(), info.context.now, uuid_of(tariff, "Tariff")
        ids = [uuid_of(account, "Account") for account in accounts]
        async with info.context.work() as work:
            row = await changes.propose_change(
                work, scope=scope, tariff_id=of, account_ids=ids, started_at=started_at, at=at
            )
        return change_of(row)

    @mutation(Permission.TARIFF_APPROVE)
    async def approve_tariff_change(self, info: Info, change: strawberry.ID) -> TariffChangeResult:
        """Do what was proposed, all of it or nothing; not by who proposed it."""
        scope, at = info.context.caller(), info.context.now
        wanted = uuid_of(change, "TariffChange")
        async with info.context.work() as work:
            row = await changes.approve_change(work, scope=scope, change_id=wanted, at=at)
        return change_of(row)

    @mutation(Permission.TARIFF_APPROVE)
    async def reject_tariff_change(
        self, info: Info, change: strawberry.ID, note: str
    ) -> TariffChangeResult:
        """Refuse what was proposed."""
        scope, at = info.context.caller(), info.context.now
        wanted = uuid_of(change, "TariffChange")
        async with info.context.work() as work:
            row = await changes.reject_change(work, scope=scope, change_id=wanted, note=note, at=at)
        return change_of(row)
