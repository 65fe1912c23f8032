"""Projects and their places."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import strawberry

from backend.accounts import operations as accounts
from backend.accounts import queries as accounts_queries
from backend.accounts.models import Area as AreaRow
from backend.kernel.money import Money
from backend.metering import queries as metering
from backend.tenancy import operations, project_settings, queries
from backend.tenancy.models import Project as ProjectRow
from backend.tenancy.rules import Permission

from .accounts import Account, account_page
from .context import Info
from .meters import Gateway, gateway_of
from .nodes import Node
from .paging import Connection
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of


@strawberry.type(description="A place: a node of a project's tree (building, floor, room).")
class Area(Node):
    """区域."""

    name: str
    parent: strawberry.ID | None
    project: strawberry.ID


@strawberry.type(description="A site with its own money.")
class Project(Node):
    """项目."""

    key: strawberry.Private[UUID]
    code: str
    name: str
    kind: str
    time_zone: str
    sweep_minutes: int
    lost_after_sweeps: int = strawberry.field(
        description="A meter that missed so many sweeps is lost."
    )
    top_up_min: Money
    top_up_max: Money
    refund_alone: Money = strawberry.field(
        description="Up to here one operator refunds of a top-up without a second one."
    )
    estimate_after_days: int = strawberry.field(
        description="Days of silence after which use is charged provisionally; 0: only when asked."
    )
    warn_days_left: int = strawberry.field(
        description="Customers are warned so many days before their money ends; see setDaysLeftWarning."
    )

    @field(description="Accounts by number.")
    async def accounts(
        self, info: Info, first: int = 50, after: str | None = None
    ) -> Connection[Account]:
        """A page of accounts, with all that is asked of them by a few statements."""
        return await account_page(info, project_id=self.key, first=first, after=after)

    @field(description="All places of the project, by name.")
    async def areas(self, info: Info) -> list[Area]:
        """The places."""
        async with info.context.work() as work:
            rows = await accounts_queries.areas(
                work, scope=info.context.caller(), project_id=self.key
            )
        return [area_of(row) for row in rows]

    @field(description="All gateways of the project, by serial.")
    async def gateways(self, info: Info) -> list[Gateway]:
        """The gateways."""
        info.context.caller().require(Permission.METER_READ, self.key)
        async with info.context.work() as work:
            rows = await metering.gateways_of_project(work, project_id=self.key)
        return [gateway_of(row) for row in rows]


AddProjectResult = Annotated[Project | AnyProblem, strawberry.union("AddProjectResult")]
SetCollectionResult = Annotated[Project | AnyProblem, strawberry.union("SetCollectionResult")]
SetEstimatesResult = Annotated[Project | AnyProblem, strawberry.union("SetEstimatesResult")]
AddAreaResult = Annotated[Area | AnyProblem, strawberry.union("AddAreaResult")]


def project_of(row: ProjectRow) -> Project:
    """A project as the schema shows it."""
    return Project(
        id=ref("Project", row.id),
        key=row.id,
        code=row.code,
        name=row.name,
        kind=row.kind,
        time_zone=row.time_zone,
        sweep_minutes=row.sweep_minutes,
        lost_after_sweeps=row.lost_after_sweeps,
        top_up_min=Money.of_fen(row.topup_min_fen),
        top_up_max=Money.of_fen(row.topup_max_fen),
        refund_alone=Money.of_fen(row.refund_alone_fen),
        estimate_after_days=row.estimate_after_days,
        warn_days_left=row.warn_days_left,
    )


def area_of(row: AreaRow) -> Area:
    """A place as the schema shows it."""
    return Area(
        id=ref("Area", row.id),
        name=row.name,
        parent=None if row.parent_id is None else ref("Area", row.parent_id),
        project=ref("Project", row.project_id),
    )


@strawberry.type
class ProjectQueries:
    """Reads."""

    @field(description="The projects the caller may read, by code.")
    async def projects(self, info: Info) -> list[Project]:
        """All granted projects."""
        async with info.context.work() as work:
            rows = await queries.projects(work, scope=info.context.caller())
        return [project_of(row) for row in rows]

    @field(description="One project.")
    async def project(self, info: Info, id: strawberry.ID) -> Project:
        """By id. Raises NotFound."""
        async with info.context.work() as work:
            row = await queries.project(
                work, scope=info.context.caller(), project_id=uuid_of(id, "Project")
            )
        return project_of(row)


@strawberry.type
class ProjectMutations:
    """Writes."""

    @mutation(Permission.PROJECT_WRITE, of_group=True)
    async def add_project(self, info: Info, code: str, name: str, kind: str) -> AddProjectResult:
        """Create a project."""
        context = info.context
        async with context.work() as work:
            row = await operations.add_project(
                work, scope=context.caller(), code=code, name=name, kind=kind, at=context.now
            )
        return project_of(row)

    @mutation(Permission.PROJECT_WRITE)
    async def set_collection(
        self, info: Info, project: strawberry.ID, sweep_minutes: int, lost_after_sweeps: int
    ) -> SetCollectionResult:
        """How often the meters of a project are read, and after how many missed sweeps one is lost."""
        context, project_id = info.context, uuid_of(project, "Project")
        async with context.work() as work:
            row = await project_settings.set_collection(
                work,
                scope=context.caller(),
                project_id=project_id,
                sweep_minutes=sweep_minutes,
                lost_after_sweeps=lost_after_sweeps,
                at=context.now,
            )
        return project_of(row)

    @mutation(Permission.PROJECT_WRITE)
    async def set_estimates(
        self, info: Info, project: strawberry.ID, after_days: int
    ) -> SetEstimatesResult:
        """After how many days of silence a meter is charged provisionally; 0: only when asked."""
        context, project_id = info.context, uuid_of(project, "Project")
        async with context.work() as work:
            row = await project_settings.set_estimates(
                work,
                scope=context.caller(),
                project_id=project_id,
                after_days=after_days,
                at=context.now,
            )
        return project_of(row)

    @mutation(Permission.ACCOUNT_WRITE)
    async def add_area(
        self,
        info: Info,
        project: strawberry.ID,
        name: str,
        parent: strawberry.ID | None = None,
    ) -> AddAreaResult:
        """Create a place under `parent`, or at the top."""
        scope, at = info.context.caller(), info.context.now
        project_id = uuid_of(project, "Project")
        async with info.context.work() as work:
            above = None
            if parent is not None:
                found = uuid_of(parent, "Area")
                above = (await accounts_queries.area(work, scope=scope, area_id=found)).id
            row = await accounts.add_area(
                work, scope=scope, project_id=project_id, parent_id=above, name=name, at=at
            )
        return area_of(row)
