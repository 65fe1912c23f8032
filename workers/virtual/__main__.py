"""`python -m workers.virtual --site FILE --data DIR --control-port N`.

Prints one JSON line with the ports when it is ready; ends on SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from backend.kernel.clock import SystemClock

from .runner import serve_site
from .site import load_site


def main() -> None:
    """Read the arguments and serve."""
    arguments = argparse.ArgumentParser(prog="workers.virtual", description=__doc__)
    arguments.add_argument("--site", type=Path, required=True, help="site file, TOML or JSON")
    arguments.add_argument("--data", type=Path, required=True, help="folder of the meters' memory")
    arguments.add_argument("--control-port", type=int, default=0, help="0: any free port")
    given = arguments.parse_args()
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(given.site, given.data, given.control_port))


async def _serve(site: Path, data: Path, control_port: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await serve_site(
        load_site(site),
        data_dir=data,
        clock=SystemClock(),
        control_port=control_port,
        ready=_tell,
    )


def _tell(ports: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
