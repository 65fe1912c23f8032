"""The console's page (web/console) and the documents that it asks with, under one strict policy."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

DOCUMENTS = Path(__file__).with_name("operations") / "console"
# Nothing inline, nothing foreign, in nobody's frame; and no text is ever taken for HTML or code (Trusted
# Types without a policy), so that an account's name can be anything.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class _Files(StaticFiles):
    """Files of one folder; a browser asks each time whether they are still the same."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file with our headers."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


def console_routes(pages: Path) -> list[BaseRoute]:
    """Where the page is; none where its folder is not shipped."""
    if not pages.is_dir():
        return []
    return [
        Mount("/console/documents", _Files(directory=DOCUMENTS)),
        Mount("/console", _Files(directory=pages, html=True)),
    ]
