"""The sealed uplink over MQTT: `MqttLine` for a gateway, `MqttTrunk` for the cloud. Bytes only.

Topics (sent with QoS 1, nothing retained, clean sessions; the id is the 8-byte wire id in hex):
up/<id>       HELLO and sealed frames of a gateway      down/<id>         WELCOME and frames to it
enrol/<nonce> an enrolment request                      enrolled/<nonce>  its answer; empty: refused

The broker is not trusted: it may drop, repeat, delay and see lengths; frames are sealed end to end.
A gateway cannot learn from the broker whether the cloud listens, so it asks: the cloud answers a PING
with a PING of the same `at` once every frame before it in the session has arrived and its readings are
stored. No such answer in time: say HELLO again and send again what was not answered for (C24: a
repeated reading changes nothing). A gateway sends at most 40 frames a second, else frames are dropped.

A client is named by the gateway's id (enrolling: by the nonce), so that a broker's rights can bind a
client to its own topics by that name (docs/mosquitto/acl) and a new connection replaces a dead one.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Self

from aiomqtt import Message

from backend.uplink.errors import ClaimRefused
from backend.uplink.frame import MAX_FRAME
from backend.uplink.keys import GATEWAY_SIZE

from .broker import Broker, BrokerConnection
from .errors import LinkDown, NoAnswer
from .intake import Intake, Limits, Verdict

__all__ = ["Broker", "Dropped", "Kind", "MqttLine", "MqttTrunk"]

NONCE_SIZE = 16
ENROLMENT_SIZE = 512  # a request has at most 142 bytes, an answer 90
CUT_S = 60.0
_DOWN_WAITING = 1000
_ENROL_LIMITS = Limits(rate_per_s=5, burst=50, waiting=50, flood=100)
_ENROL_ALL = "enrol/+"
_TOPIC = re.compile(
    rf"up/(?P<id>[0-9a-f]{{{2 * GATEWAY_SIZE}}})|enrol/(?P<nonce>[0-9a-f]{{{2 * NONCE_SIZE}}})"
)


class MqttLine:
    """A gateway's connection to the broker. A lost one is not mended: the caller makes a new line.

    `async with MqttLine(broker, wire_id=keys.gateway) as line: ...`
    """

    def __init__(
        self, broker: Broker, *, wire_id: bytes | None = None, keepalive_s: int = 30
    ) -> None:
        """`wire_id` None: not enrolled yet, only `enrol` works."""
        self._name = os.urandom(NONCE_SIZE).hex() if wire_id is None else wire_id.hex()
        self._enrolling = wire_id is None
        self._inbox: deque[bytes] = deque(maxlen=_DOWN_WAITING)
        self._bell = asyncio.Event()
        self._link = BrokerConnection(
            broker, identifier=self._name, offer=self._take, keepalive_s=keepalive_s
        )
        self._link.lost.add_done_callback(lambda _: self._bell.set())

    async def __aenter__(self) -> Self:
        """Connect and subscribe. Raises LinkDown (unreachable, or the broker refuses us)."""
        await self._link.open()
        where = "enrolled" if self._enrolling else "down"
        await _subscribed(self._link, [f"{where}/{self._name}"])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._link.close()

    async def send(self, frame: bytes) -> None:
        """Give a HELLO or sealed frame to the broker; returns when the broker has it. That the cloud
        has it is told by the answer to a later PING only.

        Raises LinkDown (not sent), NoAnswer (the broker may have it).
        """
        if self._enrolling:
            raise LinkDown("a line without a wire id only enrols")
        await self._link.publish(f"up/{self._name}", frame)

    async def frames(self) -> AsyncIterator[bytes]:
        """WELCOME and frames from the cloud. Raises LinkDown when the connection has ended."""
        while True:
            yield await self._next()

    async def enrol(self, request: bytes, *, timeout_s: float = 30.0) -> bytes:
        """The answer to an enrolment request (uplink.enrol.GatewayEnrolment).

        Raises LinkDown, NoAnswer (no answer in time), ClaimRefused (refused; the peer is not told why).
        """
        if not self._enrolling:
            raise LinkDown("a line with a wire id does not enrol")
        await self._link.publish(f"enrol/{self._name}", request)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._next()
        except TimeoutError as error:
            raise NoAnswer(f"the cloud did not answer within {timeout_s} s") from error
        if not answer:
            raise ClaimRefused("the cloud refuses the enrolment")
        return answer

    async def _next(self) -> bytes:
        while not self._inbox:
            if self._link.lost.done():
                raise LinkDown("the connection to the broker has ended")
            self._bell.clear()
            await self._bell.wait()
        return self._inbox.popleft()

    def _take(self, message: Message) -> None:
        if isinstance(message.payload, bytes) and len(message.payload) <= MAX_FRAME:
            self._inbox.append(message.payload)
            self._bell.set()


class Kind(StrEnum):
    """What a message to the cloud is: a gateway's, or somebody's who wants to become one."""

    UP = "up"
    ENROL = "enrol"


class Dropped(StrEnum):
    """Why the trunk dropped a message unread."""

    TOO_LONG = "UPLINK_TOO_LONG"
    FLOOD = "UPLINK_FLOOD"
    FULL = "UPLINK_BACKLOG"
    STRAY = "UPLINK_STRAY"


class MqttTrunk:
    """The cloud's connection: it hears the gateways that it was told of, and whoever enrols.

    It subscribes to each gateway by itself and not to all at once, for MQTT cannot leave one out of a
    wildcard: a gateway that floods is unsubscribed for a minute, so that the broker drops what would
    else stand in everybody's way. It may be entered again after it was lost; gateways are remembered.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        limits: Limits | None = None,
        cut_s: float = CUT_S,
        on_dropped: Callable[[Kind, bytes, Dropped], None] | None = None,
    ) -> None:
        """`on_dropped` hears of each dropped message (b"": of nobody we know) and must be quick."""
        self.dropped: Counter[Dropped] = Counter()
        self.on_dropped = on_dropped
        self._broker = broker
        self._cut_s = cut_s
        self._gateways: set[bytes] = set()
        self._cut: set[str] = set()
        self._heard: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._bell = asyncio.Event()
        self._frames: Intake[bytes, tuple[Kind, bytes, bytes]] = Intake(limits or Limits())
        self._requests: Intake[bytes, tuple[Kind, bytes, bytes]] = Intake(_ENROL_LIMITS)
        self._link: BrokerConnection | None = None

    async def __aenter__(self) -> Self:
        """Connect and subscribe. Raises LinkDown (unreachable, or the broker refuses us a topic)."""
        name = f"cloud-{os.urandom(8).hex()}"
        link = BrokerConnection(self._broker, identifier=name, offer=self._take, keepalive_s=15)
        await link.open()
        link.lost.add_done_callback(lambda _: self._bell.set())
        self._link = link  # from now on `listen` subscribes by itself
        topics = {_ENROL_ALL, *map(_up, self._gateways)} - self._cut
        await _subscribed(link, sorted(topics))
        self._heard |= topics
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        link, self._link = self._link, None
        self._heard.clear()
        if link is not None:
            await link.close()

    def hears(self, wire_id: bytes) -> bool:
        """Whether the broker gives us what this gateway says now."""
        return _up(wire_id) in self._heard

    async def listen(self, wire_ids: Iterable[bytes]) -> None:
        """Hear these gateways from now on. Raises LinkDown; they are then heard once it is back."""
        fresh = [wire_id for wire_id in wire_ids if wire_id not in self._gateways]
        self._gateways.update(fresh)
        if fresh and self._link is not None:
            await self._subscribe(self._link, [_up(wire_id) for wire_id in fresh])

    async def __aiter__(self) -> AsyncIterator[tuple[Kind, bytes, bytes]]:
        """(kind, wire id or nonce, payload), every source in turn. Raises LinkDown at the end."""
        while True:
            found = self._requests.take() or self._frames.take()
            if found is None:
                self._living()
                self._bell.clear()
                await self._bell.wait()
            else:
                yield found[1]

    async def send_down(self, wire_id: bytes, frame: bytes) -> None:
        """Give a frame for a gateway to the broker. Raises LinkDown (not sent), NoAnswer."""
        await self._living().publish(f"down/{wire_id.hex()}", frame)

    async def answer_enrolment(self, nonce: bytes, answer: bytes) -> None:
        """Answer whoever enrols; empty: refused. Raises LinkDown (not sent), NoAnswer."""
        await self._living().publish(f"enrolled/{nonce.hex()}", answer)

    def _living(self) -> BrokerConnection:
        if self._link is None or self._link.lost.done():
            raise LinkDown("the connection to the broker has ended")
        return self._link

    def _take(self, message: Message) -> None:
        """For each message as it is read: decide in microseconds, by its topic and length alone."""
        topic, payload = message.topic.value, message.payload
        name = _TOPIC.fullmatch(topic)
        if name is None or not isinstance(payload, bytes) or message.retain:
            self._drop(Kind.UP, b"", Dropped.STRAY)
        elif name["nonce"]:
            self._decide(Kind.ENROL, bytes.fromhex(name["nonce"]), payload)
        elif bytes.fromhex(name["id"]) in self._gateways:
            self._decide(Kind.UP, bytes.fromhex(name["id"]), payload)
        else:
            self._drop(Kind.UP, b"", Dropped.STRAY)

    def _decide(self, kind: Kind, name: bytes, payload: bytes) -> None:
        now_s, size = self._loop.time(), len(payload)
        if kind is Kind.UP:
            intake, source, topic, most = self._frames, name, _up(name), MAX_FRAME
        else:  # nobody's name is known before he is enrolled: all who ask share one measure
            intake, source, topic, most = self._requests, b"", _ENROL_ALL, ENROLMENT_SIZE
        if size > most:
            verdict, why = intake.drop(source, now_s=now_s), Dropped.TOO_LONG
        else:
            item = kind, name, payload
            verdict, why = intake.offer(source, item, size=size, now_s=now_s), Dropped.FLOOD
        if verdict is Verdict.TAKEN:
            self._bell.set()
            return
        if verdict is Verdict.FLOOD and topic not in self._cut:
            self._spawn(self._cut_off(topic))
        self._drop(kind, source, Dropped.FULL if verdict is Verdict.FULL else why)

    async def _cut_off(self, topic: str) -> None:
        """Hear nothing of a topic for a while, over connections."""
        self._cut.add(topic)
        self._heard.discard(topic)
        self._loop.call_later(self._cut_s, self._hear_again, topic)
        with suppress(LinkDown):
            await self._living().unsubscribe(topic)

    def _hear_again(self, topic: str) -> None:
        self._cut.discard(topic)
        if self._link is not None:
            self._spawn(self._resubscribe(self._link, topic))

    async def _resubscribe(self, link: BrokerConnection, topic: str) -> None:
        with suppress(LinkDown):  # lost: the next connection subscribes to all that is not cut
            await self._subscribe(link, [topic])

    async def _subscribe(self, link: BrokerConnection, topics: list[str]) -> None:
        await link.subscribe(topics)
        if link is self._link:
            self._heard.update(topics)

    def _spawn(self, chore: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(chore)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _drop(self, kind: Kind, wire_id: bytes, why: Dropped) -> None:
        self.dropped[why] += 1
        if self.on_dropped is not None:
            self.on_dropped(kind, wire_id, why)


def _up(wire_id: bytes) -> str:
    return f"up/{wire_id.hex()}"


async def _subscribed(link: BrokerConnection, topics: list[str]) -> None:
    """Subscribe, or close the connection. Raises LinkDown."""
    subscribed = False
    try:
        await link.subscribe(topics)
        subscribed = True
    finally:
        if not subscribed:
            await link.close()
