"""A whole small town in one event loop: two groups, real servers on sockets, stand-ins, virtual meters.

Everything between the tenant's phone and the meter's wallet is the product itself: API application and
worker run as they do in production, on PostgreSQL and Valkey, against stand-ins that check signatures.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from starlette.types import ASGIApp

from backend.asgi import build_app
from backend.bootstrap import build_ports
from backend.demo.plan import AlipayApp, DemoGroup, Home, Site
from backend.demo.providers import register
from backend.demo.run import site_plan
from backend.demo.secrets_file import DemoSecrets, load_or_make
from backend.demo.seed import Seeder
from backend.kernel.clock import SystemClock
from backend.kernel.db import unit_of_work
from backend.kernel.settings import Settings, parse_keys
from backend.sandbox.app import sandbox_app
from backend.sandbox.embedded.child import free_port, leashed
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.queries import group_of_code
from workers.models import meter_models
from workers.virtual.site import VirtualSite, parse_site

T = TypeVar("T")
WAIT_S = 30.0
_STEP_S = 0.05


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, port: int) -> AsyncIterator[str]:
    """Serve `app` on a loopback port until the block ends."""
    server = _Server(uvicorn.Config(app, log_level="warning", log_config=None))
    with socket.create_server(("127.0.0.1", port)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: _value(server.started or task.done() or None), "the server")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await task


async def _value(value: T) -> T:
    return value


async def until(ask: Callable[[], Awaitable[T | None]], what: str, within_s: float = WAIT_S) -> T:
    """Ask until there is an answer; fails the test when none comes in time."""
    turns = int(within_s / _STEP_S)
    for _ in range(turns):
        found = await ask()
        if found is not None:
            return found
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), _STEP_S)
    raise AssertionError(f"{what} did not come within {within_s} s")


def plan_of(unique: str) -> tuple[DemoGroup, DemoGroup]:
    """Two unrelated groups with one shop street each; serials and openids of this test alone."""
    number = int(unique, 16) % 10**6

    def group(code: str, digit: int) -> DemoGroup:
        homes = tuple(
            Home(
                no=f"{digit}0000{index}",
                name=f"{code} 店{index}",
                place=("一层", f"{index} 号"),
                phone=f"138{digit}{number:06d}{index}",
                meter=f"2{digit}{number:06d}{index:04d}",
                openid=f"o{code}{index}",
                remaining="20.00",
                energy="100.000",
                average_w=1,  # next to nothing: a slow run must not show 19.99
            )
            for index in (1, 2)
        )
        site = Site(
            code="street",
            name="商铺街",
            kind="SHOPS",
            gateway=f"GW-{unique}-{digit}",
            mchid=f"19{digit}{number:07d}",
            homes=homes,
            alipay=AlipayApp(f"2021{digit}{number:011d}", f"2088{digit}{number:011d}"),
        )
        return DemoGroup(f"{code}{unique}", code, f"wx{code}{unique}", (site,))

    return group("ours", 1), group("theirs", 2)


Plan = Callable[[str], tuple[DemoGroup, DemoGroup]]


@dataclass(slots=True)
class Town:
    """The running town and what a test does in it."""

    ours: DemoGroup
    theirs: DemoGroup
    api: str
    sandbox: str
    site: VirtualSite
    services: EmbeddedServices
    settings: Settings
    secrets: DemoSecrets
    client: httpx.AsyncClient
    log: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def shop(self) -> Home:
        """The shop most tests are about: our group's first."""
        return self.ours.sites[0].homes[0]

    def start_worker(self) -> None:
        """Run a worker as the product does: a process of its own; several share the work."""
        worker = subprocess.Popen(
            leashed(
                [sys.executable, "-m", "backend.cli", "worker"],
                death_signal=signal.SIGKILL,
                user=None,
            ),
            env={**os.environ, **environment(self.settings, self.secrets)},
            stderr=self.log.open("ab"),
        )
        self.workers.append(worker)

    async def stop_worker(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the workers, politely or with SIGKILL; what they had begun is for the next one."""
        for worker in self.workers:
            worker.send_signal(how)
        for worker in self.workers:
            await asyncio.to_thread(worker.wait, 20)
        self.workers.clear()

    async def group_id(self, group: DemoGroup | None = None) -> int:
        """The id of a group (ours)."""
        found = await group_of_code((group or self.ours).code)
        assert found is not None
        return found

    async def control(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Turn a stand-in's switch (POST) or look (GET when there is no body)."""
        url = self.sandbox + path
        answer = await (self.client.get(url) if body is None else self.client.post(url, json=body))
        assert answer.status_code < 400, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def say(self, text: str, home: Home | None = None, **more: Any) -> str:
        """The tenant writes in WeChat; returns the reply ('' for silence)."""
        body = {"appid": self.ours.app_id, "openid": (home or self.shop).openid, "text": text}
        answer = await self.control("/wechat/control/say", body | more)
        assert answer["status"] == 200, answer
        return str(answer["reply"] or "")

    async def sms_code(self, home: Home | None = None) -> str:
        """The newest binding code in the SMS box of the registered phone."""
        phone = (home or self.shop).phone

        async def newest() -> str | None:
            messages = (await self.control(f"/sms/control/inbox?phone={phone}"))["messages"]
            return str(messages[-1]["params"]["code"]) if messages else None

        return await until(newest, "the binding code")

    async def bind(self, home: Home | None = None) -> str:
        """Bind by 户号 and code; returns the last reply."""
        await self.say(f"绑定 {(home or self.shop).no}", home)
        return await self.say(await self.sms_code(home), home)

    async def link(self, text: str = "充值 50", home: Home | None = None) -> str:
        """Ask for a top-up; returns the token of the pay link."""
        reply = await self.say(text, home)
        found = re.search(r"/p/(\S+)", reply)
        assert found, reply
        return found.group(1)

    async def graphql(self, query: str, bearer: str = "", **variables: Any) -> dict[str, Any]:
        """One operation; fails the test on GraphQL errors."""
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        answer = await self.client.post(
            f"{self.api}/graphql", json={"query": query, "variables": variables}, headers=headers
        )
        body = answer.json()
        assert not body.get("errors"), body
        data: dict[str, Any] = body["data"]
        return data

    async def order(self, token: str, amount: str = "50.00", key: str = "flow-key-1") -> str:
        """Start a top-up on the pay page; returns the channel's order number."""
        data = await self.graphql(
            "mutation($t: String!, $a: Money!, $k: String!) {"
            " startTopUpByLink(token: $t, amount: $a, method: H5, idempotencyKey: $k) {"
            " __typename ... on TopUpStarted { topUp { orderNo } } ... on Problem { message } } }",
            t=token,
            a=amount,
            k=key,
        )
        return str(data["startTopUpByLink"]["topUp"]["orderNo"])

    async def pay(self, order_no: str, **more: Any) -> dict[str, Any]:
        """The payer confirms at the channel."""
        return await self.control("/wechat-pay/control/pay", {"out_trade_no": order_no} | more)

    async def wallet(self, home: Home | None = None) -> tuple[int, int]:
        """(remaining fen, purchase count) by the virtual meter's own memory."""
        meter, _ = self.site.meters[(home or self.shop).meter]
        state = meter.state()
        return state.remaining_fen, state.purchase_count

    async def sold_fen(self, home: Home | None = None) -> int:
        """The sum of the sales in the virtual meter's own durable record."""
        meter, _ = self.site.meters[(home or self.shop).meter]
        return sum(sale.amount_fen for sale in await meter.sales())

    async def value(self, sql: str, *args: object, group: DemoGroup | None = None) -> Any:
        """One value from the database as a group sees it."""
        async with unit_of_work(await self.group_id(group)) as work:
            return await work.fetchval(sql, *args)

    async def vend_state(self, state: str, count: int = 1, *, within_s: float = WAIT_S) -> None:
        """Wait until `count` vends of our group are in `state`."""

        async def there() -> bool | None:
            found = await self.value("SELECT count(*) FROM control_vend WHERE state = $1", state)
            return True if found >= count else None

        await until(there, f"{count} vends {state}", within_s)

    async def case(self, kind: str) -> dict[str, Any]:
        """Wait for an open exception case of a kind; returns its detail."""

        async def there() -> dict[str, Any] | None:
            detail: dict[str, Any] | None = await self.value(
                "SELECT detail FROM alerts_case WHERE kind = $1 AND resolved_at IS NULL", kind
            )
            return detail

        return await until(there, f"a case {kind}")

    async def in_book_fen(self) -> int:
        """What the book of our group says is held by meters."""
        hao = await self.value(
            "SELECT coalesce(-sum(p.amount_hao), 0)::bigint FROM ledger_posting p"
            " JOIN ledger_account a ON a.group_id = p.group_id AND a.id = p.account_id"
            " WHERE a.kind = 'METER_WALLET'"
        )
        return int(hao) // 100


@contextlib.asynccontextmanager
async def running_town(
    services: EmbeddedServices, folder: Path, unique: str, plan: Plan = plan_of
) -> AsyncIterator[Town]:
    """Start a town; the worker is started by the test (so that it can be late)."""
    groups = plan(unique)
    secrets = load_or_make(folder / "secrets.json", groups)
    sandbox_port, api_port = free_port(), free_port()
    sandbox_url, api_url = f"http://127.0.0.1:{sandbox_port}", f"http://127.0.0.1:{api_port}"
    settings = Settings(
        environment="test",
        database_url=services.app_dsn(),
        redis_url=services.valkey.url,
        public_url=api_url,
        secret_keys=parse_keys(secrets.key_encryption_key),
        provider_urls={
            "WECHAT_PAY": f"{sandbox_url}/wechat-pay",
            "ALIPAY": f"{sandbox_url}/alipay",
            "UNIONPAY": f"{sandbox_url}/unionpay",
            "UNIONPAY_FILES": f"{sandbox_url}/unionpay/filedownload",
            "CHINAPAY": f"{sandbox_url}/chinapay",
            "WECHAT": f"{sandbox_url}/wechat",
            "SMS": f"{sandbox_url}/sms",
        },
    )
    clock = SystemClock()
    ports = {site.gateway: free_port() for group in groups for site in group.sites}
    stand_ins = sandbox_app(clock=clock, public_url=sandbox_url, notice_retries_s=(0.5, 1.0))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(serving(stand_ins, sandbox_port))
        site = await stack.enter_async_context(
            VirtualSite(parse_site(site_plan(groups, ports)), data_dir=folder / "m", clock=clock)
        )
        await stack.enter_async_context(serving(build_app(settings, clock=clock), api_port))
        keys = await register(
            groups=groups, sandbox_url=sandbox_url, public_url=api_url, secrets=secrets
        )
        seeder = Seeder(
            groups=groups,
            owner_dsn=services.owner_dsn(),
            ports=build_ports(settings, clock=clock, meter_models=meter_models()),
            secrets=secrets,
            gateways={name: f"127.0.0.1:{port}" for name, port in ports.items()},
            platform_keys=keys,
        )
        await seeder.seed()
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=15))
        town = Town(
            ours=groups[0],
            theirs=groups[1],
            api=api_url,
            sandbox=sandbox_url,
            site=site,
            services=services,
            settings=settings,
            secrets=secrets,
            client=client,
            log=folder / "worker.log",
        )
        try:
            yield town
        finally:
            await town.stop_worker()


def environment(settings: Settings, secrets: DemoSecrets) -> dict[str, str]:
    """The settings as another process reads them."""
    urls = {f"SHUIDIAN_{name}_URL": url for name, url in settings.provider_urls.items()}
    return {
        "SHUIDIAN_ENV": settings.environment,
        "SHUIDIAN_DATABASE_URL": settings.database_url,
        "SHUIDIAN_REDIS_URL": settings.redis_url,
        "SHUIDIAN_PUBLIC_URL": settings.public_url,
        "SHUIDIAN_SECRET_KEYS": secrets.key_encryption_key,
        **urls,
    }
