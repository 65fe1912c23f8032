"""The cloud's end of the sealed uplink: the product's own SessionBook, messages and keys, no database.

It does what docs say the concentrator does: a PING is answered when every frame before it is here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from backend.uplink.book import SessionBook
from backend.uplink.errors import UplinkRefused
from backend.uplink.frame import FrameType, Mode, read_header
from backend.uplink.handshake import read_hello
from backend.uplink.keys import KeyName, new_gateway, new_root
from backend.uplink.message import (
    Alarm,
    Bye,
    Cmd,
    Farewell,
    Message,
    Ping,
    Read,
    Res,
    decode,
    encode,
)
from backend.uplink.rotation import GatewayKeys, KeyRing, keyup, read_keyack
from workers.links.errors import LinkDown, NoAnswer

from .wire import WireLine, read_frame, write_frame

TIMEOUT_S = 15.0


class Cloud:
    """Serves gateways on a loopback port. The switches below make it fail.

    deaf: hears frames and does nothing. confirms: answers PING. lose: so many of the next READ frames
    are lost on the way.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.deaf = False
        self.confirms = True
        self.lose = 0
        self.readings: dict[tuple[bytes, str, datetime], Read] = {}
        self.arrived: list[Read] = []
        self.alarms: list[Alarm] = []
        self.pings: list[Ping] = []
        self.byes: list[Farewell] = []
        self.answers: dict[UUID, list[Res]] = defaultdict(list)
        self.told: list[Res] = []
        self.refused: list[str] = []
        self.down: list[bytes] = []
        self.hellos = 0
        self.port = 0
        self.now = now
        self.rings: dict[bytes, KeyRing] = {}
        self._book = SessionBook(mode=Mode.DATAGRAM)
        self._roots: dict[KeyName, bytes] = {}
        self._lines: dict[bytes, asyncio.StreamWriter] = {}
        self._seen: dict[bytes, set[int]] = defaultdict(set)
        self._newest: dict[bytes, bytes] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()

    def enrol(self) -> GatewayKeys:
        """A gateway with fresh keys."""
        key, root = KeyName(new_gateway(), 1), new_root()
        self._roots[key] = root
        self._put(KeyRing(key.gateway))
        return GatewayKeys(key.gateway, 1, root)

    def line(self) -> WireLine:
        """A line to here."""
        return WireLine("127.0.0.1", self.port)

    async def start(self) -> None:
        """Listen, on the same port again after a stop."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut every line and listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Cut every line; new ones are welcome."""
        for writer in self._writers:
            writer.transport.abort()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for frames until `holds`."""
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def live(self, gateway: bytes) -> bool:
        """Whether a frame of the newest session has come."""
        return self._newest.get(gateway) in self._seen

    async def send(self, gateway: bytes, message: Message) -> bytes:
        """Seal and send; the frame. Raises LinkDown."""
        kind, plain = encode(message)
        return await self._seal(gateway, kind, plain)

    async def send_raw(self, gateway: bytes, frame: bytes) -> None:
        """Send any bytes, as whoever holds the wire can."""
        self.down.append(frame)
        await write_frame(self._lines[gateway], frame)

    async def command(self, gateway: bytes, cmd: Cmd, *, timeout_s: float = TIMEOUT_S) -> Res:
        """One command and its answer. Raises LinkDown, NoAnswer."""
        known = len(self.answers[cmd.cmd_id])
        await self.send(gateway, cmd)
        try:
            async with asyncio.timeout(timeout_s):
                await self.until(lambda: len(self.answers[cmd.cmd_id]) > known)
        except TimeoutError as late:
            raise NoAnswer("no RES came") from late
        return self.answers[cmd.cmd_id][-1]

    async def offer_key(self, gateway: bytes) -> KeyName:
        """KEYUP with a fresh key."""
        ring = self.rings[gateway].offered(at=self.now())
        assert ring.pending is not None
        key, root = KeyName(gateway, ring.pending), new_root()
        self._roots[key] = root
        self._put(ring)
        await self._seal(gateway, FrameType.KEYUP, keyup(key, root))
        return key

    async def revoke(self, gateway: bytes) -> None:
        """Say BYE, then drop the keys."""
        await self.send(gateway, Bye(Farewell.REVOKED))
        self._put(self.rings[gateway].revoked())

    def enrol_again(self, keys: GatewayKeys) -> GatewayKeys:
        """New keys for a revoked gateway."""
        ring = self.rings[keys.gateway].enrolled_again(at=self.now())
        assert ring.current is not None
        key, root = KeyName(keys.gateway, ring.current), new_root()
        self._roots[key] = root
        self._put(ring)
        return replace(keys, version=key.version, root=root, pending=None)

    def _put(self, ring: KeyRing) -> None:
        self.rings[ring.gateway] = ring
        self._book.put_ring(ring, at=self.now())

    async def _seal(self, gateway: bytes, kind: FrameType, plain: bytes) -> bytes:
        try:
            frame = self._book.seal(gateway, kind, plain, at=self.now())
            await self.send_raw(gateway, frame)
        except (UplinkRefused, OSError, KeyError) as lost:
            raise LinkDown("the gateway is not connected") from lost
        return frame

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (frame := await read_frame(reader)) is not None:
                if not self.deaf:
                    with suppress(OSError):
                        await self._hear(frame, writer)
                self._changed.set()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _hear(self, frame: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            if frame[3] == 1:
                await self._welcome(frame, writer)
            elif self.lose and frame[3] == FrameType.READ:
                self.lose -= 1
            else:
                await self._take(frame)
        except UplinkRefused as refused:
            self.refused.append(refused.code)

    async def _welcome(self, hello: bytes, writer: asyncio.StreamWriter) -> None:
        self.hellos += 1
        key = read_hello(hello).key
        root = self._roots.get(key, bytes(32))
        welcome, ring = self._book.greet(hello, root=root, at=self.now())
        if ring is not None:
            self.rings[key.gateway] = ring
        self._lines[key.gateway] = writer
        self._newest[key.gateway] = welcome[-40:-32]
        await write_frame(writer, welcome)

    async def _take(self, frame: bytes) -> None:
        opened = self._book.open(frame, at=self.now())
        if opened.ring is not None:
            self.rings[opened.key.gateway] = opened.ring
        gateway, header = opened.key.gateway, read_header(frame)
        seen = self._seen[header.session]
        seen.add(header.seq)
        if opened.type is FrameType.KEYACK:
            self._acknowledged(gateway, opened.plain)
            return
        match decode(opened.type, opened.plain):
            case Read() as read:
                self.arrived.append(read)
                self.readings[gateway, read.meter, read.at] = read
            case Res() as res:
                self.answers[res.cmd_id].append(res)
                self.told.append(res)
            case Alarm() as alarm:
                self.alarms.append(alarm)
            case Bye(reason):
                self.byes.append(reason)
            case Ping() as ping:
                self.pings.append(ping)
                if self.confirms and seen.issuperset(range(1, header.seq)):
                    await self._seal(gateway, FrameType.PING, encode(Ping(at=ping.at))[1])

    def _acknowledged(self, gateway: bytes, payload: bytes) -> None:
        ring = self.rings[gateway]
        assert ring.pending is not None
        root = self._roots[KeyName(gateway, ring.pending)]
        version = read_keyack(payload, gateway=gateway, version=ring.pending, root=root)
        self._put(ring.acknowledged(version, at=self.now()))
