"""`shuidian demo`: embedded servers, stand-ins, a simulated site, API and worker, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.bootstrap import build_ports
from backend.journeys.ports import Ports
from backend.kernel import logs
from backend.kernel.clock import SystemClock
from backend.kernel.db import Database
from backend.kernel.errors import InvalidInput
from backend.kernel.migrate import migrate
from backend.kernel.settings import read_settings
from backend.sandbox.embedded.broker import CLOUD, GATEWAY
from backend.sandbox.embedded.child import is_free
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.provision import renew_preset_roles
from workers.gateway.identity import IdentityFile
from workers.models import meter_models

from .field import FIELD, WATER, FieldSeeder, agent_site, enrol_box, site_gateways
from .lived import live_before
from .plan import GROUPS, DemoGroup
from .ports_file import remembered_ports
from .processes import Processes
from .providers import register
from .secrets_file import DemoSecrets, load_or_make
from .seed import Seeder


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where PostgreSQL (owner and application role), Redis and the broker are; the broker for the
    cloud and for gateways. No broker: the demo has no box of our own."""

    owner_dsn: str
    app_dsn: str
    redis_url: str
    cloud_mqtt: str = ""
    gateway_mqtt: str = ""


async def run_demo(*, port: int, data: Path, as_json: bool) -> int:
    """Run until SIGINT or SIGTERM; data stays in `data` (an existing folder). Returns the exit code."""
    logs.configure("WARNING")
    if not is_free(port):
        raise InvalidInput(f"port {port} is in use; choose another: --port N, or make demo PORT=N")
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    async with _servers(data) as addresses:
        processes = Processes(data / "logs")
        try:
            world = await _start(processes, addresses, data, port)
            _print(world, as_json=as_json)
            watch = asyncio.create_task(processes.until_one_ends())
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait([watch, waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in (watch, waiting):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        finally:
            await asyncio.to_thread(processes.stop)
    return 0


@asynccontextmanager
async def _servers(data: Path) -> AsyncIterator[Addresses]:
    """The configured servers, else the embedded ones (docs/adr/0006)."""
    owner = os.environ.get("SHUIDIAN_OWNER_DATABASE_URL")
    app = os.environ.get("SHUIDIAN_DATABASE_URL")
    redis_url = os.environ.get("SHUIDIAN_REDIS_URL")
    if owner and app and redis_url:
        yield Addresses(owner, app, redis_url)
        return
    services = EmbeddedServices(data)
    await asyncio.to_thread(services.start)
    try:
        await services.prepare_database()
        yield Addresses(
            services.owner_dsn(),
            services.app_dsn(),
            services.valkey.url,
            services.broker.url(CLOUD),
            services.broker.url(GATEWAY),
        )
    finally:
        await asyncio.to_thread(services.stop)


async def _start(
    processes: Processes, addresses: Addresses, data: Path, port: int
) -> dict[str, Any]:
    clock = SystemClock()
    gateways = [site.gateway for group in GROUPS for site in group.sites]
    further = [gateway.serial for gateway in FIELD]
    names = ["sandbox", "site", *gateways, "door", "dtu", *further]
    ports = remembered_ports(data / "demo-ports.json", names)
    secrets = load_or_make(data / "demo-secrets.json", GROUPS)
    public_url = f"http://127.0.0.1:{port}"
    sandbox_url = f"http://127.0.0.1:{ports['sandbox']}"
    site_url = f"http://127.0.0.1:{ports['site']}"
    site = site_plan(GROUPS, ports)
    site["gateways"] += site_gateways(ports, dtu=f"127.0.0.1:{ports['dtu']}")
    (data / "site.json").write_text(json.dumps(site), encoding="utf-8")
    processes.start(
        "site",
        "workers.virtual",
        [
            *("--site", str(data / "site.json"), "--data", str(data / "meters")),
            *("--control-port", str(ports["site"])),
        ],
        {},
    )
    processes.start(
        "stand-ins",
        "backend.demo.stand_ins",
        ["--port", str(ports["sandbox"]), "--data", str(data), "--site", site_url],
        {},
    )
    await migrate(addresses.owner_dsn, at=clock.now())
    await renew_preset_roles(addresses.owner_dsn)
    env = _environment(addresses, secrets, public_url, sandbox_url, ports)
    processes.start("links", "backend.cli", ["links"], env)
    processes.start("api", "backend.cli", ["serve", "--port", str(port)], env)
    await processes.until_ready(f"{sandbox_url}/stage/")
    await processes.until_ready(f"{site_url}/gateways")
    platform_keys = await register(
        groups=GROUPS, sandbox_url=sandbox_url, public_url=public_url, secrets=secrets
    )
    await Database.open(addresses.app_dsn, pool_max=4)
    try:
        seeder = Seeder(
            groups=GROUPS,
            owner_dsn=addresses.owner_dsn,
            ports=build_ports(read_settings(env), clock=clock, meter_models=meter_models()),
            secrets=secrets,
            gateways={name: f"127.0.0.1:{ports[name]}" for name in gateways},
            platform_keys=platform_keys,
        )
        await seeder.seed()
        await live_before(GROUPS, at=clock.now())
        await _field(processes, addresses, data, ports, seeder.ports)
    finally:
        await Database.close()
    processes.start("worker", "backend.cli", ["worker"], env)
    await processes.until_ready(f"{public_url}/health")
    return _world(public_url, sandbox_url, site_url, secrets)


async def _field(
    processes: Processes,
    addresses: Addresses,
    data: Path,
    ports: Mapping[str, int],
    adapters: Ports,
) -> None:
    """The further gateways, and the box on site as an installer would set it up."""
    seeder = FieldSeeder(adapters, ports)
    await seeder.seed(FIELD if addresses.gateway_mqtt else (WATER,))
    if not addresses.gateway_mqtt:
        return
    home, site = data / "box", data / "box-site.toml"
    site.write_text(agent_site(ports), encoding="utf-8")
    if not IdentityFile(home).exists:
        code = await seeder.claim()
        await enrol_box(cloud=addresses.gateway_mqtt, code=code, data=home)
    processes.start(
        "box", "backend.cli", ["gateway", "run", "--data", str(home), "--site", str(site)], {}
    )


def _environment(
    addresses: Addresses,
    secrets: DemoSecrets,
    public_url: str,
    sandbox_url: str,
    ports: Mapping[str, int],
) -> dict[str, str]:
    return {
        "SHUIDIAN_ENV": "demo",
        "SHUIDIAN_DATABASE_URL": addresses.app_dsn,
        "SHUIDIAN_REDIS_URL": addresses.redis_url,
        "SHUIDIAN_PUBLIC_URL": public_url,
        "SHUIDIAN_SECRET_KEYS": secrets.key_encryption_key,
        "SHUIDIAN_WECHAT_PAY_URL": f"{sandbox_url}/wechat-pay",
        "SHUIDIAN_ALIPAY_URL": f"{sandbox_url}/alipay",
        "SHUIDIAN_UNIONPAY_URL": f"{sandbox_url}/unionpay",
        "SHUIDIAN_UNIONPAY_FILES_URL": f"{sandbox_url}/unionpay/filedownload",
        "SHUIDIAN_CHINAPAY_URL": f"{sandbox_url}/chinapay",
        "SHUIDIAN_WECHAT_URL": f"{sandbox_url}/wechat",
        "SHUIDIAN_SMS_URL": f"{sandbox_url}/sms",
        "SHUIDIAN_LOG_LEVEL": "INFO",
        "SHUIDIAN_LINKS_DOOR": f"127.0.0.1:{ports['door']}",
        "SHUIDIAN_LINKS_TOKEN": secrets.links_token,
        "SHUIDIAN_DTU_LISTEN": f"127.0.0.1:{ports['dtu']}",
        "SHUIDIAN_MQTT_URL": addresses.cloud_mqtt,
    }


def site_plan(groups: Sequence[DemoGroup], ports: Mapping[str, int]) -> dict[str, Any]:
    """The virtual site of a plan: what hangs on its walls, gateways on the given ports."""
    gateways = [
        {
            "serial": site.gateway,
            "port": ports[site.gateway],
            "meters": [
                {
                    "serial": home.meter,
                    "unit": unit,
                    "average_w": home.average_w,
                    "remaining": home.remaining,
                    "energy": home.energy,
                }
                for unit, home in enumerate(site.homes, start=1)
            ],
        }
        for group in groups
        for site in group.sites
    ]
    return {"gateways": gateways}


def _world(public: str, sandbox: str, site: str, secrets: DemoSecrets) -> dict[str, Any]:
    hq = GROUPS[0]
    return {
        "graphql": f"{public}/graphql",
        "health": f"{public}/health",
        "console": f"{public}/console/",
        "h5": f"{public}/p/",
        "wechat_callback": f"{public}/callbacks/wechat/{hq.code}/{hq.app_id}",
        "stage": f"{sandbox}/stage/",
        "sandbox": sandbox,
        "site": site,
        "operators": [
            {"group": login.partition("@")[2], "login": login, "password": password}
            for login, password in secrets.passwords.items()
        ],
        "pid": os.getpid(),
    }


def _print(world: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(world, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    admin = world["operators"][0]
    lines = [
        "",
        "Shuidian 水电 is running. Ctrl-C stops it and keeps the data; `make demo-reset` clears it.",
        "",
        f"  stage    {world['stage']}   (a tenant's phone, SMS, and the meters on the wall)",
        f"  console  {world['console']}   (log in as {admin['login']} / {admin['password']})",
        f"  GraphQL  {world['graphql']}",
        f"  health   {world['health']}",
        "",
        "Try this:",
        "  1. On the stage send 绑定 100001 as the first tenant, then the code from the SMS box, 余额.",
        "  2. Send 充值 50, open the link and pay: the meter on the wall rises by 50.00.",
        "  3. See the same in the console: sign in, choose 城东商铺, open the meter of 奶茶店.",
        "",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
