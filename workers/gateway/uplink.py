"""The line to the cloud, kept for ever: connect, greet, send what waits, take commands and keys.

A reading leaves this box when the cloud has said that it is stored (its answer to PING), never before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from backend.kernel.errors import DomainError
from backend.uplink.errors import (
    ClockSkew,
    FrameReplayed,
    MessageRefused,
    NoSession,
    SessionSpent,
    UplinkRefused,
)
from backend.uplink.frame import FrameType
from backend.uplink.keys import KeyName
from backend.uplink.message import Bye, Cmd, Farewell, Res, decode
from workers.links.errors import LinkDown, NoAnswer

from .alarms import Alarms, Trouble
from .board import Board, LineState
from .database import StoreBroken
from .identity import IdentityFile
from .pace import Backoff, JumpGuard, Time, ring_or_sleep
from .spool import Spool, Waiting
from .talk import Connect, Line, Talk, TalkTiming, Unanswered

log = logging.getLogger(__name__)

_MOST_WAIT_S = 300.0
_GIVEN_UP_S = 3600.0  # after a revocation, or a day without a word
_DAY_S = 86_400.0
_DOUBLINGS = 12  # from one second to over an hour


class Dismissed(UplinkRefused):
    """The cloud said BYE; `reason` says why."""

    code = "UPLINK_DISMISSED"

    def __init__(self, reason: Farewell) -> None:
        super().__init__(f"the cloud ended the session: {reason}")
        self.reason = reason


@dataclass(eq=False)
class Uplink:
    """The agent's one line. `on_command` begins a command, `on_session` is asked when a session has
    begun to tell what an earlier one could not; ring `bell` when there is something to send."""

    connect: Connect
    identity: IdentityFile
    spool: Spool
    alarms: Alarms
    pace: Time
    board: Board
    bell: asyncio.Event
    on_command: Callable[[Cmd], None]
    on_session: Callable[[], Awaitable[None]]
    timing: TalkTiming

    def __post_init__(self) -> None:
        self._keys = self.identity.load().keys
        self._guard = JumpGuard(self.pace)
        self._backoff = Backoff(1.0, _MOST_WAIT_S)
        self._heard_s = self.pace.steady_s()
        self._talk: Talk | None = None
        self._revoked = False
        self._again = False  # a new session is wanted

    def trips_allowed(self) -> bool:
        """Whether a trip may be done now: in a session whose clocks agreed, and no clock set since."""
        talk = self._talk
        return talk is not None and talk.trips_allowed and not self._guard.jumped_s

    async def tell(self, res: Res) -> bool:
        """Send an answer now; False when no line took it."""
        if self._talk is None:
            return False
        try:
            await self._talk.say(res)
        except (LinkDown, NoAnswer, UplinkRefused) as lost:
            self.board.note(f"an answer could not be sent: {lost.message}")
            # Its number is used: the cloud would wait for it for ever before it answers a PING.
            self._again = True
            self.bell.set()
            return False
        return True

    async def run(self) -> None:
        """Keep the line until cancelled."""
        while True:
            try:
                async with self.connect() as line:
                    await self._hold(line)
                continue  # a new session was wanted, by us
            except (LinkDown, NoAnswer, Unanswered, UplinkRefused) as lost:
                wait_s = self._after(lost)
            self.board.retry_s = wait_s
            await self.pace.sleep(wait_s)

    async def bye(self) -> None:
        """Tell the cloud that this box restarts, if it listens."""
        if self._talk is not None:
            with suppress(LinkDown, NoAnswer, UplinkRefused):
                await self._talk.say(Bye(Farewell.RESTART))

    def _after(self, lost: DomainError) -> float:
        """Show what ended the line; how long to wait, in seconds."""
        self.board.note(lost.message)
        state, most_s = LineState.OFFLINE, _MOST_WAIT_S
        match lost:
            case Dismissed(reason=Farewell.REVOKED):
                self._revoked = True
                self._backoff.tries = 2 * _DOUBLINGS  # no use to hurry: begin with the longest wait
            case ClockSkew():
                state = LineState.CLOCK_WRONG
            case Unanswered():
                state = LineState.UNANSWERED
                if self.pace.steady_s() - self._heard_s > _DAY_S:
                    most_s = _GIVEN_UP_S
        if self._revoked:
            state, most_s = LineState.REVOKED, _GIVEN_UP_S
        self.board.show(state)
        return self._backoff.next_s(most_s=most_s)

    async def _hold(self, line: Line) -> None:
        """One session. Returns when a new one is wanted; raises when the line or the session is lost."""
        talk = Talk(line, pace=self.pace, timing=self.timing)
        tasks = [
            asyncio.create_task(self._listen(line, talk)),
            asyncio.create_task(self._speak(talk)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._talk = None
            self.board.trips_allowed = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # Hearing

    async def _listen(self, line: Line, talk: Talk) -> None:
        async for frame in line.frames():
            try:
                heard = talk.hear(frame)
                if heard is not None:
                    await self._take(talk, *heard)
            except (Dismissed, SessionSpent, NoSession):
                raise
            except FrameReplayed:
                continue  # the broker's QoS 1, no news
            except UplinkRefused as refused:
                # Whoever holds the wire may send anything: it must not be able to end the session.
                self.board.note(f"a frame was refused: {refused.message}")
        raise LinkDown("the line has ended")

    async def _take(self, talk: Talk, kind: FrameType, plain: bytes) -> None:
        if kind is FrameType.KEYUP:
            await self._new_keys(talk, plain)
            return
        try:
            message = decode(kind, plain)
        except MessageRefused:
            self.alarms.begin(Trouble.COMMAND_REFUSED, at=self.pace.now())
            raise
        if isinstance(message, Bye):
            raise Dismissed(message.reason)
        if isinstance(message, Cmd):
            self.alarms.end(Trouble.COMMAND_REFUSED)
            self.on_command(message)

    async def _new_keys(self, talk: Talk, offer: bytes) -> None:
        """Keep the offered key beside the old one; only then say so. A disk that fails says nothing, and
        the offer lapses."""
        keys, acknowledgement = self._keys.took(offer)
        try:
            await asyncio.to_thread(self.identity.save_keys, keys)
        except (OSError, DomainError) as failure:
            self.alarms.begin(Trouble.STORE_BROKEN, at=self.pace.now())
            log.error("a new key cannot be kept", extra={"fields": {"why": failure}})
            return
        self._keys = keys
        await talk.send(FrameType.KEYACK, acknowledgement)
        self._again = True
        self.bell.set()

    # Speaking

    async def _speak(self, talk: Talk) -> None:
        if not self._revoked:
            self.board.show(LineState.GREETING)
        await self._greet(talk)
        self._guard.trust()  # WELCOME has compared the clocks
        self._talk, self._again = talk, False
        self.board.trips_allowed = talk.trips_allowed
        await talk.settle(backlog=await self._backlog())
        await self._begin()
        mark, waiting = await self._newest()
        ping = True
        while True:
            self.bell.clear()  # before looking: whatever comes while we send rings again
            if self._wants_new_session(talk):
                break
            waiting = waiting or await self._next(mark)
            if waiting or ping or self.alarms.to_tell:
                if await self._send(talk, waiting) and waiting:
                    waiting, ping = [], False
                    continue
                waiting = []
            ping = not await ring_or_sleep(self.bell, self.pace, self.timing.ping_s)
            await asyncio.sleep(self.timing.gather_s)
        with suppress(LinkDown, NoAnswer, UplinkRefused):
            await talk.say(Bye(Farewell.REKEY))

    async def _begin(self) -> None:
        """The cloud takes what is said in this session: all is well."""
        self._revoked = False
        self._heard_s = self.pace.steady_s()
        self._backoff.reset()
        self.board.show(LineState.CONNECTED)
        self.board.retry_s = 0.0
        self.alarms.end(Trouble.CLOCK_JUMPED)
        self.alarms.tell_all_again()
        try:
            await self.on_session()
        except StoreBroken as broken:
            self._store_broken(broken)

    async def _greet(self, talk: Talk) -> None:
        """HELLO under the newest key first; the old one only until the new one was answered."""
        keys = self._keys
        offered = [] if keys.pending is None else [keys.pending]
        for version, root in (*offered, (keys.version, keys.root)):
            if not await talk.greet(KeyName(keys.gateway, version), root):
                continue
            proven = keys.proven(version)
            if proven is not keys:
                await asyncio.to_thread(self.identity.save_keys, proven)
                self._keys = proven
            self.board.key_version = version
            return
        raise Unanswered(
            "the cloud does not answer: it is down, this box's key is revoked, or its clock is wrong"
        )

    def _wants_new_session(self, talk: Talk) -> bool:
        if self._guard.jumped_s:
            self.alarms.begin(Trouble.CLOCK_JUMPED, at=self.pace.now())
            self.board.note("this box's clock was set: asking the cloud for the time again")
            return True
        return self._again or talk.ends_soon

    async def _send(self, talk: Talk, waiting: list[Waiting]) -> bool:
        """Send readings and alarms, and forget the readings when the cloud has stored them; whether they
        are forgotten. With nothing to send it is a PING."""
        for alarm in self.alarms.untold():
            await talk.say(alarm)
        await talk.send_all(FrameType.READ, [reading.body for reading in waiting])
        await talk.settle(backlog=max(0, await self._backlog() - len(waiting)))
        self._heard_s = self.pace.steady_s()
        try:
            await self.spool.sent(reading.frame_no for reading in waiting)
        except StoreBroken as broken:
            self._store_broken(broken)
            return False
        return True

    async def _newest(self) -> tuple[int, list[Waiting]]:
        """The last number of now, and what goes first in a session."""
        try:
            return await self.spool.last_no(), await self.spool.newest()
        except StoreBroken as broken:
            self._store_broken(broken)
            return 0, []

    async def _next(self, mark: int) -> list[Waiting]:
        try:
            waiting = await self.spool.batch(after=mark, limit=self.timing.batch)
        except StoreBroken as broken:
            self._store_broken(broken)
            return []
        if not waiting:
            self.alarms.end(Trouble.READINGS_DROPPED)
        return waiting

    async def _backlog(self) -> int:
        try:
            return (await self.spool.backlog()).readings
        except StoreBroken:
            return 0

    def _store_broken(self, broken: StoreBroken) -> None:
        self.board.note(broken.message)
        self.alarms.begin(Trouble.STORE_BROKEN, at=self.pace.now())
