"""Start an embedded Valkey (or Redis) on 127.0.0.1 as a direct child, with a password."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from .child import PORT_TRIES, Child, choose_port, hold_lock, require_free
from .errors import EmbeddedServerError
from .places import Slot, own, secret_file, valkey_binary

_READY_S = 30.0
_STOP_S = 20.0
_PREDECESSOR_S = 20.0


@dataclass(slots=True)
class RunningValkey:
    """An embedded server. `port` is on 127.0.0.1; `slot.data` is where its file lies."""

    slot: Slot
    port: int
    _binary: Path
    _password: str = field(repr=False)
    _child: Child | None = None

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedServerError when it does not run."""
        if self._child is None or not self._child.running:
            raise EmbeddedServerError("Valkey is not running")
        return self._child.pid

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.slot.beside("log")

    @property
    def url(self) -> str:
        """A `redis://` address, database 0. Holds a password: never log it."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        """Stop in order: the append-only file is written. Does nothing when stopped.

        Raises EmbeddedServerError when it does not end in time.
        """
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Crash at once; at most the last second of writes is lost. For chaos tests."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop when it runs, then start on the same port and data. Raises EmbeddedServerError."""
        self.stop()
        require_free(self.port, server="Valkey")
        if not self._launch():
            raise EmbeddedServerError(f"port {self.port} was taken while Valkey restarted")

    def _end(self, how: signal.Signals) -> None:
        if self._child is None:
            return
        self._child.signal(how)
        if not self._child.wait_end(within_s=_STOP_S):
            raise self._child.trouble(f"did not end within {_STOP_S:.0f} s")
        self._child = None

    def _settings(self) -> bytes:
        """The configuration; it goes through stdin, for a command line is readable by everybody."""
        directory = str(self.slot.data).replace("\\", "\\\\").replace('"', '\\"')
        return (
            f'bind 127.0.0.1\nport {self.port}\nprotected-mode yes\ndir "{directory}"\n'
            f"requirepass {self._password}\nappendonly yes\nappendfsync everysec\n"
            'save ""\ndaemonize no\nloglevel notice\n'
        ).encode()

    def _launch(self) -> bool:
        """Start and wait until it answers; False when the port was lost to another program."""
        lock = _wait_predecessor(self.slot)
        try:
            child = Child(
                [str(self._binary), "-"],
                name="Valkey",
                log=self.log,
                lock=lock,
                death_signal=signal.SIGTERM,
                user=self.slot.user,
                stdin=self._settings(),
            )
        finally:
            os.close(lock)
        if child.wait_ready(self._answers, within_s=_READY_S):
            self._child = child
            return True
        if not child.running and child.said("already in use"):
            return False
        trouble = child.trouble("did not get ready")
        child.signal(signal.SIGKILL)
        child.wait_end(within_s=_STOP_S)
        raise trouble

    def _answers(self) -> bool:
        """Whether it answers to the password (a stranger on the port would not) and has its data."""
        try:
            with Redis(port=self.port, password=self._password, socket_timeout=2) as client:
                return bool(client.ping())
        except RedisError:
            return False


def start_valkey(
    *, data_dir: Path, port: int | None = None, preferred_port: int | None = None
) -> RunningValkey:
    """Start a server on `data_dir`; it answers when this returns.

    `port` is taken or refused; `preferred_port` is taken when free; else any free port. The
    password lies beside `data_dir` in a 0600 file. Raises AlreadyRunning when another process has
    this data open, and EmbeddedServerError with the log's end for all else.
    """
    slot = Slot.of(data_dir)
    # Only after a predecessor that was still ending has given its port back.
    os.close(_wait_predecessor(slot))
    chosen = choose_port(port=port, preferred=preferred_port, server="Valkey")
    if not slot.data.exists():
        slot.data.mkdir(mode=0o700)
        own(slot.data, slot.user)
    password = secret_file(slot.beside("password"))
    binary = valkey_binary(slot.user)
    running = RunningValkey(slot=slot, port=chosen, _binary=binary, _password=password)
    for _ in range(PORT_TRIES):
        if running._launch():
            return running
        running.port = choose_port(port=port, preferred=None, server="Valkey")
    raise EmbeddedServerError("every port chosen for Valkey was taken before it could bind")


def _wait_predecessor(slot: Slot) -> int:
    refusal = f"another Valkey still runs on {slot.asked}; stop its owner first"
    return hold_lock(slot.beside("lock"), wait_s=_PREDECESSOR_S, refusal=refusal)
