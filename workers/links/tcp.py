"""RTU over TCP: one connection to a serial server, one question at a time.

RTU answers carry no number, so a late answer could be taken for the answer to the next question
(reference/meter-protocols.md section 0 rule 4). The rule here: a question that stays unanswered
dies with its connection. After a time-out the connection may still swallow the late answer; when
it does not come within `drain_s`, or anything else went wrong, the next question opens a new one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

from workers.protocols.errors import FrameError
from workers.protocols.framing import Framing

from .errors import LinkDown, NoAnswer


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of a link, in seconds: for the answer, for connecting, for a late answer to be
    swallowed, and the least silence between two frames (3.5 characters at 9600 are 3.65 ms)."""

    answer_s: float = 1.0
    connect_s: float = 3.0
    drain_s: float = 0.3
    silence_s: float = 0.004


class TcpLink:
    """A serial server at `host`:`port`. Connects when asked, and again after a loss."""

    def __init__(self, host: str, port: int, *, timing: Timing | None = None) -> None:
        self._host = host
        self._port = port
        self._timing = timing or Timing()
        self._line: _Line | None = None
        self._one_at_a_time = asyncio.Lock()

    async def exchange(self, request: bytes, expected: Framing, /) -> bytes:
        """Send `request` once, never again, and give the answer frame; see framing.Exchange.

        Raises LinkDown, NoAnswer, FrameError.
        """
        async with self._one_at_a_time:
            line = await self._ready_line()
            await line.silence(self._timing.silence_s)
            return await line.ask(request, expected, self._timing.answer_s)

    async def close(self) -> None:
        """Drop the connection; the next exchange makes a new one."""
        if self._line is not None:
            self._line.abort()
            self._line = None

    async def _ready_line(self) -> _Line:
        line = self._line
        if line is not None and await line.clean(self._timing.drain_s):
            return line
        await self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timing.connect_s):
                _, line = await loop.create_connection(_Line, self._host, self._port)
        except (OSError, TimeoutError) as failure:
            raise LinkDown("the gateway cannot be reached") from failure
        self._line = line
        return line


class _Line(asyncio.Protocol):
    """One TCP connection. `_pending` is the answer somebody waits for, `_owed` the framing of an
    answer nobody waits for any more but that may still come."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._pending: asyncio.Future[bytes] | None = None
        self._framing: Framing | None = None
        self._owed_since: float | None = None
        self._settled = asyncio.Event()
        self._quiet_since = 0.0
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transport is no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._settled.set()
        self._fail(NoAnswer("the connection ended before the answer came"))

    def data_received(self, data: bytes) -> None:
        self._quiet_since = self._loop.time()
        if self._framing is None:
            return  # nobody asked: stray bytes must not wait for the next question
        self._buffer += data
        try:
            frame, rest = self._framing.take(self._buffer)
        except FrameError as broken:
            self._framing = None
            self._fail(broken)
            if self._owed_since is not None:
                self.abort()  # the late answer came broken: who knows what follows it
            return
        if frame is None:
            self._buffer = rest  # noise that was passed over is not looked at again
            return
        # What is glued behind the answer was not asked for and ends here with the buffer.
        self._framing = None
        pending, self._pending = self._pending, None
        if pending is None:
            self._owed_since = None
            self._settled.set()
        elif not pending.done():  # done: cancelled in this very instant, `ask` drops the line
            pending.set_result(frame)

    async def ask(self, request: bytes, expected: Framing, timeout_s: float) -> bytes:
        """One question. On any failure but a time-out the connection is dropped."""
        if self._lost or self._transport is None:
            raise NoAnswer("the connection ended before the answer came")
        pending = self._pending = self._loop.create_future()
        self._framing, self._buffer = expected, b""
        timer = self._loop.call_later(timeout_s, self._expire, timeout_s)
        self._transport.write(request)
        self._quiet_since = self._loop.time()
        answered = False
        try:
            frame: bytes = await pending
            answered = True
        finally:
            timer.cancel()
            self._pending = None
            if not answered and self._owed_since is None:
                self.abort()
        return frame

    async def clean(self, drain_s: float) -> bool:
        """Whether a new question may use this connection; waits for an owed answer to be swallowed."""
        if self._owed_since is not None and not self._lost:
            left = self._owed_since + drain_s - self._loop.time()
            try:
                async with asyncio.timeout(max(left, 0)):
                    await self._settled.wait()
            except TimeoutError:
                return False
        return not self._lost

    async def silence(self, silence_s: float) -> None:
        """Wait until the line has been quiet for `silence_s`."""
        await asyncio.sleep(max(0, self._quiet_since + silence_s - self._loop.time()))

    def abort(self) -> None:
        """Drop the connection at once."""
        self._lost = True
        self._framing = None
        if self._transport is not None:
            self._transport.abort()

    def _expire(self, timeout_s: float) -> None:
        if self._pending is None or self._pending.done():
            return
        self._owed_since = self._loop.time()
        self._settled.clear()
        self._fail(NoAnswer(f"no answer within {timeout_s} s"))

    def _fail(self, failure: NoAnswer | FrameError) -> None:
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():
            pending.set_exception(failure)
