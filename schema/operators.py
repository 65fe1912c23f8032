"""Operators and what they are granted."""

from __future__ import annotations

import asyncio
from typing import Annotated

import strawberry

from backend.journeys.sign_in import hash_password
from backend.tenancy import operations, queries
from backend.tenancy.models import Operator as OperatorRow
from backend.tenancy.rules import Permission, check_password_strength

from .context import Info
from .problems import AnyProblem
from .rights import mutation
from .scalars import ref, uuid_of

strawberry.enum(
    Permission, description="What a role may allow; every mutation names the one it needs."
)


@strawberry.type(description="A person of the group who works in the console.")
class Operator:
    """操作员."""

    id: strawberry.ID
    login: str
    name: str


@strawberry.type(description="The operator now holds the role.")
class Granted:
    """`project` null: in the whole group."""

    operator: strawberry.ID
    role: str
    project: strawberry.ID | None


AddOperatorResult = Annotated[Operator | AnyProblem, strawberry.union("AddOperatorResult")]
GrantRoleResult = Annotated[Granted | AnyProblem, strawberry.union("GrantRoleResult")]


def operator_of(row: OperatorRow) -> Operator:
    """An operator as the schema shows it."""
    return Operator(id=ref("Operator", row.id), login=row.login, name=row.name)


@strawberry.type
class OperatorMutations:
    """Writes."""

    @mutation(Permission.OPERATOR_WRITE, of_group=True)
    async def add_operator(
        self, info: Info, login: str, name: str, password: str
    ) -> AddOperatorResult:
        """Create an operator without grants."""
        scope, at = info.context.caller(), info.context.now
        check_password_strength(password)
        hashed = await asyncio.to_thread(hash_password, password)
        async with info.context.work() as work:
            row = await operations.add_operator(
                work, scope=scope, login=login, name=name, password_hash=hashed, at=at
            )
        return operator_of(row)

    @mutation(Permission.OPERATOR_WRITE, of_group=True)
    async def grant_role(
        self,
        info: Info,
        operator: strawberry.ID,
        role: str,
        project: strawberry.ID | None = None,
    ) -> GrantRoleResult:
        """Give a preset role in a project, or in the whole group."""
        scope, at = info.context.caller(), info.context.now
        who, site = uuid_of(operator, "Operator"), project and uuid_of(project, "Project")
        async with info.context.work() as work:
            await queries.operator_by_id(work, operator_id=who)
            if site:
                await queries.project(work, scope=scope, project_id=site)
            await operations.grant(
                work, scope=scope, operator_id=who, role=role, project_id=site or None, at=at
            )
        return Granted(operator=operator, role=role, project=project)
