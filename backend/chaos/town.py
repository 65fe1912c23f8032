"""The real system on a virtual site, on throw-away data, with handles to break it by."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx

from backend.bootstrap import build_ports
from backend.demo.providers import register
from backend.demo.run import site_plan
from backend.demo.secrets_file import load_or_make
from backend.demo.seed import Seeder
from backend.journeys.ports import Ports
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database, unit_of_work
from backend.kernel.errors import Unavailable
from backend.kernel.migrate import migrate
from backend.kernel.settings import read_settings
from backend.sandbox.answers import NO_ANSWER
from backend.sandbox.embedded.child import free_port
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.queries import group_of_code
from workers.models import meter_models

from .children import Children, Program
from .plan import ALONE_FEN, GROUPS, TENANTS, Tenant

T = TypeVar("T")
_STEP_S = 0.1
_READY_S = 60.0
_BINDING = 6
WORKERS = ("worker-1", "worker-2")


@dataclass(slots=True)
class Town:
    """What runs, and where. `env` is the environment of the product's processes, `links` are the tenants'
    pay links, by account number."""

    data: Path
    api: str
    sandbox: str
    site: str
    services: EmbeddedServices
    children: Children
    ports: Ports
    http: httpx.AsyncClient
    env: Mapping[str, str]
    group_ids: Mapping[str, int]
    passwords: Mapping[str, str]
    links: dict[str, str] = field(default_factory=dict)

    @property
    def meter_store(self) -> Path:
        """The meters' own memory: their wallets, kept by themselves."""
        return self.data / "meters" / "meters.sqlite3"

    async def tell(self, url: str, body: Mapping[str, object]) -> dict[str, Any]:
        """POST to a control endpoint of a stand-in or of the site. Raises httpx.HTTPError."""
        answer = await self.http.post(url, json=dict(body))
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told

    async def orders(self) -> list[dict[str, Any]]:
        """The channel's own book."""
        answer = await self.http.get(f"{self.sandbox}/wechat-pay/control/orders", timeout=60)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["orders"]
        return found

    async def graphql(
        self, query: str, variables: Mapping[str, object], *, token: str = ""
    ) -> dict[str, Any] | None:
        """The data of one operation, of whom `token` signs in; None when the system cannot answer it now."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            body = {"query": query, "variables": dict(variables)}
            answer = await self.http.post(f"{self.api}/graphql", json=body, headers=headers)
            told = answer.json()
        except (*NO_ANSWER, ValueError):
            return None
        if answer.status_code != 200 or told.get("errors"):
            return None
        data: dict[str, Any] = told["data"]
        return data

    async def crash_postgres(self) -> None:
        """Immediate stop, as a crash; it recovers from its log at the start."""
        await asyncio.to_thread(self.services.postgres.kill)
        await asyncio.to_thread(self.services.postgres.restart)

    async def restart_redis(self) -> None:
        """Kill and start again: at most its last second is lost."""
        await asyncio.to_thread(self.services.valkey.kill)
        await asyncio.to_thread(self.services.valkey.restart)


@asynccontextmanager
async def running_town(data: Path, *, preload: Sequence[str] = ()) -> AsyncIterator[Town]:
    """Start it on the empty folder `data`, every tenant bound and with a pay link; stop it all at the
    end. `preload`: modules that every process of the product imports first (see Children)."""
    services = EmbeddedServices(data)
    await asyncio.to_thread(services.start)
    children = Children(data / "logs", preload=preload)
    try:
        opening = asyncio.create_task(children.open())
        await services.prepare_database()
        await migrate(services.owner_dsn(), at=SystemClock().now())
        await opening
        await Database.open(services.app_dsn(), pool_max=4)
        async with httpx.AsyncClient(timeout=15, trust_env=False) as http:
            town = await _start(data, services, children, http)
            await _bind_all(town)
            yield town
    finally:
        await Database.close()
        await children.close()
        await asyncio.to_thread(services.stop)


async def _start(
    data: Path, services: EmbeddedServices, children: Children, http: httpx.AsyncClient
) -> Town:
    gateways = {site.gateway: free_port() for group in GROUPS for site in group.sites}
    api, sandbox, site = free_port(), free_port(), free_port()
    api_url, sandbox_url = f"http://127.0.0.1:{api}", f"http://127.0.0.1:{sandbox}"
    secrets = load_or_make(data / "secrets.json", GROUPS)
    env = {
        "SHUIDIAN_ENV": "demo",
        "SHUIDIAN_DATABASE_URL": services.app_dsn(),
        "SHUIDIAN_REDIS_URL": services.valkey.url,
        "SHUIDIAN_PUBLIC_URL": api_url,
        "SHUIDIAN_SECRET_KEYS": secrets.key_encryption_key,
        "SHUIDIAN_WECHAT_PAY_URL": f"{sandbox_url}/wechat-pay",
        "SHUIDIAN_ALIPAY_URL": f"{sandbox_url}/alipay",
        "SHUIDIAN_UNIONPAY_URL": f"{sandbox_url}/unionpay",
        "SHUIDIAN_UNIONPAY_FILES_URL": f"{sandbox_url}/unionpay/filedownload",
        "SHUIDIAN_WECHAT_URL": f"{sandbox_url}/wechat",
        "SHUIDIAN_SMS_URL": f"{sandbox_url}/sms",
        "SHUIDIAN_LOG_LEVEL": "WARNING",
        # A connection that is new has everything to learn, and these hardly live longer than that.
        "SHUIDIAN_POOL_MAX": "6",
    }
    (data / "site.json").write_text(json.dumps(site_plan(GROUPS, gateways)), encoding="utf-8")
    store = ["--port", str(sandbox), "--store", str(data / "wechat-pay.sqlite")]
    await children.start("stand-ins", Program("backend.chaos.stand_ins:main", store))
    wall = ["--site", str(data / "site.json"), "--data", str(data / "meters")]
    wall += ["--control-port", str(site)]
    await children.start("site", Program("workers.virtual.__main__:main", wall))
    serve = Program("backend.cli:main", ["serve", "--port", str(api)], env)
    await children.start("api", serve)
    town = Town(
        data=data,
        api=api_url,
        sandbox=sandbox_url,
        site=f"http://127.0.0.1:{site}",
        services=services,
        children=children,
        ports=build_ports(read_settings(env), clock=SystemClock(), meter_models=meter_models()),
        http=http,
        env=env,
        group_ids={},
        passwords=secrets.passwords,
    )
    for url in (f"{sandbox_url}/wechat-pay/control/orders", f"{town.site}/gateways"):
        await until(partial(_answers, town, url), url)
    keys = await register(
        groups=GROUPS, sandbox_url=sandbox_url, public_url=api_url, secrets=secrets
    )
    await Seeder(
        groups=GROUPS,
        owner_dsn=services.owner_dsn(),
        ports=town.ports,
        secrets=secrets,
        gateways={name: f"127.0.0.1:{port}" for name, port in gateways.items()},
        platform_keys=keys,
    ).seed()
    for name in WORKERS:
        await children.start(name, Program("backend.cli:main", ["worker"], env))
    await until(partial(_answers, town, f"{api_url}/health"), "the API")
    for group in GROUPS:
        group_id = await group_of_code(group.code)
        assert group_id is not None, "seeded above"
        town.group_ids = {**town.group_ids, group.code: group_id}
        async with unit_of_work(group_id) as work:
            await work.execute("UPDATE tenancy_project SET refund_alone_fen = $1", ALONE_FEN)
    return town


async def _answers(town: Town, url: str) -> bool | None:
    try:
        return (await town.http.get(url)).status_code == 200 or None
    except NO_ANSWER:
        return None


async def _bind_all(town: Town) -> None:
    """Every tenant binds by 户号 and code in WeChat and asks for a pay link."""
    few = asyncio.Semaphore(_BINDING)  # a reply that takes WeChat's five seconds is no reply

    async def bind(tenant: Tenant) -> None:
        async with few:
            await _bind(town, tenant)

    await asyncio.gather(*(bind(tenant) for tenant in TENANTS))


async def _bind(town: Town, tenant: Tenant) -> None:
    async def say(text: str) -> str:
        said = {"appid": tenant.group.app_id, "openid": tenant.home.openid, "text": text}
        answer = await town.tell(f"{town.sandbox}/wechat/control/say", said)
        return str(answer["reply"] or "")

    async def code() -> str | None:
        url = f"{town.sandbox}/sms/control/inbox"
        answer = await town.http.get(url, params={"phone": tenant.home.phone})
        # Who has nothing in the cloud is warned as well, by the same telephone.
        codes = [each["params"].get("code") for each in answer.json()["messages"]]
        return next((str(each) for each in reversed(codes) if each), None)

    await say(f"绑定 {tenant.home.no}")
    await say(await until(code, f"the binding code of {tenant.home.no}"))

    async def link() -> str | None:
        found = re.search(r"/p/(\S+)", await say("充值 50"))
        return found.group(1) if found else None

    town.links[tenant.home.no] = await until(link, f"the pay link of {tenant.home.no}")


async def until(
    ask: Callable[[], Awaitable[T | None]],
    what: str,
    *,
    within_s: float = _READY_S,
    every_s: float = _STEP_S,
) -> T:
    """Ask until there is an answer. Raises Unavailable when time is up."""
    for _ in range(int(within_s / every_s)):
        found = await ask()
        if found is not None:
            return found
        await asyncio.sleep(every_s)
    raise Unavailable(f"{what} did not come within {within_s:.0f} s")
