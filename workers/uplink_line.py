"""What the cloud keeps of one gateway's sealed line besides its keys; in memory, lost with the process."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from backend.uplink.frame import Header
from backend.uplink.message import Alarm, Ping, Read, Res
from backend.uplink.rotation import KeyRing

from .links.errors import NoAnswer
from .uplink_ports import RingRow

WAITING = 2000  # messages of a gateway that wait to be stored; it hears nothing and says them again
_GAPS = 1000


class Arrived:
    """Which frames of one session have arrived and are dealt with: by it a PING is answered.

    A gateway may forget what it said before an answered PING, so the answer is given only when every
    number up to it is accounted for, also when the transport lost one or changed the order.
    """

    def __init__(self, session: bytes) -> None:
        self.session = session
        self._through = 0
        self._beyond: set[int] = set()

    def note(self, seq: int) -> None:
        """Frame `seq` is dealt with."""
        self._beyond.add(seq)
        while self._through + 1 in self._beyond:
            self._through += 1
            self._beyond.discard(self._through)
        if len(self._beyond) > _GAPS:  # a frame was lost: this session is never complete again
            self._beyond.clear()

    def all_through(self, seq: int) -> bool:
        """Whether `seq` and every frame before it are dealt with."""
        return self._through >= seq


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the gateway that waits to be stored, and the frame that it came in. `bytes` is the
    payload of a KEYACK."""

    message: Read | Alarm | Ping | bytes
    arrived: Arrived
    seq: int
    at: datetime


@dataclass(slots=True)
class GatewayLine:
    """One gateway: its ring at rest (`row`) and as it is now (`ring`), its roots as far as they were
    needed, the session in use (None: none, or it said goodbye), commands that wait for their answer,
    messages that wait to be stored."""

    row: RingRow
    ring: KeyRing
    roots: dict[int, bytes] = field(default_factory=dict)
    arrived: Arrived | None = None
    key_version: int = 0
    trips_allowed: bool = False
    heard_at: datetime | None = None
    offered_at: datetime | None = None
    calls: dict[UUID, asyncio.Future[Res]] = field(default_factory=dict)
    said: deque[Said] = field(default_factory=deque)
    storing: bool = False
    keeping: bool = False
    silence_told: bool = False
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wire_id(self) -> bytes:
        """The gateway's 8-byte id on the wire."""
        return self.ring.gateway

    def is_live(self, *, at: datetime, silent: timedelta) -> bool:
        """Whether it has a session and was heard within `silent`."""
        return (
            self.arrived is not None and self.heard_at is not None and at - self.heard_at <= silent
        )

    def heard(self, header: Header, *, trips_allowed: bool, at: datetime) -> tuple[Arrived, bool]:
        """A genuine frame came: its session's record, and whether it is the session's first."""
        self.heard_at, self.silence_told = at, False
        fresh = self.arrived is None or self.arrived.session != header.session
        if self.arrived is None or fresh:
            self.arrived = Arrived(header.session)
            self.key_version = header.key.version
            self.trips_allowed = trips_allowed
        return self.arrived, fresh

    def answered(self, res: Res) -> None:
        """The answer to a command came; one that nobody waits for (any more) is nothing."""
        call = self.calls.get(res.cmd_id)
        if call is not None and not call.done():
            call.set_result(res)

    def end(self) -> None:
        """The session is over. Commands under way may have been carried out or not."""
        self.arrived = None
        for call in self.calls.values():
            if not call.done():
                call.set_exception(NoAnswer("the session ended before the gateway answered"))

    def leading_reads(self, most: int) -> list[Said]:
        """The readings at the head of what waits, `most` at most; they stay there."""
        found: list[Said] = []
        for said in self.said:
            if len(found) == most or not isinstance(said.message, Read):
                break
            found.append(said)
        return found
