"""Mosquitto as compose.yaml starts it: the files of docs/mosquitto, passwords hashed by its own tool."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from backend.sandbox.embedded.broker import CLOUD, GATEWAY
from backend.sandbox.embedded.child import choose_port
from backend.sandbox.embedded.places import Slot, own
from backend.sandbox.embedded.running import RunningServer

FILES = Path(__file__).resolve().parents[2] / "docs" / "mosquitto"
_READY_S = 30.0


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found is not None, f"{name} is missing: apt install mosquitto"
    return found


@dataclass(slots=True)
class Mosquitto(RunningServer):
    """A Mosquitto of these tests; see RunningBroker, whose place it takes."""

    NAME = "Mosquitto"
    STOP = signal.SIGTERM
    CRASH = signal.SIGKILL
    PORT_LOST = "Address already in use"

    passwords: dict[str, str] = field(
        default_factory=lambda: {user: secrets.token_urlsafe(12) for user in (CLOUD, GATEWAY)},
        repr=False,
    )

    def url(self, user: str) -> str:
        """The `mqtt://` address for CLOUD or GATEWAY."""
        return f"mqtt://{user}:{self.passwords[user]}@127.0.0.1:{self.port}"

    def _launch(self) -> bool:
        settings = self.slot.data / "mosquitto.conf"
        settings.write_text(self._settings(), "utf-8")
        words = self.slot.data / "passwords"
        words.touch(mode=0o600)
        for user, password in self.passwords.items():
            line = [_program("mosquitto_passwd"), "-b", str(words), user, password]
            subprocess.run(line, check=True, capture_output=True)
        shutil.copy(FILES / "acl", self.slot.data / "acl")
        for file in (settings, words, self.slot.data / "acl"):
            file.chmod(0o600)
            own(file, self.slot.user)
        lock = os.open(self.slot.beside("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        child = self._spawn([_program("mosquitto"), "-c", str(settings)], lock=lock)
        return self._adopt(child, ready=self._listens, within_s=_READY_S)

    def _settings(self) -> str:
        """The file of production, with this machine's places in it and nothing else changed."""
        text = (FILES / "mosquitto.conf").read_text("utf-8")
        for line, mine in (
            ("listener 1883", f"listener {self.port} 127.0.0.1"),
            ("password_file /mosquitto/data/", f"password_file {self.slot.data}/"),
            ("acl_file /mosquitto/config/", f"acl_file {self.slot.data}/"),
        ):
            text, changed = re.subn(f"^{line}", mine, text, flags=re.MULTILINE)
            assert changed == 1, line
        return text

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 2).close()
        except OSError:
            return False
        return True


def start_mosquitto(folder: Path) -> Mosquitto:
    """A Mosquitto whose files are in `folder`; it listens when this returns."""
    slot = Slot.of(folder)
    slot.data.mkdir(mode=0o700)
    own(slot.data, slot.user)
    running = Mosquitto(slot, choose_port(port=None, preferred=None, server="Mosquitto"))
    running.start(port=None)
    return running
