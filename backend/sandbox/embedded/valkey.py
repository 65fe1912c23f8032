"""Start an embedded Valkey (or Redis) on 127.0.0.1 as a direct child, with a password."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from .child import choose_port, hold_lock
from .places import Slot, own, secret_file, valkey_binary
from .running import RunningServer

_READY_S = 30.0
_PREDECESSOR_S = 20.0


@dataclass(slots=True)
class RunningValkey(RunningServer):
    """An embedded Valkey; `stop` writes the append-only file, `kill` does not."""

    NAME = "Valkey"
    STOP = signal.SIGTERM
    CRASH = signal.SIGKILL
    PORT_LOST = "already in use"

    _binary: Path
    _password: str = field(repr=False)

    @property
    def url(self) -> str:
        """A `redis://` address, database 0. Holds a password: never log it."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

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
        child = self._spawn([str(self._binary), "-"], lock=lock, stdin=self._settings())
        return self._adopt(child, ready=self._answers, within_s=_READY_S)

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
    running.start(port=port)
    return running


def _wait_predecessor(slot: Slot) -> int:
    refusal = f"another Valkey still runs on {slot.asked}; stop its owner first"
    return hold_lock(slot.beside("lock"), wait_s=_PREDECESSOR_S, refusal=refusal)
