"""The channel and the message providers of a chaos run, as a process: never killed, they are not ours."""

from __future__ import annotations

import argparse

import uvicorn

from backend.kernel import logs
from backend.kernel.clock import SystemClock
from backend.sandbox.app import sandbox_app


def main() -> None:
    """Read the arguments and serve on loopback."""
    arguments = argparse.ArgumentParser(prog="backend.chaos.stand_ins", description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--store", required=True, help="the channel's book, a SQLite file")
    given = arguments.parse_args()
    logs.configure("WARNING")
    url = f"http://127.0.0.1:{given.port}"
    app = sandbox_app(clock=SystemClock(), pay_store=given.store, public_url=url)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_config=None, access_log=False)
