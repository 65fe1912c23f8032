"""Signing in and out, and who one is."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import strawberry

from backend.journeys import sign_in
from backend.kernel.errors import Unauthenticated
from backend.kernel.scope import Scope
from backend.tenancy import queries
from backend.tenancy.rules import Permission

from . import console_session
from .context import Info
from .operators import Operator, operator_of
from .problems import AnyProblem
from .projects import Project, project_of
from .resolvers import field
from .rights import open_mutation


@strawberry.type(description="The group of the caller.")
class Group:
    """集团."""

    code: str
    name: str


@strawberry.type(description="What the caller may do in a project.")
class ProjectPermissions:
    """A project and the permissions held there, those of the group included."""

    project: Project
    permissions: list[Permission]


@strawberry.type(description="The signed-in operator.")
class Me:
    """Who one is and what one may do."""

    operator: Operator
    group: Group
    group_permissions: list[Permission]
    projects: list[ProjectPermissions]


@strawberry.type(description="A new session; the token is shown this once.")
class SignedIn:
    """Send the token as `Authorization: Bearer <token>`."""

    token: str


@strawberry.type(description="The session has ended.")
class SignedOut:
    """Nothing more to say."""

    ok: bool = True


LoginResult = Annotated[SignedIn | AnyProblem, strawberry.union("LoginResult")]
LogoutResult = Annotated[SignedOut | AnyProblem, strawberry.union("LogoutResult")]


def _permissions(scope: Scope, project_id: UUID | None) -> list[Permission]:
    return [permission for permission in Permission if scope.may(permission, project_id)]


async def _me(info: Info) -> Me:
    scope = info.context.caller()
    async with info.context.work() as work:
        code, name = await queries.group_name(work)
        row = await queries.operator_by_id(work, operator_id=UUID(scope.actor.id))
        projects = await queries.projects(work, scope=scope)
    return Me(
        operator=operator_of(row),
        group=Group(code=code, name=name),
        group_permissions=_permissions(scope, None),
        projects=[
            ProjectPermissions(project=project_of(p), permissions=_permissions(scope, p.id))
            for p in projects
        ],
    )


@strawberry.type
class SessionQueries:
    """Reads."""

    @field(description="The signed-in operator.")
    async def me(self, info: Info) -> Me:
        """Who one is. Raises Unauthenticated."""
        return await _me(info)


@strawberry.type
class SessionMutations:
    """Writes."""

    @open_mutation(why="it is how one gets a session; tries are limited")
    async def login(self, info: Info, login: str, password: str) -> LoginResult:
        """Sign in as name@group; the console is given its session in a cookie too."""
        context = info.context
        signed = await sign_in.sign_in(
            login=login, password=password, address=context.client_address, at=context.now
        )
        if context.console_response is not None:
            url = context.ports.public_url
            console_session.keep(context.console_response, signed.token, public_url=url)
        return SignedIn(token=signed.token)

    @open_mutation(why="it ends the caller's own session")
    async def logout(self, info: Info) -> LogoutResult:
        """End the session of this request."""
        context, scope = info.context, info.context.caller()
        if context.session is None:
            raise Unauthenticated("sign in first")
        await sign_in.sign_out(scope=scope, session=context.session, at=context.now)
        if context.console_response is not None:
            console_session.forget(context.console_response)
        return SignedOut()
