"""A server process as a direct child, its lock, its port, and bounded waits without a clock."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from .errors import AlreadyRunning, EmbeddedServerError
from .places import ServiceUser

STEP_S = 0.02
PORT_TRIES = 5
_LEASH = Path(__file__).with_name("leash.py")
_LOG_LIMIT_BYTES = 5_000_000
_QUIET_PORTS = range(16_000, 32_000)


def leashed(
    command: Sequence[str], *, death_signal: signal.Signals, user: ServiceUser | None
) -> list[str]:
    """`command` (absolute path first) wrapped so that it ends with this process and runs as `user`."""
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    head = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), str(int(death_signal))]
    return [*head, str(uid), str(gid), *command]


def clean_environment() -> dict[str, str]:
    """The environment of a server: nothing of the caller's (PGDATA, LD_PRELOAD, HOME) leaks in."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, out of those that the system gives to
    nobody's outgoing connection meanwhile (Linux: 32768 and up)."""
    while True:
        port = secrets.choice(_QUIET_PORTS)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be bound; sends nothing to whoever holds it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(*, port: int | None, preferred: int | None, server: str) -> int:
    """`port` or EmbeddedServerError; without it `preferred` when free, else any free port."""
    if port is not None:
        require_free(port, server=server)
        return port
    return preferred if preferred is not None and is_free(preferred) else free_port()


def require_free(port: int, *, server: str) -> None:
    """Raise EmbeddedServerError when `port` is taken: a server already there is left alone."""
    if not is_free(port):
        raise EmbeddedServerError(
            f"port {port} for {server} is used by another program; it was left alone. "
            "Choose another port or none."
        )


def hold_lock(path: Path, *, wait_s: float, refusal: str) -> int:
    """An exclusive lock on `path` as an open file descriptor, waited for at most `wait_s` seconds.

    Raises AlreadyRunning with the text `refusal`. A descriptor handed to a server keeps the lock
    until the last process of that server has ended, also when its owner was killed.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    pause = threading.Event()
    for _ in range(max(1, int(wait_s / STEP_S))):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        pause.wait(STEP_S)
    os.close(descriptor)
    raise AlreadyRunning(refusal)


def log_tail(log: Path, *, lines: int = 15) -> str:
    """The last lines of a server's log, for an error message."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


class Child:
    """One server process. It ends when this process ends, however that happens (Linux).

    A thread starts it and waits for it: the kernel's death signal follows the THREAD that made
    the child, so the caller's thread may end without taking the server with it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        log: Path,
        lock: int,
        death_signal: signal.Signals,
        user: ServiceUser | None,
        stdin: bytes = b"",
    ) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        wrapped = leashed(command, death_signal=death_signal, user=user)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        with log.open("ab") as sink:
            self.log_start = sink.tell()
            threading.Thread(
                target=self._own,
                args=(wrapped, lock, stdin, sink),
                name=f"owns-{name}",
                daemon=True,
            ).start()
            self._started.wait()
        if self._failure is not None:
            raise EmbeddedServerError(f"{name} could not be started: {self._failure}")

    def _own(self, command: list[str], lock: int, stdin: bytes, sink: IO[bytes]) -> None:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                cwd="/",
                env=clean_environment(),
                start_new_session=True,  # Ctrl-C is for the owner, who then stops us in order
            )
        except OSError as error:
            self._failure = error
            self._ended.set()
            self._started.set()
            return
        self._process = process
        self._started.set()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(stdin)
                process.stdin.close()
        process.wait()
        self._ended.set()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process still lives."""
        return not self._ended.is_set()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still lives."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def wait_end(self, *, within_s: float) -> bool:
        """Wait for its end; whether it came within `within_s` seconds."""
        return self._ended.wait(within_s)

    def wait_ready(self, ready: Callable[[], bool], *, within_s: float) -> bool:
        """Ask `ready` until it says yes (True), the process ends or `within_s` is over (False)."""
        for _ in range(int(within_s / STEP_S)):
            if ready():
                return True
            if self._ended.wait(STEP_S):
                return False
        return False

    def said(self, text: str) -> bool:
        """Whether this run's part of the log holds `text`."""
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            return text.encode() in log.read()

    def trouble(self, what: str) -> EmbeddedServerError:
        """An error with the log's end."""
        return EmbeddedServerError(f"{self.name} {what}. End of {self.log}:\n{log_tail(self.log)}")
