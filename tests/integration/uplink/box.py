"""A gateway for tests: the real line, handshake and sessions, and no meters behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from backend.kernel.clock import Clock
from backend.uplink.errors import UplinkRefused
from backend.uplink.frame import FrameType, Mode
from backend.uplink.handshake import WELCOME_SIZE, GatewayHandshake
from backend.uplink.keys import KeyName
from backend.uplink.message import Bye, Cmd, Message, Ping, Read, RelayState, Res, decode, encode
from backend.uplink.rotation import GatewayKeys
from backend.uplink.session import Session
from workers.links.mqtt import Broker, MqttLine

WAIT_S = 10.0


class Box:
    """One gateway on a line. It answers every command with success unless `mute`."""

    def __init__(self, line: MqttLine, keys: GatewayKeys, clock: Clock) -> None:
        self.line = line
        self.keys = keys
        self.session: Session | None = None
        self.commands: list[Cmd] = []
        self.goodbyes: asyncio.Queue[Bye] = asyncio.Queue()
        self.pongs: asyncio.Queue[Ping] = asyncio.Queue()
        self.keyed: asyncio.Queue[int] = asyncio.Queue()
        self.strange = 0
        self.mute = False
        self.patience_s = WAIT_S
        self.frame_no = 0
        self._clock = clock
        self._shake: GatewayHandshake | None = None
        self._welcomed = asyncio.Event()

    async def greet(self) -> None:
        """HELLO, WELCOME and the first PING, answered."""
        await self.hello()
        await self.ping()

    async def hello(self, version: int | None = None) -> bytes:
        """Say HELLO and wait for the WELCOME; the HELLO as it was sent."""
        number, root = self.keys.version, self.keys.root
        if version is not None and version != number:
            assert self.keys.pending is not None
            number, root = self.keys.pending
        self._welcomed.clear()
        self._shake = GatewayHandshake(
            key=KeyName(self.keys.gateway, number), root=root, mode=Mode.DATAGRAM, at=self.now
        )
        await self.line.send(self._shake.hello)
        async with asyncio.timeout(self.patience_s):
            await self._welcomed.wait()
        return self._shake.hello

    async def ping(self) -> None:
        """A PING and its answer."""
        asked = Ping(self.now.replace(microsecond=0))
        await self.say(asked)
        async with asyncio.timeout(self.patience_s):
            assert await self.pongs.get() == asked

    def sealed(self, message: Message) -> bytes:
        """The next frame of the session."""
        assert self.session is not None
        return self.session.seal(*encode(message), at=self.now)

    async def say(self, message: Message) -> bytes:
        """Seal and send; the frame."""
        frame = self.sealed(message)
        await self.line.send(frame)
        return frame

    def read(self) -> Read:
        """The next reading of a meter."""
        self.frame_no += 1
        return reading(self.frame_no, at=self.now)

    @property
    def now(self) -> datetime:
        """The gateway's clock."""
        return self._clock.now()

    async def hear(self) -> None:
        """Take what comes until cancelled or the line is lost."""
        async for frame in self.line.frames():
            await self._take(frame)

    async def _take(self, frame: bytes) -> None:
        if len(frame) == WELCOME_SIZE and frame[3] == 2:
            assert self._shake is not None
            self.session = self._shake.finish(frame, at=self.now)
            self.keys = self.keys.proven(self.session.key.version)
            self._welcomed.set()
            return
        try:
            assert self.session is not None
            kind, plain = self.session.open(frame, at=self.now)
        except UplinkRefused:
            self.strange += 1
            return
        if kind is FrameType.KEYUP:
            self.keys, ack = self.keys.took(plain)
            await self.line.send(self.session.seal(FrameType.KEYACK, ack, at=self.now))
            self.keyed.put_nowait(int.from_bytes(plain[:2], "big"))
            return
        match decode(kind, plain):
            case Cmd() as cmd:
                self.commands.append(cmd)
                if not self.mute:
                    await self.say(Res(cmd.cmd_id, 0, RelayState.OPEN))
            case Bye() as bye:
                self.goodbyes.put_nowait(bye)
            case Ping() as pong:
                self.pongs.put_nowait(pong)


def reading(frame_no: int, *, at: datetime) -> Read:
    """A gateway's reading number `frame_no` of its meter, so many seconds after `at`."""
    return Read(
        meter="M-1",
        frame_no=frame_no,
        at=at.replace(microsecond=0) + timedelta(seconds=frame_no),
        relay=RelayState.CLOSED,
        energy_wh=1000 + frame_no,
    )


@asynccontextmanager
async def box_at(broker: Broker, key: KeyName, root: bytes, clock: Clock) -> AsyncIterator[Box]:
    """A gateway that is connected to the broker and has not said HELLO."""
    async with MqttLine(broker, wire_id=key.gateway) as line:
        box = Box(line, GatewayKeys(key.gateway, key.version, root), clock)
        hearing = asyncio.create_task(box.hear())
        try:
            yield box
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


async def until(true: Callable[[], bool], *, within_s: float = WAIT_S) -> None:
    """Let others work until `true` says so; TimeoutError when it never does."""

    async with asyncio.timeout(within_s):
        for _ in iter(true, True):
            await asyncio.sleep(0)
