"""The console's files are served under one strict policy, and nothing but them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from schema.console_page import console_routes

PAGES = Path(__file__).parents[3] / "web" / "console"


async def answer(path: str) -> httpx.Response:
    """What the server says to a browser."""
    transport = httpx.ASGITransport(Starlette(routes=console_routes(PAGES)))
    async with httpx.AsyncClient(transport=transport, base_url="http://desk") as browser:
        return await browser.get(path)


@pytest.mark.parametrize("path", ["/", "/main.js", "/console.css", "/documents/meters.graphql"])
async def test_every_file_forbids_foreign_and_inline_code_frames_and_html_made_of_texts(
    path: str,
) -> None:
    told = await answer(f"/console{path}")
    assert told.status_code == 200
    rules = dict(
        rule.strip().split(" ", 1) for rule in told.headers["content-security-policy"].split(";")
    )
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["trusted-types"] == "'none'"
    assert told.headers["x-content-type-options"] == "nosniff"
    assert told.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/documents/../payLink.graphql",
        "/documents/%2e%2e/payLink.graphql",
        "/../h5/pay.html",
        "/%2e%2e/h5/pay.js",
    ],
)
async def test_no_path_leads_out_of_the_folder(path: str) -> None:
    assert (await answer(f"/console{path}")).status_code == 404


async def test_without_its_folder_the_server_has_no_console(tmp_path: Path) -> None:
    assert console_routes(tmp_path / "none") == []
