"""An MQTT client that obeys no one: bytes of packets, as fast as a socket takes them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from workers.links.mqtt import Broker

_CONNECT_CLEAN_WITH_PASSWORD = b"\x00\x04MQTT\x04\xc2\x00\x3c"


def _text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def packet(head: int, size: int) -> bytes:
    """The fixed header of a packet whose rest has `size` bytes."""
    length = b""
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (128 if size else 0)])
        if not size:
            return bytes([head]) + length


def publish(topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bytes:
    """A PUBLISH packet."""
    number = b"\x00\x01" if qos else b""
    body = _text(topic) + number + payload
    return packet(0x30 | qos << 1 | retain, len(body)) + body


class Rude:
    """Sends its parts in a thread of its own, again and again or once, until it hangs up. `sent`
    counts them, `pause_s` is the least time between two."""

    def __init__(self, broker: Broker, *parts: bytes, once: bool, pause_s: float) -> None:
        self.sent = 0
        self.done = threading.Event()
        self._parts = parts
        self._once = once
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._socket = socket.create_connection((broker.host, broker.port), 10)
        body = _CONNECT_CLEAN_WITH_PASSWORD + _text("rude") + _text(broker.user)
        body += _text(broker.password)
        self._socket.sendall(packet(0x10, len(body)) + body)
        assert self._socket.recv(4) == b"\x20\x02\x00\x00"
        self._socket.settimeout(None)
        for work in (self._send, self._swallow):
            threading.Thread(target=work, daemon=True).start()

    def _send(self) -> None:
        with suppress(OSError):
            while not self._stop.is_set():
                for part in self._parts:
                    self._socket.sendall(part)
                    self.sent += 1
                    self._stop.wait(self._pause_s)
                if self._once:
                    break
        self.done.set()

    def _swallow(self) -> None:
        with suppress(OSError):
            while self._socket.recv(65536):
                pass

    def close(self) -> None:
        """Hang up."""
        self._stop.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextmanager
def rude(broker: Broker, *parts: bytes, once: bool = False, pause_s: float = 0.0) -> Iterator[Rude]:
    """Somebody who sends `parts` again and again, or `once`."""
    client = Rude(broker, *parts, once=once, pause_s=pause_s)
    try:
        yield client
    finally:
        client.close()
