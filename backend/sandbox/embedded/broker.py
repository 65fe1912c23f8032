"""Start an embedded MQTT broker (nats-server with JetStream) on 127.0.0.1 as a direct child.

Two users. `cloud` may do everything. `gateway` is shared by all gateways: it may send up/<id> and
enrol/<nonce> and hear down/<id> and enrolled/<nonce>, and nothing else of the broker. A user for each
gateway would make the broker a second place that has to follow every enrolment and revocation, in
production on another machine, for little: frames are sealed and each is checked by its key, so a
broker's rights protect against noise only. What the shared user leaves open is noise in another
gateway's name by somebody who has both the password and that gateway's random id.

For the demo and for tests. nats-server reads a message whole before it refuses it for its length, so
that in production Mosquitto stands here (docs/mosquitto), which looks at the length first.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from .child import choose_port, hold_lock
from .places import Slot, broker_binary, own, secret_file
from .running import RunningServer

CLOUD, GATEWAY = "cloud", "gateway"
MAX_PAYLOAD = 128 * 1024  # the longest frame has 64 KiB; the rest is the broker's own
_READY_S = 30.0
_PREDECESSOR_S = 20.0
_ANSWER_S = 2.0
# MQTT 3.1.1: CONNECT with user, password and a clean session; CONNACK that accepts.
_CONNECT, _ACCEPTED = 0x10, b"\x20\x02\x00\x00"
_CLEAN_WITH_PASSWORD = 0xC2
_GATEWAY_RIGHTS = {
    "publish": {"allow": ["up.*", "enrol.*"]},
    # The last two are the server's own subjects that its MQTT side subscribes in the client's name.
    "subscribe": {"allow": ["down.*", "enrolled.*", "$MQTT.sub.>", "$MQTT.deliver.pubrel.>"]},
}


@dataclass(slots=True)
class RunningBroker(RunningServer):
    """An embedded MQTT broker; `kill` loses at most what no client had confirmed."""

    NAME = "MQTT broker"
    STOP = signal.SIGTERM
    CRASH = signal.SIGKILL
    PORT_LOST = "address already in use"

    _binary: Path
    _passwords: dict[str, str] = field(repr=False)

    def url(self, user: str) -> str:
        """The `mqtt://` address for CLOUD or GATEWAY. Holds a password: never log it."""
        return f"mqtt://{user}:{self._passwords[user]}@127.0.0.1:{self.port}"

    def _settings(self) -> str:
        """The configuration. JSON is a part of the server's own language."""
        users = [
            {"user": CLOUD, "password": self._passwords[CLOUD]},
            {
                "user": GATEWAY,
                "password": self._passwords[GATEWAY],
                "permissions": _GATEWAY_RIGHTS,
            },
        ]
        settings = {
            "server_name": "shuidian",
            "listen": "127.0.0.1:-1",  # its own protocol, which it cannot leave out: any free port
            "max_payload": MAX_PAYLOAD,
            "jetstream": {"store_dir": str(self.slot.data), "max_file_store": 2**29},
            "mqtt": {"listen": f"127.0.0.1:{self.port}"},
            "authorization": {"users": users},
        }
        return json.dumps(settings)

    def _launch(self) -> bool:
        """Start and wait until it answers; False when the port was lost to another program."""
        settings = self.slot.data / "server.json"
        _write_secret(settings, self._settings(), self.slot)
        child = self._spawn(
            [str(self._binary), "-c", str(settings)], lock=_wait_predecessor(self.slot)
        )
        return self._adopt(child, ready=self._answers, within_s=_READY_S)

    def _answers(self) -> bool:
        """Whether it takes an MQTT client with the password (a stranger on the port would not)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), _ANSWER_S) as client:
                client.sendall(_hello(CLOUD, self._passwords[CLOUD]))
                return client.recv(len(_ACCEPTED)) == _ACCEPTED
        except OSError:
            return False


def start_broker(
    *, data_dir: Path, port: int | None = None, preferred_port: int | None = None
) -> RunningBroker:
    """Start a server on `data_dir`; it answers when this returns.

    `port` is taken or refused; `preferred_port` is taken when free; else any free port. The
    passwords lie beside `data_dir` in 0600 files. Raises AlreadyRunning when another process has
    this data open, and EmbeddedServerError with the log's end for all else.
    """
    slot = Slot.of(data_dir)
    # Only after a predecessor that was still ending has given its port back.
    os.close(_wait_predecessor(slot))
    chosen = choose_port(port=port, preferred=preferred_port, server="the MQTT broker")
    if not slot.data.exists():
        slot.data.mkdir(mode=0o700)
        own(slot.data, slot.user)
    passwords = {user: secret_file(slot.beside(f"{user}.password")) for user in (CLOUD, GATEWAY)}
    binary = broker_binary(slot.user)
    running = RunningBroker(slot=slot, port=chosen, _binary=binary, _passwords=passwords)
    running.start(port=port)
    return running


def _wait_predecessor(slot: Slot) -> int:
    refusal = f"another MQTT broker still runs on {slot.asked}; stop its owner first"
    return hold_lock(slot.beside("lock"), wait_s=_PREDECESSOR_S, refusal=refusal)


def _write_secret(path: Path, text: str, slot: Slot) -> None:
    """A file with passwords in it, for the server alone (0600): not a command line, which is
    readable by everybody, and not stdin, which another user may not open again."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    own(path, slot.user)


def _hello(user: str, password: str) -> bytes:
    """An MQTT 3.1.1 CONNECT packet."""

    def text(value: str) -> bytes:
        return len(value).to_bytes(2, "big") + value.encode()

    body = text("MQTT") + bytes([4, _CLEAN_WITH_PASSWORD]) + (10).to_bytes(2, "big")
    body += text(f"probe-{os.getpid()}") + text(user) + text(password)
    assert len(body) < 128  # one length byte; user, password and names are ours and short
    return bytes([_CONNECT, len(body)]) + body
