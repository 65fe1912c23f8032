"""The cloud's side of the sealed uplink: opens what gateways say, answers, and carries commands to them.

Frames are opened on the event loop without waiting for anything; whatever waits for the database is
done beside it, gateway by gateway. The protocol is in backend/uplink/README.md, the answer to PING in
workers/links/mqtt.py.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from uuid import UUID

from backend.kernel.clock import Clock
from backend.kernel.errors import Conflict, DomainError
from backend.uplink.book import SessionBook
from backend.uplink.errors import MessageRefused, UplinkRefused, WrongSession
from backend.uplink.frame import FrameType, Mode, read_header
from backend.uplink.handshake import read_hello
from backend.uplink.message import Alarm, Bye, Cmd, Ping, Read, Res, decode, encode

from .links.errors import LinkDown, NoAnswer
from .links.mqtt import Dropped, Kind, MqttTrunk
from .uplink_delivery import Chores, Delivery
from .uplink_line import GatewayLine, Said
from .uplink_lines import SealedLines, Tempo
from .uplink_notes import FRAMES, Notes
from .uplink_ports import AWAY, KeyDesk, UplinkInbox

_HELLO = b"\x01"  # the type byte, behind magic and version; sealed frames have others
_AT_ONCE = 100


class UplinkHost:
    """Runs until cancelled (`run`). Not for two threads, and one in the whole system at a time."""

    def __init__(
        self,
        *,
        trunk: MqttTrunk,
        desk: KeyDesk,
        inbox: UplinkInbox,
        clock: Clock,
        tempo: Tempo | None = None,
    ) -> None:
        self.connected = asyncio.Event()
        self._trunk = trunk
        self._desk = desk
        self._inbox = inbox
        self._up_since: datetime | None = None
        self._clock = clock
        self._tempo = tempo or Tempo()
        self._book = SessionBook(mode=Mode.DATAGRAM)
        self._chores = Chores()
        self._notes = Notes(inbox, clock=clock, chores=self._chores)
        self._lines = SealedLines(
            book=self._book,
            trunk=trunk,
            desk=desk,
            clock=clock,
            tempo=self._tempo,
            chores=self._chores,
            notes=self._notes,
        )
        self._delivery = Delivery(
            inbox,
            chores=self._chores,
            gather=self._tempo.gather,
            answer=self._answer_ping,
            acknowledge=self._lines.acknowledged,
            not_stored=self._notes.trouble,
        )
        trunk.on_dropped = self._dropped

    async def run(self) -> None:
        """Serve until cancelled. What is away (broker, database) is waited for."""
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._serve())
                parts.create_task(self._watch_silence())
                parts.create_task(self._lines.watch())
                parts.create_task(self._lines.resync())
        finally:
            await self._chores.close()

    def is_live(self, wire_id: bytes) -> bool:
        """Whether a command would be sent now."""
        line = self._lines.get(wire_id)
        return line is not None and line.is_live(at=self._clock.now(), silent=self._tempo.silent)

    async def command(self, wire_id: bytes, cmd: Cmd, *, timeout_s: float | None = None) -> Res:
        """Send a command and wait for the gateway's answer.

        Raises LinkDown (no live session; nothing was sent), NoAnswer (it may have been carried out:
        read back, C9), CommandExpired, TripHeld (nothing was sent), Conflict (under way already).
        """
        line = self._lines.get(wire_id)
        if line is None or not self.is_live(wire_id):
            raise LinkDown("the gateway is not connected")
        cmd.refuse_unless_due(at=self._clock.now(), trips_allowed=line.trips_allowed)
        if cmd.cmd_id in line.calls:
            raise Conflict("this command is under way")
        wait_s = self._tempo.answer_s if timeout_s is None else timeout_s
        call: asyncio.Future[Res] = asyncio.get_running_loop().create_future()
        line.calls[cmd.cmd_id] = call
        try:
            frame = self._lines.seal(line, cmd)
            async with asyncio.timeout(wait_s):
                await self._trunk.send_down(wire_id, frame)
                return await call
        except TimeoutError as error:
            raise NoAnswer(f"the gateway did not answer within {wait_s} s") from error
        except UplinkRefused as error:
            raise LinkDown("the gateway has no session") from error
        finally:
            del line.calls[cmd.cmd_id]
            call.cancel()  # a failure that nobody waits for any more is not to be reported

    async def answer(self, gateway_id: UUID, cmd: dict[str, object]) -> dict[str, object]:
        """A command for the inner door: the fields of a CMD as JSON, answered by those of its RES.

        Raises MessageRefused and what `command` raises.
        """
        try:
            payload = json.dumps(cmd).encode()
        except (TypeError, ValueError) as error:
            raise MessageRefused("a command that cannot be written") from error
        asked = decode(FrameType.CMD, payload)
        assert isinstance(asked, Cmd)
        res = await self.command(self._lines.wire_id_of(gateway_id) or b"", asked)
        fields: dict[str, object] = json.loads(encode(res)[1])
        return fields

    async def _serve(self) -> None:
        while True:
            try:
                async with self._trunk as trunk:
                    self._up_since = self._clock.now()
                    self.connected.set()
                    taken = 0
                    async for kind, name, payload in trunk:
                        self._take(kind, name, payload)
                        taken += 1
                        if taken % _AT_ONCE == 0:
                            await asyncio.sleep(0)  # others have work to do too
            except LinkDown as error:
                self._notes.trouble(None, error)
            self._up_since = None
            self.connected.clear()
            await asyncio.sleep(self._tempo.again_s)

    async def _watch_silence(self) -> None:
        """Tell which gateways are not heard. While we have no broker it is us who do not listen."""
        while True:
            await asyncio.sleep(self._tempo.look_s)
            since, at = self._up_since, self._clock.now()
            if since is None:
                continue
            for line in self._lines.silent(up_since=since, at=at):
                try:
                    await self._inbox.silent(line.row, line.heard_at or since)
                except AWAY as error:
                    self._notes.trouble(line, error)
                    break
                line.silence_told = True

    def _take(self, kind: Kind, name: bytes, payload: bytes) -> None:
        at = self._clock.now()
        line = self._lines.get(name) if kind is Kind.UP else None
        if line is None:
            self._chores.start(self._enrol(name, payload, at))
        elif payload[3:4] == _HELLO:
            self._chores.start(self._greet(line, payload, at))
        else:
            try:
                self._open(line, payload, at)
            except UplinkRefused as error:
                self._notes.refuse(line, error.code, error.message)

    def _open(self, line: GatewayLine, frame: bytes, at: datetime) -> None:
        """Raises UplinkRefused."""
        header = read_header(frame)
        if header.key.gateway != line.wire_id:
            raise WrongSession("a frame of another gateway came on this one's topic")
        opened = self._book.open(frame, at=at)
        FRAMES.labels(outcome=opened.type.name.lower()).inc()
        self._lines.changed(line, opened.ring)
        arrived, fresh = line.heard(header, trips_allowed=opened.trips_allowed, at=at)
        if fresh:
            self._chores.start(self._lines.rotate(line))
        if opened.type is FrameType.KEYACK:
            self._put(line, Said(opened.plain, arrived, header.seq, at))
            return
        try:
            message = decode(opened.type, opened.plain)
        except MessageRefused:
            arrived.note(header.seq)  # said again it would be no better
            raise
        match message:
            case Read() | Alarm() | Ping():
                self._put(line, Said(message, arrived, header.seq, at))
            case Res():
                line.answered(message)
                arrived.note(header.seq)
            case Bye():
                line.end()

    def _put(self, line: GatewayLine, said: Said) -> None:
        if not self._delivery.put(line, said):
            self._notes.refuse(line, Dropped.FULL, "too much of this gateway waits to be stored")

    async def _greet(self, line: GatewayLine, hello: bytes, at: datetime) -> None:
        try:
            key = read_hello(hello).key
            if key.gateway != line.wire_id:
                raise WrongSession("a HELLO of another gateway came on this one's topic")
            line.ring.check(key.version, at=at)
            root = await self._lines.root(line, key.version)
            welcome, ring = self._book.greet(hello, root=root, at=at)
        except UplinkRefused as error:
            self._notes.refuse(line, error.code, error.message)
        except AWAY as error:
            self._notes.trouble(line, error)
        else:
            FRAMES.labels(outcome="hello").inc()
            self._lines.changed(line, ring)
            await self._lines.send(line, welcome)

    async def _enrol(self, nonce: bytes, request: bytes, at: datetime) -> None:
        """Whoever enrols is told one and the same thing for every refusal: an empty answer."""
        answer = b""
        try:
            answer = await self._desk.enrol(request, at=at)
            await self._lines.learn(await self._desk.rings())  # it will say HELLO at once
        except AWAY as error:
            self._notes.trouble(None, error)
            if not answer:
                return  # the claim is not spent: asked again it may work
        except DomainError as error:
            self._notes.refuse(None, error.code, error.message)
        try:
            await self._trunk.answer_enrolment(nonce, answer)
        except (LinkDown, NoAnswer) as error:
            self._notes.trouble(None, error)

    async def _answer_ping(self, line: GatewayLine, ping: Ping) -> None:
        try:
            frame = self._lines.seal(line, Ping(ping.at))
        except UplinkRefused:
            return  # cut meanwhile
        await self._lines.send(line, frame)
        await self._lines.rotate(line)

    def _dropped(self, kind: Kind, name: bytes, why: Dropped) -> None:
        """Of each message that the trunk dropped."""
        FRAMES.labels(outcome=why.lower()).inc()
        line = self._lines.get(name) if kind is Kind.UP else None
        self._notes.refuse(line, why, f"dropped unread ({kind})")
