"""The stand-ins' process: WeChat, WeChat Pay, SMS and the stage, on one loopback port."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from backend.kernel import logs
from backend.kernel.clock import SystemClock
from backend.sandbox.app import sandbox_app
from backend.sandbox.stage import stage_app
from backend.sandbox.stage_view import Tenant

from .plan import GROUPS


def main() -> None:
    """Read the arguments and serve."""
    arguments = argparse.ArgumentParser(prog="backend.demo.stand_ins", description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--site", required=True, help="address of the site's control page")
    given = arguments.parse_args()
    logs.configure("INFO")
    app = _app(f"http://127.0.0.1:{given.port}", given.site, given.data)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_config=None, access_log=False)


def _app(url: str, site_url: str, data: Path) -> Starlette:
    clock = SystemClock()
    tenants = [
        Tenant(
            group=group.code,
            app_id=group.app_id,
            openid=home.openid,
            phone=home.phone,
            account_no=home.no,
            label=f"{site.name} {home.name}",
        )
        for group in GROUPS
        for site in group.sites
        for home in site.homes
    ]
    providers = sandbox_app(clock=clock, pay_store=str(data / "wechat-pay.sqlite"), public_url=url)
    stage = stage_app(sandbox_url=url, site_control_urls=[site_url], tenants=tenants, clock=clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with (
            providers.router.lifespan_context(providers),
            stage.router.lifespan_context(stage),
        ):
            yield

    return Starlette(routes=[Mount("/stage", stage), Mount("/", providers)], lifespan=lifespan)


if __name__ == "__main__":
    main()
