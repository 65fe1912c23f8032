"""Files to take along: an address by GraphQL, and what lies behind it (A21)."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import strawberry
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from backend.journeys.meter_list import export_meters, make_export_link
from backend.journeys.ports import Ports
from backend.kernel.errors import NotFound
from backend.tenancy.rules import Permission

from .context import Info
from .problems import AnyProblem
from .rights import mutation
from .scalars import uuid_of

_AT_ONCE = 2  # a list of 100,000 meters takes a core half a minute
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@strawberry.type(
    description="An address that opens for two minutes, with the caller's rights then."
)
class ExportLink:
    """导出."""

    url: str
    expires_at: datetime


ExportLinkResult = Annotated[ExportLink | AnyProblem, strawberry.union("ExportLinkResult")]


@strawberry.type
class ExportMutations:
    """Writes."""

    @mutation(Permission.METER_EXPORT)
    async def export_meters(self, info: Info, project: strawberry.ID) -> ExportLinkResult:
        """The present state of all meters of a project as XLSX, with who lives where."""
        scope, ports = info.context.caller(), info.context.ports
        of, at = uuid_of(project, "Project"), info.context.now
        link = await make_export_link(box=ports.box, scope=scope, project_id=of, at=at)
        return ExportLink(url=f"{ports.public_url}/export/{link.token}", expires_at=link.expires_at)


def export_routes(ports: Ports) -> list[BaseRoute]:
    """Where the addresses lead."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def take(request: Request) -> Response:
        """The file behind an address; 404 for any other."""
        path, name = await run_in_threadpool(_new_file), ""
        address = request.client.host if request.client else ""
        asked = {"box": ports.box, "token": request.path_params["token"], "address": address}
        try:
            async with turns:
                name = await export_meters(**asked, path=path, at=ports.clock.now())
        except NotFound as error:
            return PlainTextResponse(error.message, 404)
        finally:
            if not name:
                path.unlink(missing_ok=True)
        kept = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        gone = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type=_XLSX, filename=name, headers=kept, background=gone)

    return [Route("/export/{token}", take)]


def _new_file() -> Path:
    with tempfile.NamedTemporaryFile(prefix="shuidian-", suffix=".xlsx", delete=False) as made:
        return Path(made.name)
