"""One session on one connection: HELLO and WELCOME, frames both ways, the cloud's word that it has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from backend.kernel.errors import Unavailable
from backend.uplink.errors import (
    ClockSkew,
    NoSession,
)
from backend.uplink.frame import FrameType, Mode
from backend.uplink.handshake import GatewayHandshake
from backend.uplink.keys import KeyName
from backend.uplink.message import Message, Ping, decode, encode
from backend.uplink.session import Session

from .pace import Time

_AT_ONCE = 16  # frames on the way at a time: a far broker's round trip is paid once for all of them


class Line(Protocol):
    """A connection to the cloud that carries frames (workers.links.mqtt.MqttLine)."""

    async def send(self, frame: bytes, /) -> None:
        """Give a frame to the line. Raises LinkDown, NoAnswer."""
        ...

    def frames(self) -> AsyncIterator[bytes]:
        """What comes from the cloud. Raises LinkDown at the end."""
        ...


class Connect(Protocol):
    """Makes a new line to the cloud each time it is called; entering it raises LinkDown."""

    def __call__(self) -> AbstractAsyncContextManager[Line]:
        """A line, not yet entered."""
        ...


class Unanswered(Unavailable):
    """The broker is there, but the cloud does not answer."""

    code = "CLOUD_UNANSWERED"


@dataclass(frozen=True, slots=True)
class TalkTiming:
    """Real seconds: `welcome_s` for WELCOME, `stored_s` for the answer to PING, `gather_s` to let
    readings gather before they are sent; `rate_per_s` frames a second (the cloud drops what is over 40);
    `batch` readings are sent before a PING. Of the agent's time: a PING every `ping_s` when idle."""

    welcome_s: float = 15.0
    stored_s: float = 20.0
    gather_s: float = 1.0
    ping_s: float = 60.0
    rate_per_s: float = 25.0
    batch: int = 100


class Talk:
    """The gateway's side of one session. `hear` gets every frame that the line brings."""

    def __init__(self, line: Line, *, pace: Time, timing: TalkTiming) -> None:
        self._line = line
        self._pace = pace
        self._timing = timing
        self._shake: GatewayHandshake | None = None
        self._welcomed: asyncio.Future[Session] | None = None
        self._session: Session | None = None
        self._asked_at: datetime | None = None
        self._stored: asyncio.Future[None] | None = None

    async def greet(self, key: KeyName, root: bytes) -> bool:
        """Say HELLO under `key`; whether the cloud answered in time. Raises LinkDown, NoAnswer,
        ClockSkew."""
        self._shake = GatewayHandshake(key=key, root=root, mode=Mode.DATAGRAM, at=self._pace.now())
        self._welcomed = asyncio.get_running_loop().create_future()
        await self._line.send(self._shake.hello)
        try:
            async with asyncio.timeout(self._timing.welcome_s):
                self._session = await self._welcomed
        except TimeoutError:
            return False
        return True

    @property
    def trips_allowed(self) -> bool:
        """Whether the clocks of both sides agreed well enough when the session began."""
        return self._session is not None and self._session.trips_allowed

    @property
    def ends_soon(self) -> bool:
        """Whether a new handshake is due."""
        return self._living().rekey_due(at=self._pace.now())

    def hear(self, frame: bytes) -> tuple[FrameType, bytes] | None:
        """Type and payload of a frame for this session; None for WELCOME and for the answer to PING.

        Raises UplinkRefused for what is not genuine, late, or twice: it has no effect.
        """
        if self._session is None:
            self._hear_welcome(frame)
            return None
        kind, plain = self._session.open(frame, at=self._pace.now())
        if kind is FrameType.PING:
            answer = decode(kind, plain)
            waiting = self._stored
            asked = isinstance(answer, Ping) and answer.at == self._asked_at
            if asked and waiting is not None and not waiting.done():
                waiting.set_result(None)
            return None
        return kind, plain

    async def send(self, kind: FrameType, plain: bytes) -> None:
        """Seal and send. Raises LinkDown, NoAnswer, NoSession, SessionSpent."""
        await self._line.send(self._living().seal(kind, plain, at=self._pace.now()))

    async def say(self, message: Message) -> None:
        """Send a message. Raises what `send` raises, and MessageRefused."""
        await self.send(*encode(message))

    async def send_all(self, kind: FrameType, plains: Sequence[bytes]) -> None:
        """Send many frames in their order, not faster than the cloud takes them. Raises as `send`."""
        for start in range(0, len(plains), _AT_ONCE):
            part = plains[start : start + _AT_ONCE]
            ends = await asyncio.gather(
                *(self.send(kind, plain) for plain in part), return_exceptions=True
            )
            for failure in ends:
                if failure is not None:
                    raise failure
            await asyncio.sleep(len(part) / self._timing.rate_per_s)

    async def settle(self, *, backlog: int) -> None:
        """PING, and wait for the cloud's word that everything before it is stored.

        Raises Unanswered, and what `send` raises.
        """
        at = self._pace.now().replace(microsecond=0)
        if self._asked_at is not None:
            at = max(at, self._asked_at + timedelta(seconds=1))
        self._asked_at = at
        self._stored = asyncio.get_running_loop().create_future()
        await self.say(Ping(at=at, backlog=backlog))
        try:
            async with asyncio.timeout(self._timing.stored_s):
                await self._stored
        except TimeoutError as late:
            raise Unanswered("the cloud does not confirm what was sent") from late

    def _hear_welcome(self, frame: bytes) -> None:
        shake, welcomed = self._shake, self._welcomed
        if shake is None or welcomed is None or welcomed.done():
            return  # a frame of an older session
        try:
            session = shake.finish(frame, at=self._pace.now())
        except ClockSkew as skew:
            welcomed.set_exception(skew)
        else:
            # At once, not when `greet` wakes: a frame of the new session may be next on the line.
            self._session = session
            welcomed.set_result(session)

    def _living(self) -> Session:
        if self._session is None:
            raise NoSession("no session is open")
        return self._session
