"""The product's processes as chaos holds them: started from the nursery, killed with -9, started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.kernel.errors import Unavailable
from backend.sandbox.embedded.child import leashed


@dataclass(frozen=True, slots=True)
class Program:
    """What runs under a name: `run` is `module:function`, with its arguments and environment."""

    run: str
    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)


class Children:
    """Named processes. One that ended by itself is started again by `tend`, as a supervisor does."""

    def __init__(self, logs: Path, *, preload: Sequence[str] = ()) -> None:
        """`preload`: modules that the nursery imports beside the product's (tests break things there)."""
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._preload = tuple(preload)
        self._nursery: subprocess.Popen[str] | None = None
        self._asking = asyncio.Lock()
        self._programs: dict[str, Program] = {}
        self._pids: dict[str, int] = {}
        self.ended_alone = 0

    async def open(self) -> None:
        """Start the nursery; it is ready when this returns. Raises Unavailable."""
        self._nursery = self._launch()
        await self._ask(None)

    def _launch(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "backend.chaos.nursery", *self._preload]
        with (self._logs / "nursery.log").open("ab") as log:
            return subprocess.Popen(
                leashed(command, death_signal=signal.SIGKILL, user=None),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    async def start(self, name: str, program: Program) -> None:
        """Run a program under `name`."""
        self._programs[name] = program
        await self.restart(name)

    async def restart(self, name: str) -> None:
        """Run the program of `name` again; whatever ran under it must have ended."""
        program = self._programs[name]
        told = await self._ask(
            {
                "log": str(self._logs / f"{name}.log"),
                "env": dict(program.env),
                "run": program.run,
                "argv": list(program.argv),
            }
        )
        self._pids[name] = told["pid"]

    async def kill(self, name: str) -> None:
        """SIGKILL; returns when it is gone."""
        pid = self._pids.pop(name, None)
        if pid is not None and _signal(pid, signal.SIGKILL):
            await asyncio.to_thread(_wait_gone, pid)

    async def tend(self) -> None:
        """Start again what ended by itself, and count it."""
        for name, pid in list(self._pids.items()):
            if not _signal(pid, 0) and self._pids.get(name) == pid:
                self.ended_alone += 1
                await self.restart(name)

    async def close(self) -> None:
        """End all of them and the nursery."""
        for name in list(self._pids):
            await self.kill(name)
        if self._nursery is not None:
            self._nursery.kill()
            await asyncio.to_thread(self._nursery.wait)

    async def _ask(self, order: dict[str, Any] | None) -> dict[str, Any]:
        async with self._asking:
            line = await asyncio.to_thread(self._exchange, order)
        if not line:
            raise Unavailable(f"the nursery ended; see {self._logs / 'nursery.log'}")
        told: dict[str, Any] = json.loads(line)
        return told

    def _exchange(self, order: dict[str, Any] | None) -> str:
        nursery = self._nursery
        assert nursery is not None, "opened first"
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        if order is not None:
            nursery.stdin.write(json.dumps(order) + "\n")
            nursery.stdin.flush()
        return nursery.stdout.readline()


def _wait_gone(pid: int) -> None:
    """The nursery is its parent, so it cannot be waited for: look until it is gone."""
    while _signal(pid, 0):
        time.sleep(0.002)


def _signal(pid: int, number: int) -> bool:
    """Send a signal (0: none); False when that process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
