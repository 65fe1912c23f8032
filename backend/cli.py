"""The `shuidian` command. Each word of it starts one thing; `shuidian WORD --help` tells its options.

Each word imports what it needs when it runs: the whole product takes seconds to import, and who wants
to read one frame or one help text should not wait for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backend.kernel.errors import DomainError
from workers import frame_command, profile_command
from workers.gateway import command as gateway_command

if TYPE_CHECKING:
    from backend.kernel.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Anticipated errors are one line on standard error."""
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
    except DomainError as error:
        print(f"shuidian: {error.message}", file=sys.stderr)
        return 2
    except ConnectionRefusedError as error:
        print(f"shuidian: nobody answers there: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _settings() -> Settings:
    from backend.kernel import logs
    from backend.kernel.settings import read_settings

    settings = read_settings(os.environ)
    logs.configure(settings.log_level)
    if settings.profiles_dir is not None:
        from workers.profiles.loader import use_own_profiles

        use_own_profiles(settings.profiles_dir)
    return settings


def _serve(options: argparse.Namespace) -> int:
    import uvicorn

    from backend.asgi import build_app
    from backend.kernel.clock import SystemClock

    app = build_app(_settings(), clock=SystemClock())
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        proxy_headers=options.behind_proxy,
        forwarded_allow_ips="*" if options.behind_proxy else None,
        ws_max_size=256 * 1024,
    )
    return 0


def _worker(options: argparse.Namespace) -> int:
    import uvloop
    from prometheus_client import start_http_server

    from backend.kernel.clock import SystemClock
    from workers.heartbeat import is_fresh
    from workers.main import run_worker

    settings = _settings()
    if options.check:
        return 0 if asyncio.run(is_fresh(settings.redis_url)) else 1
    if options.metrics_port:
        start_http_server(options.metrics_port, addr=options.metrics_host)
    uvloop.run(run_worker(settings, clock=SystemClock(), only=options.only))
    return 0


def _links(options: argparse.Namespace) -> int:
    import uvloop
    from prometheus_client import start_http_server

    from backend.kernel.clock import SystemClock
    from workers.concentrator import is_fresh
    from workers.links_process import run_links_process

    settings = _settings()
    if options.check:
        return 0 if asyncio.run(is_fresh(settings.redis_url)) else 1
    if options.metrics_port:
        start_http_server(options.metrics_port, addr=options.metrics_host)
    uvloop.run(run_links_process(settings, clock=SystemClock()))
    return 0


def _migrate(_: argparse.Namespace) -> int:
    from backend.kernel.clock import SystemClock
    from backend.kernel.migrate import migrate
    from backend.tenancy.provision import renew_preset_roles

    settings = _settings()
    if settings.owner_database_url is None:
        raise DomainError("SHUIDIAN_OWNER_DATABASE_URL is not set (see .env.example)")
    applied = asyncio.run(migrate(settings.owner_database_url, at=SystemClock().now()))
    print("\n".join(f"applied {name}" for name in applied) or "nothing to apply")
    if renewed := asyncio.run(renew_preset_roles(settings.owner_database_url)):
        print(f"renewed the rights of {renewed} preset roles")
    return 0


def _group(options: argparse.Namespace) -> int:
    from backend.journeys.sign_in import hash_password, new_password
    from backend.kernel.clock import SystemClock
    from backend.tenancy.provision import add_group

    settings = _settings()
    if settings.owner_database_url is None:
        raise DomainError("SHUIDIAN_OWNER_DATABASE_URL is not set (see .env.example)")
    password = new_password()
    asyncio.run(
        add_group(
            settings.owner_database_url,
            code=options.code,
            name=options.name,
            login=options.login,
            password_hash=hash_password(password),
            at=SystemClock().now(),
        )
    )
    print(f"log in as {options.login}@{options.code} with the password {password}")
    return 0


def _publish_menu(options: argparse.Namespace) -> int:
    from backend.bootstrap import build_ports
    from backend.kernel.clock import SystemClock
    from backend.kernel.db import Database
    from bots.wechat.publish import publish_menu
    from workers.models import meter_models

    settings = _settings()

    async def publish() -> str:
        await Database.open(settings.database_url, pool_max=2)
        try:
            ports = build_ports(settings, clock=SystemClock(), meter_models=meter_models())
            return await publish_menu(ports, group_code=options.code)
        finally:
            await Database.close()

    print(f"the menu's first button opens {asyncio.run(publish())}")
    return 0


def _statement(options: argparse.Namespace) -> int:
    from backend.kernel.secrets import SecretBox
    from backend.kernel.settings import parse_keys
    from backend.reconcile.statement_command import public_keys, verify_files
    from backend.reconcile.statement_rules import StatementKeys

    keys = public_keys(options.public_key)
    if not keys:
        secret_keys = parse_keys(os.environ.get("SHUIDIAN_SECRET_KEYS", ""))
        keys = dict(StatementKeys(SecretBox(secret_keys)).public)
    print("\n".join(verify_files(options.files, keys=keys)))
    return 0


def _audit(_: argparse.Namespace) -> int:
    from backend.audit.queries import verify
    from backend.kernel.db import Database, unit_of_work
    from backend.tenancy.queries import all_groups, group_name

    settings = _settings()

    async def verify_all() -> bool:
        whole = True
        await Database.open(settings.database_url, pool_max=1)
        try:
            for group_id in await all_groups():
                async with unit_of_work(group_id) as work:
                    code, _name = await group_name(work)
                    found = await verify(work)
                told = {"group": code, "entries": found.entries, "head": found.head.hex()}
                print(json.dumps({**told, "broken_at": found.broken_at}))
                whole = whole and found.broken_at is None
        finally:
            await Database.close()
        return whole

    return 0 if asyncio.run(verify_all()) else 1


def _schema(options: argparse.Namespace) -> int:
    from schema.schema import SDL_FILE, print_schema

    if not options.check:
        SDL_FILE.write_text(print_schema(), encoding="utf-8")
        return 0
    if SDL_FILE.read_text(encoding="utf-8") != print_schema():
        print("schema/schema.graphql has drifted; run `shuidian schema`", file=sys.stderr)
        return 1
    return 0


def _demo(options: argparse.Namespace) -> int:
    from backend.demo import run

    data: Path = options.data.absolute()
    data.mkdir(parents=True, exist_ok=True)
    return asyncio.run(run.run_demo(port=options.port, data=data, as_json=options.json))


def _demo_check(options: argparse.Namespace) -> int:
    from backend.demo import check

    return asyncio.run(check.run_check(data=options.data))


def _chaos(options: argparse.Namespace) -> int:
    import uvloop

    from backend.chaos.run import Size, chaos_command

    size = Size(options.kills, options.pg_crashes, options.payments, options.seed)
    return uvloop.run(chaos_command(size, as_json=options.json, keep=options.keep))


def _simulate(options: argparse.Namespace) -> int:
    if options.policy:
        from backend.chaos.policy_simulate import policy_command

        days = options.meter_days
        return policy_command(seed=options.seed, meter_days=days, as_json=options.json)

    from backend.chaos.simulate import simulate_command

    told = {"first": options.seed, "seeds": options.seeds, "steps": options.steps}
    return asyncio.run(simulate_command(**told, as_json=options.json))


def _add_proofs(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The words that prove by breaking: on the real system, and on a virtual clock."""
    chaos = words.add_parser(
        "chaos", help="kill everything while tenants pay, then compare four sums (throw-away data)"
    )
    chaos.add_argument("--kills", type=int, default=200)
    chaos.add_argument("--pg-crashes", type=int, default=3)
    chaos.add_argument("--payments", type=int, default=1500)
    chaos.add_argument("--seed", type=int, default=1)
    chaos.add_argument("--json", action="store_true", help="print one JSON object")
    chaos.add_argument("--keep", type=Path, default=None, help="an empty folder for data and logs")
    chaos.set_defaults(run=_chaos)

    statement = words.add_parser("statement", help="verify signed daily statements")
    statement_words = statement.add_subparsers(required=True, metavar="WORD")
    check = statement_words.add_parser(
        "verify", help="say whether files are what was signed, add up and follow each other"
    )
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="in order of their days")
    check.add_argument(
        "--public-key",
        action="append",
        default=[],
        metavar="BASE64",
        help="whose signature is believed; without it, that of SHUIDIAN_SECRET_KEYS",
    )
    check.set_defaults(run=_statement)

    audit = words.add_parser("audit", help="verify every group's audit")
    audit_words = audit.add_subparsers(required=True, metavar="WORD")
    whole = audit_words.add_parser(
        "verify",
        help="a JSON line for each group: how many entries hold, the last one's hash (keep it: what is cut"
        " off at the end is seen by it), and where the chain is broken; exit 1 when one is",
    )
    whole.set_defaults(run=_audit)

    simulate = words.add_parser(
        "simulate", help="the journeys of money on a virtual clock, dying at every commit and send"
    )
    simulate.add_argument("--seed", type=int, default=1, help="the first seed")
    simulate.add_argument("--seeds", type=int, default=1000)
    simulate.add_argument("--steps", type=int, default=200)
    simulate.add_argument(
        "--policy", action="store_true", help="of cuts and restores instead of money"
    )
    simulate.add_argument("--meter-days", type=int, default=100_000, help="with --policy: how many")
    simulate.add_argument("--json", action="store_true", help="print one JSON line")
    simulate.set_defaults(run=_simulate)


def _add_worker(words: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    worker = words.add_parser("worker", help="run the worker: outbox, vends, sweeps, messages")
    worker.add_argument(
        "--only",
        choices=["events", "sweeps"],
        help="half of the work: on more than a few thousand meters run one process for each, always both",
    )
    worker.add_argument(
        "--check", action="store_true", help="exit 0 while this host's worker lives"
    )
    worker.add_argument("--metrics-port", type=int, default=0, help="serve /metrics; 0: not at all")
    worker.add_argument("--metrics-host", default="127.0.0.1")
    worker.set_defaults(run=_worker)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shuidian", description="Prepaid electricity and water.")
    words = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = words.add_parser("serve", help="run the API: GraphQL, callbacks, pay page")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--behind-proxy", action="store_true", help="trust X-Forwarded-For")
    serve.set_defaults(run=_serve)

    _add_worker(words)

    links = words.add_parser("links", help="hold the lines that somebody dials in on")
    links.add_argument(
        "--check", action="store_true", help="exit 0 while this host's links process lives"
    )
    links.add_argument("--metrics-port", type=int, default=0, help="serve /metrics; 0: not at all")
    links.add_argument("--metrics-host", default="127.0.0.1")
    links.set_defaults(run=_links)

    step = words.add_parser("migrate", help="bring the database to the newest step (owner role)")
    step.set_defaults(run=_migrate)

    group = words.add_parser("add-group", help="create a group and its first administrator")
    group.add_argument("code", help="2 to 32 of a-z and 0-9, part of every login")
    group.add_argument("name")
    group.add_argument("--login", default="admin")
    group.set_defaults(run=_group)

    menu = words.add_parser(
        "publish-menu", help="put the menu 自助购电 on a group's official account"
    )
    menu.add_argument("code")
    menu.set_defaults(run=_publish_menu)

    schema = words.add_parser("schema", help="print the GraphQL schema to schema/schema.graphql")
    schema.add_argument("--check", action="store_true", help="exit 1 when the file has drifted")
    schema.set_defaults(run=_schema)

    demo = words.add_parser("demo", help="run everything here, with stand-ins and a simulated site")
    demo.add_argument("--port", type=int, default=8000)
    demo.add_argument("--data", type=Path, default=Path(".demo"))
    demo.add_argument("--json", action="store_true", help="print one JSON line when ready")
    demo.set_defaults(run=_demo)

    checked = words.add_parser(
        "check", aliases=["demo-check"], help="do the main job without a person, print one line"
    )
    checked.add_argument("--data", type=Path, default=None, help="default: a folder of its own")
    checked.set_defaults(run=_demo_check)

    _add_proofs(words)

    frame = words.add_parser("frame", help="say what a captured meter frame holds")
    frame_command.add_words(frame)

    profile = words.add_parser("profile", help="check the file of a meter model")
    profile_command.add_words(profile)

    gateway = words.add_parser("gateway", help="the box on site: enrol, run, status, check, try")
    gateway_command.add_words(gateway)
    return parser


if __name__ == "__main__":
    sys.exit(main())
