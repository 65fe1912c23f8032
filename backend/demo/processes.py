"""The demo's child processes: started with a log file each, ended with us, watched for an early end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.kernel.errors import Unavailable
from backend.sandbox.embedded.child import leashed

_STOP_WAIT_S = 15
_STEP_S = 0.1


class ChildEnded(Unavailable):
    """A process of the demo ended by itself; the message holds the end of its log."""

    code = "CHILD_ENDED"


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Processes:
    """Python children of this process, each in a session of its own so that Ctrl-C reaches only us."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._children: list[_Child] = []

    def start(self, name: str, module: str, args: Sequence[str], env: Mapping[str, str]) -> None:
        """Run `python -m module args` until `stop`; it also ends when we are killed."""
        log = self._logs / f"{name}.log"
        command = [sys.executable, "-m", module, *args]
        with log.open("ab") as out:
            process = subprocess.Popen(
                leashed(command, death_signal=signal.SIGTERM, user=None),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **env},
                start_new_session=True,
            )
        self._children.append(_Child(name, process, log))

    def require_all(self) -> None:
        """Raise ChildEnded when one of them has ended."""
        for child in self._children:
            if child.process.poll() is not None:
                tail = child.log.read_text(encoding="utf-8", errors="replace")[-1500:]
                raise ChildEnded(f"the {child.name} process ended; its log says:\n{tail}")

    async def until_ready(self, url: str, *, within_s: float = 60) -> None:
        """Wait until `url` answers 200. Raises ChildEnded, or Unavailable when time is up."""
        async with httpx.AsyncClient(timeout=5) as client:
            for _ in range(int(within_s / _STEP_S)):
                self.require_all()
                try:
                    if (await client.get(url)).status_code == 200:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                await asyncio.sleep(_STEP_S)
        raise Unavailable(f"{url} did not answer within {within_s:.0f} s")

    async def until_one_ends(self) -> None:
        """Wait for ever, or raise ChildEnded."""
        while True:
            self.require_all()
            await asyncio.sleep(1)

    def stop(self) -> None:
        """End all of them, the last started first."""
        for child in reversed(self._children):
            child.process.terminate()
        for child in reversed(self._children):
            try:
                child.process.wait(_STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        self._children.clear()
