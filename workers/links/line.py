"""A bus on a line, one question at a time: what is the same whatever the line is made of.

RTU answers carry no number, so a late answer could be taken for the answer to the next question
(reference/meter-protocols.md section 0 rule 4). The rule here: a question that stays unanswered
dies with its connection. After a time-out the connection may still swallow the late answer; when
it does not come within `drain_s`, or anything else went wrong, the next question opens a new one.
Modbus TCP numbers its answers: there the connection goes on. A wire cannot be dropped: see serial.py.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from backend.kernel.errors import DomainError
from workers.protocols.errors import FrameError
from workers.protocols.framing import Asked, Framing, Script, asked

from .errors import LinkDown, NoAnswer
from .mbap import MbapFraming


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of a link, in seconds: most and least for the answer (see Patience), for connecting,
    for a late answer to be swallowed, and the least silence between two frames (3.5 characters at
    9600 are 3.65 ms)."""

    answer_s: float = 2.0
    least_s: float = 1.0
    connect_s: float = 3.0
    drain_s: float = 0.3
    silence_s: float = 0.004


class Patience:
    """How long to wait for an answer, from how long answers took (as RFC 6298 does for TCP): the
    smoothed time plus four deviations, never less than `least_s` nor more than `most_s`.

    An unanswered question doubles it: who is slow is not taken for dead.
    """

    __slots__ = ("_deviation", "_mean", "_most", "_times", "least_s")

    def __init__(self, *, least_s: float, most_s: float) -> None:
        self.least_s, self._most = min(least_s, most_s), most_s
        self._mean: float | None = None
        self._deviation = 0.0
        self._times = 1

    @property
    def seconds(self) -> float:
        """How long to wait now. Looked at when time may be up, not at each answer."""
        if self._mean is None:
            return self._most
        wanted = max(self._mean + 4 * self._deviation, self.least_s)
        return min(wanted * self._times, self._most)

    def answered(self, seconds: float) -> None:
        """An answer took so long."""
        self._times = 1
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        off = seconds - self._mean
        self._mean += off / 8
        self._deviation += ((off if off > 0 else -off) - self._deviation) / 4

    def exhausted(self) -> None:
        """No answer came in time."""
        self._times = min(2 * self._times, 1 << 16)


class BusLink(ABC):
    """Asks the questions of one bus on a line that a subclass makes. The line is made when it is asked
    for, and again after a loss."""

    __slots__ = ("_line", "_patience", "_timing")

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._line: Line | None = None
        self._patience = Patience(least_s=timing.least_s, most_s=timing.answer_s)

    async def exchange(self, request: bytes, expected: Framing, /) -> bytes:
        """Send `request` once, never again, and give the answer frame; see framing.Exchange.

        One question at a time: a lane sees to that. Raises LinkDown, NoAnswer, FrameError.
        """
        answers: list[bytes] = []
        await self.play(_one_question(request, expected, answers))
        return answers[0]

    async def play(self, script: Script) -> None:
        """Ask what `script` asks until it ends, each question once. What `exchange` raises is raised in
        the script, which may go on: it gets a new connection where the old one is spent. Raises what the
        script raises."""
        try:
            question = script.send(None)
            while True:
                try:
                    line = await self._ready_line()
                    await line.silence()
                    ended = await line.play(script, question)
                    break
                except (LinkDown, NoAnswer, FrameError) as failure:
                    question = script.throw(failure)
        except StopIteration:
            return  # it ended at once, or by the failure
        finally:
            script.close()
        if ended is not None:
            raise ended

    async def close(self) -> None:
        """Drop the connection; the next exchange makes a new one."""
        if self._line is not None:
            self._line.abort()
            self._line = None

    async def _ready_line(self) -> Line:
        line = self._line
        if line is not None and await line.clean(self._timing.drain_s):
            return line
        await self.close()
        self._line = line = await self._connect()
        return line

    @abstractmethod
    async def _connect(self) -> Line:
        """A new line. Raises LinkDown."""


async def _one_question(request: bytes, expected: Framing, answers: list[bytes]) -> None:
    answers.append(await asked(request, expected))


class Line(asyncio.Protocol):
    """One connection. `_pending` is the end of the script that is played, or was played until whoever
    waited for it was cancelled; `_framing` belongs to the question on its way; `_owed_since` is when an
    answer timed out that may still come."""

    __slots__ = (
        "_asked_at",
        "_buffer",
        "_framing",
        "_loop",
        "_lost",
        "_next",
        "_numbering",
        "_owed_since",
        "_patience",
        "_pending",
        "_quiet_since",
        "_send",
        "_settled",
        "_silence_s",
        "_time",
        "_timer",
        "_transport",
    )

    def __init__(self, numbering: MbapFraming | None, patience: Patience, silence_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._numbering = numbering
        self._patience = patience
        self._silence_s = silence_s
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._send: Callable[[bytes], Asked] | None = None
        self._next: Asked | None = None
        self._pending: asyncio.Future[DomainError | None] | None = None
        self._framing: Framing | None = None
        self._owed_since: float | None = None
        self._settled = asyncio.Event()
        self._quiet_since = 0.0
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        # A cast, not a check: uvloop's transport is no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol. The question on its way gets NoAnswer."""
        self._lost = True
        self._settled.set()
        if self._timer is not None:
            self._timer.cancel()
        self._fail(NoAnswer("the connection ended before the answer came"))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. The answer, or a part of it; what nobody asked for is thrown away."""
        framing, numbering = self._framing, self._numbering
        if numbering is None:
            self._quiet_since = self._time()
        if framing is None:
            return  # nobody asked: stray bytes must not wait for the next question
        buffer = self._buffer + data if self._buffer else data
        try:
            if numbering is None:
                frame, rest = framing.take(buffer)
            else:
                frame, rest = numbering.take(framing, buffer)
        except FrameError as broken:
            self._fail(broken)
            self._spoil()  # the answer, or a late one, came broken: who knows what follows it
            return
        if frame is None:
            self._buffer = rest  # noise that was passed over is not looked at again
            return
        # What is glued behind the answer was not asked for and ends here with the buffer.
        self._framing = None
        pending = self._pending
        if pending is None:
            self._owed_since = None
            self._settled.set()
        elif pending.done():  # cancelled: whoever asked may have meant the connection to end
            self._spoil()
        else:
            self._go_on(frame)

    def play(self, script: Script, question: Asked) -> asyncio.Future[DomainError | None]:
        """Ask `question` of `script` on a clean line, and all that follows, until it ends: with None, or
        with an error of its own. Failures of the line are raised. After any but a time-out the connection
        is dropped; a wait that is cancelled costs it when the next question comes (`clean`)."""
        if self._lost:
            raise NoAnswer("the connection ended before the answer came")
        pending = self._pending = self._loop.create_future()
        self._send = script.send
        self._ask(question, self._time())
        return pending

    def _go_on(self, answer: bytes) -> None:
        """Give the script its answer and ask what it asks next: with no turn of the loop in between,
        unless the bus has to be silent first."""
        assert self._send is not None, "it is played until its end is told"
        now = self._time()
        self._patience.answered(now - self._asked_at)
        try:
            question = self._send(answer)
        except StopIteration:
            self._end().set_result(None)
        except DomainError as failure:
            self._end().set_result(failure)
        else:
            if self._numbering is not None:
                self._ask(question, now)
            else:
                self._next = question
                self._loop.call_at(self._quiet_since + self._silence_s, self._ask_next)

    def _ask_next(self) -> None:
        question, self._next = self._next, None
        if question is None or self._pending is None or self._pending.done():
            return
        now, quiet_at = self._time(), self._quiet_since + self._silence_s
        if now < quiet_at:  # stray bytes came
            self._next = question
            self._loop.call_at(quiet_at, self._ask_next)
        else:
            self._ask(question, now)

    def _ask(self, question: Asked, now: float) -> None:
        request, self._framing = question
        self._buffer = b""
        self._asked_at = now
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._patience.least_s, self._look)
        numbering, transport = self._numbering, self._transport
        assert transport is not None, "a line is there once it is connected"
        transport.write(request if numbering is None else numbering.dress(request, self._framing))

    def _end(self) -> asyncio.Future[DomainError | None]:
        pending, self._pending, self._send = self._pending, None, None
        assert pending is not None, "a script has its end"
        return pending

    def _look(self) -> None:
        """End the question on its way when its time is up. One timer serves many questions, and is never
        further off than the least any of them has: one that is answered in time costs no timer."""
        self._timer = None
        if self._framing is None or self._pending is None or self._pending.done():
            return
        now, deadline = self._time(), self._deadline()
        if now < deadline:
            at = min(deadline, now + self._patience.least_s)
            self._timer = self._loop.call_at(at, self._look)
        else:
            self._expire()

    async def clean(self, drain_s: float) -> bool:
        """Whether a new question may use this connection; waits for an owed answer to be swallowed."""
        if self._pending is not None:
            if not self._pending.done():
                raise RuntimeError("a question is under way on this line: take a turn on its lane")
            self._spoil()  # whoever asked went away; its answer may come at any time
        if self._owed_since is not None and not self._lost:
            left = self._owed_since + drain_s - self._time()
            try:
                async with asyncio.timeout(max(left, 0)):
                    await self._settled.wait()
            except TimeoutError:
                return False
        return not self._lost

    async def silence(self) -> None:
        """Wait until the line has been quiet for long enough; let the loop look at it once more after that,
        so that stray bytes which have come already are seen and thrown away before the question."""
        if self._numbering is None:
            await asyncio.sleep(max(0, self._quiet_since + self._silence_s - self._time()))
            await asyncio.sleep(0)  # who wakes up is served before what has come in the meantime

    def abort(self) -> None:
        """Drop the connection at once."""
        self._lost = True
        self._framing = None
        if self._transport is not None:
            self._transport.abort()

    def _deadline(self) -> float:
        """When the question on its way has waited for long enough."""
        return self._asked_at + self._patience.seconds

    def _spoil(self) -> None:
        """What comes next belongs to nobody: no question may follow it on this connection."""
        self.abort()

    def _overdue(self) -> NoAnswer | FrameError:
        """What to say of an answer that did not come in time."""
        return NoAnswer("no answer in time")

    def _expire(self) -> None:
        """The one failure after which the connection goes on: its answer is owed, or has a number that
        tells it apart."""
        self._patience.exhausted()
        if self._numbering is None:
            self._owed_since = self._time()
            self._settled.clear()
        else:
            self._framing = None
        self._fail(self._overdue())

    def _fail(self, failure: LinkDown | NoAnswer | FrameError) -> None:
        if self._pending is not None and not (pending := self._end()).done():
            pending.set_exception(failure)
