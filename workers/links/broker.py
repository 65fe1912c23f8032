"""A connection to an MQTT broker: checked subscriptions, confirmed sends, and its end told at once.

aiomqtt does the protocol. Three things are added. A subscription that the broker refuses is an error
(MQTT tells it in SUBACK only and aiomqtt raises nothing). A send that waits for its confirmation hears
of a lost connection at once. What comes in is offered to its receiver when it is read, before any
queue, so that a flood never gathers in memory.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

from aiomqtt import Client, Message, MqttCodeError, MqttError
from paho.mqtt.client import Client as Paho
from paho.mqtt.reasoncodes import ReasonCode

from backend.kernel.errors import InvalidInput

from .errors import LinkDown, NoAnswer

# Sent with QoS 1: the broker confirms. Heard with QoS 0: to a clean session QoS 1 adds nothing that the
# PING of uplink does not give better, and nats-server 2.14 loses a frame now and then when several QoS 1
# subscriptions share its stream and two clients publish at once (measured; never with QoS 0).
_SENT_QOS = 1
_HEARD_QOS = 0
_CONFIRM_S = 5.0
_TOPICS_A_PACKET = 200
_REFUSED = 0x80
_INFLIGHT = 500
# What the kernel holds for us is what a flood has put before everybody else's frames.
_RECEIVE_BUFFER = 256 * 1024
# All that aiomqtt and paho would log is raised to our callers too, who say it once.
_SILENT = logging.Logger("mqtt", logging.CRITICAL)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and who we are there. `tls` None: plain TCP."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Broker:
        """From `mqtt://user:password@host:port`, or `mqtts://` for TLS with the system's trust.

        Raises InvalidInput.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise InvalidInput("the broker's port is not a number") from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not parts.username:
            raise InvalidInput("a broker is mqtt://user:password@host:port (or mqtts://)")
        secure = parts.scheme == "mqtts"
        return cls(
            parts.hostname,
            port or (8883 if secure else 1883),
            unquote(parts.username),
            unquote(parts.password or ""),
            ssl.create_default_context() if secure else None,
        )


class BrokerConnection:
    """One connection with a clean session. It is not mended when lost: make a new one.

    `offer` gets every message as it is read, on the event loop, and must not block.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        identifier: str,
        offer: Callable[[Message], None],
        keepalive_s: int,
    ) -> None:
        self._broker = broker
        self._identifier = identifier
        self._offer = offer
        self._keepalive_s = keepalive_s
        self._client: Client | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect. Raises LinkDown (unreachable, or the broker refuses us)."""
        client = _Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user,
            password=self._broker.password,
            logger=_SILENT,
            identifier=self._identifier,
            queue_type=_handing_to(self._offer),
            clean_session=True,
            timeout=_CONFIRM_S,
            keepalive=self._keepalive_s,
            max_inflight_messages=_INFLIGHT,
            tls_context=self._broker.tls,
            socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)],
        )
        client.pending_calls_threshold = _INFLIGHT
        opening = asyncio.create_task(client.__aenter__())
        try:
            await asyncio.wait({opening})
        finally:
            if not opening.done():  # cancelled: what is opened in spite of that is closed again
                opening.add_done_callback(lambda _: self._leave(client))
        try:
            await opening
        except MqttError as error:
            raise LinkDown("the broker cannot be reached or refuses us") from error
        self._client = client
        self._watcher = asyncio.create_task(self._watch(client))

    async def close(self) -> None:
        """End the connection, whatever state it is in."""
        client, self._client = self._client, None
        self._end()
        if client is not None:
            await asyncio.wait({self._leave(client)})
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection is no more. Not to be cancelled: wait with asyncio.wait."""
        return self._lost

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Subscribe and check every answer. Raises LinkDown (also for a refused topic)."""
        client = self._living()
        for start in range(0, len(topics), _TOPICS_A_PACKET):
            part = topics[start : start + _TOPICS_A_PACKET]
            try:
                granted = await _apart(client.subscribe([(topic, _HEARD_QOS) for topic in part]))
            except MqttError as error:
                raise LinkDown("the connection to the broker was lost") from error
            answers = cast(Sequence[int | ReasonCode], granted)
            for topic, answer in zip(part, answers, strict=True):
                if (answer.value if isinstance(answer, ReasonCode) else answer) >= _REFUSED:
                    raise LinkDown(f"the broker refuses us the topic {topic}: check its rights")

    async def unsubscribe(self, topic: str) -> None:
        """Hear no more of a topic. Raises LinkDown."""
        try:
            await _apart(self._living().unsubscribe(topic))
        except MqttError as error:
            raise LinkDown("the connection to the broker was lost") from error

    async def publish(self, topic: str, payload: bytes) -> None:
        """Give `payload` to the broker; returns when it has confirmed it.

        Raises LinkDown (nothing was sent), NoAnswer (the broker may have it).
        """
        sending = asyncio.create_task(
            self._living().publish(topic, payload, qos=_SENT_QOS, retain=False, timeout=_CONFIRM_S)
        )
        try:
            await asyncio.wait({sending, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise NoAnswer("the connection ended before the broker confirmed the frame")
            await sending
        except MqttCodeError as error:
            raise LinkDown("the connection to the broker was lost") from error
        except MqttError as error:
            raise NoAnswer("the broker did not confirm the frame in time") from error
        finally:
            sending.cancel()

    def _living(self) -> Client:
        if self._client is None or self._lost.done():
            raise LinkDown("there is no connection to the broker")
        return self._client

    async def _watch(self, client: Client) -> None:
        """Wait for the end: nothing ever comes out of aiomqtt's own queue."""
        try:
            with suppress(MqttError):
                async for _ in client.messages:
                    pass
        finally:
            self._end()

    def _leave(self, client: Client) -> asyncio.Task[None]:
        """Say goodbye and close, also when whoever waits for it is cancelled."""

        async def leave() -> None:
            with suppress(MqttError):
                await client.__aexit__(None, None, None)

        leaving = asyncio.create_task(leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        return leaving

    def _end(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)


async def _apart(call: Coroutine[Any, Any, Result]) -> Result:
    """`call` in a task of its own. aiomqtt waits by asyncio.wait_for, which on Python 3.11 may swallow
    a cancellation: whoever called it would then never end."""
    task = asyncio.create_task(call)
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
    return await task


class _Socket(Protocol):
    def fileno(self) -> int: ...


class _Client(Client):
    """aiomqtt's, but it registers a socket only while that is open. aiomqtt registers its number, on a
    later turn of the loop, when the number may already be another connection's."""

    def _on_socket_open(self, client: Paho, userdata: object, sock: _Socket) -> None:
        def register() -> None:
            if sock.fileno() >= 0:
                self._misc_task = self._loop.create_task(self._misc_loop())
                self._loop.add_reader(sock.fileno(), self._attend, client, Paho.loop_read)

        self._loop.call_soon_threadsafe(register)

    def _on_socket_register_write(self, client: Paho, userdata: object, sock: _Socket) -> None:
        def register() -> None:
            if sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), self._attend, client, Paho.loop_write)

        self._loop.call_soon_threadsafe(register)

    def _attend(self, client: Paho, step: Callable[[Paho], object]) -> None:
        """Read or write what is ready; TLS may hold more than the socket shows."""
        try:
            step(client)
            held = client.socket()
            while isinstance(held, ssl.SSLSocket) and step is Paho.loop_read and held.pending():
                step(client)
                held = client.socket()
        except (OSError, ValueError) as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)


def _handing_to(offer: Callable[[Message], None]) -> type[asyncio.Queue[Message]]:
    """A queue for aiomqtt that keeps nothing: each message goes to `offer` when it is read."""

    class Handing(asyncio.Queue[Message]):
        """Never holds anything."""

        def put_nowait(self, item: Message) -> None:
            """Hand over."""
            offer(item)

    return Handing
