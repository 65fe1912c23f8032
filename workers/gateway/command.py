"""`shuidian gateway ...`: the words of the box on site. Each imports what it needs when it runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .site import Site

_LEAST_MB = 16


def add_words(parser: argparse.ArgumentParser) -> None:
    """Put the words of `gateway` on `parser`; `options.run(options)` gives the exit code."""
    words = parser.add_subparsers(required=True, metavar="WORD")
    enrol = words.add_parser("enrol", help="make this box known to the cloud by a code, once")
    enrol.add_argument("--cloud", required=True, help="mqtts://user:password@host:port")
    enrol.add_argument("--code", required=True, help="the claim code that the console showed")
    enrol.add_argument("--serial", required=True, help="the serial of the gateway in the console")
    enrol.add_argument("--again", action="store_true", help="in place of the keys that are there")
    _data(enrol)
    enrol.set_defaults(run=_enrol)

    run = words.add_parser("run", help="poll the meters and keep the line to the cloud")
    run.add_argument("--site", type=Path, required=True, help="the site file, TOML")
    run.add_argument(
        "--store-mb", type=_megabytes, default=256, help="most megabytes for the store (256)"
    )
    _data(run)
    run.set_defaults(run=_run)

    status = words.add_parser("status", help="print the agent's state as JSON")
    _data(status)
    status.set_defaults(run=_status)

    check = words.add_parser("check", help="name what is wrong with a site file, key by key")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=_check)

    trial = words.add_parser("try", help="read every meter of a site file once, without the cloud")
    trial.add_argument("file", type=Path, metavar="FILE")
    trial.set_defaults(run=_try)


def _megabytes(text: str) -> int:
    megabytes = int(text)
    if megabytes < _LEAST_MB:
        raise argparse.ArgumentTypeError(f"{_LEAST_MB} megabytes at least")
    return megabytes


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of keys and readings")


def _enrol(options: argparse.Namespace) -> int:
    from .enrolment import enrol

    identity = asyncio.run(
        enrol(
            cloud=options.cloud,
            code=options.code,
            serial=options.serial,
            data=options.data,
            again=options.again,
        )
    )
    keys = identity.keys
    sys.stdout.write(f"enrolled: gateway {keys.gateway.hex()}, key version {keys.version}\n")
    return 0


def _run(options: argparse.Namespace) -> int:
    from backend.kernel import logs

    from .identity import IdentityFile
    from .lock import alone_in

    logs.configure(os.environ.get("SHUIDIAN_LOG_LEVEL", "INFO"))
    site = _site(options.site)
    IdentityFile(options.data).load()  # says it plainly when this box is not enrolled
    with alone_in(options.data):
        asyncio.run(_serve(options, site))
    return 0


def _site(path: Path) -> Site:
    """The site of a file, with the models beside it. Raises SiteError, ProfileError."""
    from .site import SiteError, load_site

    _know_own_profiles(path)
    try:
        return load_site(path)
    except OSError as failure:
        raise SiteError(f"{path} cannot be read: {failure.strerror}") from failure


async def _serve(options: argparse.Namespace, site: Site) -> None:
    """The agent until SIGINT or SIGTERM."""
    from backend.kernel.clock import SystemClock
    from workers.links.mqtt import Broker, MqttLine

    from .agent import Agent
    from .identity import IdentityFile
    from .pace import MachineTime

    identity = IdentityFile(options.data).load()
    broker = Broker.of(identity.broker)
    agent = Agent(
        data=options.data,
        site=site,
        connect=lambda: MqttLine(broker, wire_id=identity.keys.gateway),
        pace=MachineTime(SystemClock()),
        store_mb=options.store_mb,
    )
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await agent.run()


def _know_own_profiles(site: Path) -> None:
    """Models of this site's own stand in a folder beside its file. Raises ProfileError."""
    from workers.profiles.loader import BESIDE_A_SITE, use_own_profiles

    folder = site.parent / BESIDE_A_SITE
    if folder.is_dir():
        use_own_profiles(folder)


def _status(options: argparse.Namespace) -> int:
    from .status import read_status

    sys.stdout.write(json.dumps(read_status(options.data), ensure_ascii=False, indent=2) + "\n")
    return 0


def _check(options: argparse.Namespace) -> int:
    """0 when the file is right, 1 when it is not; a line a fault."""
    from workers.profiles.loader import ProfileError

    from .site import check_site

    try:
        _know_own_profiles(options.file)
        faults = check_site(options.file)
    except ProfileError as error:
        faults = [error.message]
    except OSError as error:
        faults = [f"cannot be read: {error.strerror}"]
    for line in faults or ["ok"]:
        sys.stdout.write(f"{options.file}: {line}\n")
    return 1 if faults else 0


def _try(options: argparse.Namespace) -> int:
    """0 when every meter was read, 1 when one was not; a line a meter."""
    return asyncio.run(_tried(_site(options.file)))


async def _tried(site: Site) -> int:
    from backend.kernel.clock import SystemClock

    from .trial import try_meters

    failed = 0
    async for is_well, line in try_meters(site, clock=SystemClock()):
        failed |= not is_well
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return failed
