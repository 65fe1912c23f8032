"""A registered line, and the table of all of them: the newest connection of a gateway is its line.

One user at a time. The line outlives its users, so a question that stays unanswered cannot die with a
connection as it does on a serial server (links/line.py): its late answer would be taken for the answer to
the next user's question. So the next user waits until the answer came or `owed_s` passed since the
question. What comes later still is taken only when it has the shape of the question then outstanding.

A user that has nothing outstanding gives way to a new one: workers keep their connections between turns,
and whose turn it is, they have settled among themselves (workers/buses.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol
from uuid import UUID

from workers.links.errors import LinkDown
from workers.protocols.errors import FrameError

from .budget import Budget
from .ports import (
    Beat,
    Broken,
    BusBytes,
    DialInProtocol,
    DialInRow,
    Event,
    Gone,
    Limits,
    Reply,
    Report,
    Upload,
    Watch,
)

_BEATS = 4
_GAPS_OF_SILENCE = 3


class LineBusy(LinkDown):
    """Somebody else uses or waits for the line. Nothing was sent."""

    code = "LINE_BUSY"


class LineUser(Protocol):
    """Who holds the line."""

    def given(self, data: bytes, /) -> None:
        """Bytes of the bus came."""
        ...

    def lost(self) -> None:
        """The line is gone, or somebody else has it. Called once."""
        ...


class Line:
    """One registered connection. Everything here runs on one event loop."""

    def __init__(
        self,
        row: DialInRow,
        protocol: DialInProtocol,
        transport: asyncio.Transport,
        *,
        limits: Limits,
        watch: Watch,
    ) -> None:
        self.row = row
        self._protocol = protocol
        self._transport = transport
        self._limits = limits
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        now_s = self._loop.time()
        self._budget = Budget(burst=limits.burst, steady=limits.steady, now_s=now_s)
        self._user: LineUser | None = None
        self._waiting = False
        self._owed_until_s = 0.0
        self._answered = asyncio.Event()
        self._heard_at_s = now_s
        self._beats: deque[float] = deque([now_s], maxlen=_BEATS)
        self._dropped: str | None = None

    @property
    def dropped(self) -> str | None:
        """Why it ended; None while it stands."""
        return self._dropped

    def received(self, data: bytes) -> None:
        """Bytes from the other side. Cuts the line when it sends more than it may."""
        self._heard_at_s = self._loop.time()
        if not self._budget.take(len(data), now_s=self._heard_at_s):
            self.handle([Gone("it sends more than it was asked for")])
            return
        self.handle(self._protocol.received(data))

    def handle(self, events: Iterable[Event]) -> None:
        """Do what the protocol says."""
        for event in events:
            match event:
                case BusBytes(data):
                    if self._user is not None:
                        self._user.given(data)
                case Reply(data):
                    self._write(data)
                case Upload() | Report():
                    self._watch.uploaded(self.row, event)
                case Beat():
                    self._beats.append(self._loop.time())
                case Broken(reason):
                    self._watch.broken(self.row, reason=reason)
                case Gone(reason):
                    self._watch.broken(self.row, reason=reason)
                    self.drop(reason)
                case _:
                    pass  # Named, Registered, Refused belong to the listener
        if not self._protocol.asking:
            self._answered.set()

    async def join(self, user: LineUser) -> None:
        """Hold the line from now on; waits while an answer is owed to somebody before.

        Raises LineBusy (another one waits already), LinkDown (it is gone).
        """
        if self._waiting:
            raise LineBusy("somebody else waits for this line")
        self._waiting = True
        try:
            await self._quiet()
        finally:
            self._waiting = False
        if self._dropped is not None:
            raise LinkDown("the line ended")
        before, self._user = self._user, user
        if before is not None:
            before.lost()

    def ask(self, user: LineUser, data: bytes) -> None:
        """Send bytes of the bus, if `user` holds the line. A broken question costs its user the line."""
        if user is not self._user:
            return
        try:
            wrapped = self._protocol.wrap(data)
        except FrameError as wrong:
            self._watch.broken(self.row, reason=wrong.message)
            self.leave(user)
            user.lost()
            return
        if wrapped:
            self._answered.clear()
            self._owed_until_s = self._loop.time() + self._limits.owed_s
            self._budget.grant(self._limits.grant)
            self._write(wrapped)

    def leave(self, user: LineUser) -> None:
        """`user` does not need the line any more."""
        if self._user is user:
            self._user = None

    def drop(self, reason: str) -> None:
        """Cut the connection, and with it whoever uses it. Doing it again changes nothing."""
        if self._dropped is None:
            self._dropped = reason
            self.end()
            self._transport.abort()

    def end(self) -> None:
        """The connection is gone: tell the user at once."""
        self._dropped = self._dropped or "the other side ended it"
        self._answered.set()
        user, self._user = self._user, None
        if user is not None:
            user.lost()

    def is_silent(self) -> bool:
        """Whether nothing came for longer than its own heartbeats allow."""
        limit_s = self._limits.idle_s
        if len(self._beats) == _BEATS:
            gaps = (later - sooner for sooner, later in pairwise(self._beats))
            wanted_s = max(_GAPS_OF_SILENCE * max(gaps), self._limits.idle_least_s)
            limit_s = min(limit_s, wanted_s)
        return self._loop.time() - self._heard_at_s > limit_s

    async def _quiet(self) -> None:
        """Until no answer is owed any more, or the line is gone."""
        left_s = self._owed_until_s - self._loop.time()
        if self._protocol.asking and left_s > 0 and self._dropped is None:
            try:
                async with asyncio.timeout(left_s):
                    await self._answered.wait()
            except TimeoutError:
                pass  # it will not come any more

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._limits.unsent:
            self.drop("it takes nothing any more")


class Lines:
    """The lines of this process by gateway."""

    def __init__(self, *, watch: Watch) -> None:
        self._watch = watch
        self._lines: dict[UUID, Line] = {}

    def get(self, gateway_id: UUID) -> Line | None:
        """The line of a gateway, or None when it is not connected."""
        return self._lines.get(gateway_id)

    def attach(self, line: Line) -> None:
        """`line` is its gateway's line now; the one before it is cut."""
        gateway_id = line.row.gateway_id
        before = self._lines.get(gateway_id)
        self._lines[gateway_id] = line
        if before is not None:
            before.drop("a newer connection of the same id")
        self._watch.connected(line.row, replaced=before is not None)

    def detach(self, line: Line) -> None:
        """The connection of `line` ended."""
        line.end()
        if self._lines.get(line.row.gateway_id) is line:
            del self._lines[line.row.gateway_id]
            self._watch.disconnected(line.row, reason=line.dropped or "")

    def drop(self, gateway_id: UUID, *, reason: str) -> None:
        """Cut a gateway's line, if it has one: it may come back at once."""
        line = self._lines.get(gateway_id)
        if line is not None:
            line.drop(reason)

    def drop_silent(self) -> None:
        """Cut every line that has been silent for too long."""
        for line in list(self._lines.values()):
            if line.is_silent():
                line.drop("silent for too long")

    def drop_all(self, *, reason: str) -> None:
        """Cut every line."""
        for line in list(self._lines.values()):
            line.drop(reason)

    def __len__(self) -> int:
        return len(self._lines)
