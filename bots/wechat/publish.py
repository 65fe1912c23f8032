"""Put the menu with 自助购电 on a group's official account (A19)."""

from __future__ import annotations

from urllib.parse import urlsplit

from backend.audit.operations import record
from backend.journeys.ports import Ports
from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.scope import Actor
from backend.tenancy import queries as tenancy
from bots.wechat.menu import build_menu

_PLATFORM = Actor("system", "cli", "shuidian publish-menu")


async def publish_menu(ports: Ports, *, group_code: str) -> str:
    """Publish the menu; returns the address of its first button.

    Raises NotFound (no such group, or no official account is set), Unavailable, Undeliverable.
    """
    group_id = await tenancy.group_of_code(group_code)
    if group_id is None:
        raise NotFound("no such group")
    async with unit_of_work(group_id) as work:
        credential = await tenancy.credential(
            work, box=ports.box, kind="WECHAT_OFFICIAL", project_id=None
        )
    url = f"{ports.public_url}/buy/{group_code}"
    plain = urlsplit(url).scheme == "http"  # settings refuse it in production
    await ports.menu_publisher(credential).publish_menu(
        build_menu(top_up_url=url, allow_http=plain)
    )
    async with unit_of_work(group_id) as work:
        await record(
            work,
            actor=_PLATFORM,
            action="menu:self:publish",
            subject=credential.key,
            at=ports.clock.now(),
            after={"url": url},
        )
    return url
