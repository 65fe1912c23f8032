"""What the embedded servers do alike: stop, crash, start again, and say what went wrong."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from .child import PORT_TRIES, Child, choose_port, require_free
from .errors import EmbeddedServerError
from .places import Slot

STOP_S = 30.0


@dataclass(slots=True)
class RunningServer(ABC):
    """A server that is our direct child. `port` is on 127.0.0.1; `slot.data` is where its data lies."""

    NAME: ClassVar[str]
    STOP: ClassVar[signal.Signals]
    CRASH: ClassVar[signal.Signals]
    PORT_LOST: ClassVar[str]  # what the log says when another program took the port meanwhile

    slot: Slot
    port: int
    _child: Child | None = field(default=None, kw_only=True)

    def start(self, *, port: int | None) -> None:
        """Launch; without a fixed `port` another one is tried when it was lost meanwhile.

        Raises EmbeddedServerError.
        """
        for _ in range(PORT_TRIES):
            if self._launch():
                return
            self.port = choose_port(port=port, preferred=None, server=self.NAME)
        raise EmbeddedServerError(
            f"every port chosen for {self.NAME} was taken before it could bind"
        )

    @abstractmethod
    def _launch(self) -> bool:
        """Start and wait until it answers; False when the port was lost to another program."""

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedServerError when it does not run."""
        if self._child is None or not self._child.running:
            raise EmbeddedServerError(f"{self.NAME} is not running")
        return self._child.pid

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.slot.beside("log")

    def stop(self) -> None:
        """Stop in order: what was written is kept. Does nothing when stopped.

        Raises EmbeddedServerError when it does not end in time.
        """
        self._end(self.STOP)

    def kill(self) -> None:
        """Crash at once, for chaos tests: PostgreSQL recovers from its log at the next start, Valkey
        loses at most its last second of writes."""
        self._end(self.CRASH)

    def restart(self) -> None:
        """Stop when it runs, then start on the same port and data. Raises EmbeddedServerError."""
        self.stop()
        require_free(self.port, server=self.NAME)
        if not self._launch():
            raise EmbeddedServerError(f"port {self.port} was taken while {self.NAME} restarted")

    def _end(self, how: signal.Signals) -> None:
        if self._child is None:
            return
        self._child.signal(how)
        if not self._child.wait_end(within_s=STOP_S):
            raise self._child.trouble(f"did not end within {STOP_S:.0f} s")
        self._child = None

    def _spawn(self, command: Sequence[str], *, lock: int, stdin: bytes = b"") -> Child:
        """Start the program. `lock` is from here on held by it and whatever it starts, not by us."""
        try:
            return Child(
                command,
                name=self.NAME,
                log=self.log,
                lock=lock,
                death_signal=self.STOP,
                user=self.slot.user,
                stdin=stdin,
            )
        finally:
            os.close(lock)

    def _adopt(self, child: Child, *, ready: Callable[[], bool], within_s: float) -> bool:
        """Keep `child` once it is ready; False when it lost the port. Raises EmbeddedServerError."""
        if child.wait_ready(ready, within_s=within_s):
            self._child = child
            return True
        if not child.running and child.said(self.PORT_LOST):
            return False
        trouble = child.trouble("did not get ready")
        child.signal(self.CRASH)
        child.wait_end(within_s=STOP_S)
        raise trouble
