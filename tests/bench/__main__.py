"""`python -m tests.bench field|money|control [--quick]`: benchmarks, one JSON object on standard output.

--quick shrinks every size to see that all of it runs; its ratios say little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from backend.kernel.clock import SystemClock
from backend.kernel.migrate import migrate
from backend.sandbox.embedded.services import EmbeddedServices

from . import (
    charging,
    control_batch,
    forecasts,
    growth,
    lanes,
    paid,
    persist,
    restored,
    settling,
    whole_sweep,
)
from . import control as control_latency


def field(*, quick: bool) -> dict[str, Any]:
    """G1, G2, G3, G4 and G9 in turn, on servers of their own. Raises NoCompiler."""
    folder = Path(tempfile.mkdtemp(prefix="shuidian-bench-"))
    folder.chmod(0o755)  # as root the servers run as another user, who must get in
    figures: dict[str, Any] = {}
    try:
        figures |= lanes.run(folder, exchanges=5_000 if quick else 50_000, rounds=1 if quick else 5)
        with EmbeddedServices(folder / "servers") as services:
            asyncio.run(_prepare(services))
            figures |= whole_sweep.run(
                folder, services, meters=5_000 if quick else 100_000, rounds=1 if quick else 3
            )
            figures |= asyncio.run(persist.run(services, rows=5_000 if quick else 100_000))
            sizes = (1_000, 5_000) if quick else (10_000, 100_000, 1_000_000)
            figures |= asyncio.run(growth.run(services, sizes=sizes))
            figures |= whole_sweep.once(folder, services, meters=2_000 if quick else 1_000_000)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def money(*, quick: bool) -> dict[str, Any]:
    """G5, charges a second, forecasts and paid to verified in turn, on servers of their own."""
    folder = Path(tempfile.mkdtemp(prefix="shuidian-bench-"))
    folder.chmod(0o755)
    figures: dict[str, Any] = {}
    rounds = 1 if quick else 3
    try:
        with EmbeddedServices(folder / "servers") as services:
            orders, meters = (300, 2_000) if quick else (4_000, 100_000)
            figures |= uvloop.run(settling.run(services, orders=orders, rounds=rounds))
            figures |= uvloop.run(charging.run(services, meters=meters, rounds=rounds))
            figures |= uvloop.run(forecasts.run(services, accounts=500 if quick else 20_000))
            figures |= uvloop.run(paid.run(services, folder, seconds=3 if quick else 30))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def control(*, quick: bool) -> dict[str, Any]:
    """Decisions, G7 and a batch in turn, on servers of their own. Raises NoCompiler."""
    folder = Path(tempfile.mkdtemp(prefix="shuidian-bench-"))
    folder.chmod(0o755)
    figures = control_latency.decisions(count=10_000 if quick else 100_000)
    try:
        with EmbeddedServices(folder / "servers") as services:
            asyncio.run(_prepare(services))
            meters, commands = (10_000, 50) if quick else (100_000, 200)
            figures |= uvloop.run(
                control_latency.run(services, folder, meters=meters, commands=commands)
            )
            figures |= uvloop.run(
                control_batch.run(services, folder, meters=1_000 if quick else 10_000)
            )
            figures |= uvloop.run(restored.run(services, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


async def _prepare(services: EmbeddedServices) -> None:
    await services.prepare_database()
    await migrate(services.owner_dsn(), at=SystemClock().now())


def main() -> None:
    """Run the benchmark that the arguments name."""
    arguments = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    arguments.add_argument("what", choices=["field", "money", "control"])
    arguments.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    given = arguments.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16_384), most))
    try:
        figures = {"field": field, "money": money, "control": control}[given.what](
            quick=given.quick
        )
    except lanes.NoCompiler as missing:
        sys.exit(str(missing))
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
