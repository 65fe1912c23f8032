"""The sealed lines of all gateways: their keys as the desk tells them, and what is sealed to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from backend.kernel.clock import Clock
from backend.kernel.errors import Conflict
from backend.uplink.book import SessionBook
from backend.uplink.errors import UplinkRefused
from backend.uplink.frame import FrameType
from backend.uplink.keys import KeyName
from backend.uplink.message import Bye, Farewell, Message, encode
from backend.uplink.rotation import KeyRing, keyup, read_keyack

from .links.errors import LinkDown, NoAnswer
from .links.mqtt import MqttTrunk
from .uplink_delivery import Chores, Gather
from .uplink_line import GatewayLine
from .uplink_notes import Notes
from .uplink_ports import AWAY, KeyDesk, RingRow


@dataclass(frozen=True, slots=True)
class Tempo:
    """Times of a host. `answer_s`: for a command's answer. `silent`: a gateway unheard for longer is
    not asked, and called silent (`look_s`: how often it is looked). `again_s`: after a lost connection.
    `resync_s`: all rings are read anew, for what the bell missed. `keyup_again`: before an unheard
    offer of a key is repeated."""

    gather: Gather = field(default_factory=Gather)
    answer_s: float = 15.0
    silent: timedelta = timedelta(seconds=150)
    again_s: float = 0.5
    resync_s: float = 60.0
    look_s: float = 15.0
    keyup_again: timedelta = timedelta(seconds=60)


class SealedLines:
    """Lines by wire id. `book` holds the sessions; this class alone puts rings into it."""

    def __init__(
        self,
        *,
        book: SessionBook,
        trunk: MqttTrunk,
        desk: KeyDesk,
        clock: Clock,
        tempo: Tempo,
        chores: Chores,
        notes: Notes,
    ) -> None:
        self._book = book
        self._trunk = trunk
        self._desk = desk
        self._clock = clock
        self._tempo = tempo
        self._chores = chores
        self._notes = notes
        self._lines: dict[bytes, GatewayLine] = {}
        self._wire_ids: dict[UUID, bytes] = {}

    def get(self, wire_id: bytes) -> GatewayLine | None:
        """The line of a gateway, or None."""
        return self._lines.get(wire_id)

    def silent(self, *, up_since: datetime, at: datetime) -> list[GatewayLine]:
        """The lines with keys in use that were not heard for too long, though we listened since
        `up_since`, and whose silence was not told."""
        return [
            line
            for line in self._lines.values()
            if line.ring.current is not None
            and not line.silence_told
            and at - max(line.heard_at or up_since, up_since) > self._tempo.silent
        ]

    def wire_id_of(self, gateway_id: UUID) -> bytes | None:
        """The wire id of a gateway, or None before it has enrolled."""
        return self._wire_ids.get(gateway_id)

    async def watch(self) -> None:
        """Take every ring that changes, for ever."""
        while True:
            try:
                async with aclosing(self._desk.changes()) as changes:
                    async for row in changes:
                        await self.learn([row])
            except AWAY as error:
                self._notes.trouble(None, error)
            await asyncio.sleep(self._tempo.again_s)

    async def resync(self) -> None:
        """Now and then read all rings anew and let time do its work, for ever."""
        while True:
            try:
                await self.learn(await self._desk.rings())
                at = self._clock.now()
                self._book.expire(at=at)
                await self._desk.settle(at=at)
            except AWAY as error:
                self._notes.trouble(None, error)
            await asyncio.sleep(self._tempo.resync_s)

    async def learn(self, rows: Iterable[RingRow]) -> None:
        """Take rings that are newer than ours, and listen to their gateways."""
        for row in rows:
            line = self._lines.get(row.ring.gateway)
            if line is None:
                line = self._lines[row.ring.gateway] = GatewayLine(row, row.ring)
                self._wire_ids[row.gateway_id] = line.wire_id
                self._book.put_ring(row.ring, at=self._clock.now())
            elif row.revision > line.row.revision:
                self._adopt(line, row)
        try:
            await self._trunk.listen(row.ring.gateway for row in rows)
        except LinkDown as error:
            self._notes.trouble(None, error)  # it is listened to when the broker is back

    def _adopt(self, line: GatewayLine, row: RingRow) -> None:
        """Take a newer ring. A session whose key is no longer good ends here and now."""
        at = self._clock.now()
        farewell = None
        if line.arrived is not None and _bad(row.ring, line.key_version, at):
            try:
                reason = Farewell.REVOKED if row.ring.current is None else Farewell.REKEY
                farewell = self.seal(line, Bye(reason))
            except UplinkRefused:
                farewell = None  # it has no session to be told in
            line.end()
            self._notes.say("uplink session cut", line, "UPLINK_CUT", "its key is no longer good")
        line.row, line.ring = row, row.ring
        line.roots.clear()
        self._book.put_ring(row.ring, at=at)
        if farewell is not None:
            self._chores.start(self.send(line, farewell))
        self._chores.start(self.rotate(line))

    async def root(self, line: GatewayLine, version: int) -> bytes:
        """A root key. Kept in memory, so that forged HELLOs cost no visit to the database."""
        root = line.roots.get(version)
        if root is None:
            root = line.roots[version] = await self._desk.root(KeyName(line.wire_id, version))
        return root

    def changed(self, line: GatewayLine, ring: KeyRing | None) -> None:
        """A frame or HELLO has changed the ring: it is kept beside."""
        if ring is None:
            return
        line.ring = ring
        if not line.keeping:
            line.keeping = True
            self._chores.start(self._keep(line))

    async def _keep(self, line: GatewayLine) -> None:
        try:
            while line.ring != line.row.ring:
                base = line.row
                try:
                    kept = await self._desk.keep(base, line.ring, at=self._clock.now())
                except Conflict:
                    return  # what is newer is on its way to us
                except AWAY as error:
                    self._notes.trouble(line, error)
                    await asyncio.sleep(self._tempo.again_s)
                    continue
                if line.row is base:
                    line.row = kept
        finally:
            line.keeping = False

    async def rotate(self, line: GatewayLine) -> None:
        """Offer a new key when one is wanted, or again when nobody has acknowledged the last offer."""
        at = self._clock.now()
        ring = line.ring.settled(at=at)
        unheard = ring.pending is not None and ring.acknowledged_at is None
        wanted = line.row.rotation_wanted and ring.pending is None
        lately = line.offered_at is not None and at - line.offered_at < self._tempo.keyup_again
        if line.arrived is None or line.key_version != ring.current or lately:
            return
        if not (unheard or wanted):
            return
        line.offered_at = at
        try:
            root = await self._offered_root(line, ring, at)
            if root is None or line.ring.pending is None:
                return  # something newer has come meanwhile
            key = KeyName(line.wire_id, line.ring.pending)
            frame = self._book.seal(line.wire_id, FrameType.KEYUP, keyup(key, root), at=at)
        except (UplinkRefused, Conflict) as error:
            self._notes.say("uplink key not offered", line, error.code, error.message)
        except AWAY as error:
            self._notes.trouble(line, error)
        else:
            await self.send(line, frame)

    async def _offered_root(self, line: GatewayLine, ring: KeyRing, at: datetime) -> bytes | None:
        if ring.pending is not None:
            return await self.root(line, ring.pending)
        row, root = await self._desk.offer(line.row, at=at)
        if row.revision < line.row.revision:
            return None
        if row.revision > line.row.revision:  # equal: the bell was quicker than the answer
            line.row, line.ring = row, row.ring
            self._book.put_ring(row.ring, at=at)
        return root

    async def acknowledged(self, line: GatewayLine, payload: bytes) -> None:
        """A KEYACK came."""
        pending = line.ring.pending
        if pending is None:
            return  # said again after the new key came into use
        try:
            root = await self.root(line, pending)
            version = read_keyack(payload, gateway=line.wire_id, version=pending, root=root)
        except UplinkRefused as error:
            self._notes.refuse(line, error.code, error.message)
            return
        at = self._clock.now()
        ring = line.ring.acknowledged(version, at=at)
        self._book.put_ring(ring, at=at)
        self.changed(line, ring)

    def seal(self, line: GatewayLine, message: Message) -> bytes:
        """A frame for the gateway's session. Raises UplinkRefused."""
        return self._book.seal(line.wire_id, *encode(message), at=self._clock.now())

    async def send(self, line: GatewayLine, frame: bytes) -> None:
        """Send a frame that the gateway asks for again when it is lost."""
        try:
            await self._trunk.send_down(line.wire_id, frame)
        except (LinkDown, NoAnswer) as error:
            self._notes.trouble(line, error)


def _bad(ring: KeyRing, version: int, at: datetime) -> bool:
    try:
        ring.check(version, at=at)
    except UplinkRefused:
        return True
    return False
