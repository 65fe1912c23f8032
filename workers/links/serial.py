"""A bus on a serial port of this machine (RS-485), one question at a time, half duplex.

It differs from a connection in one thing: a wire cannot be dropped, so that nothing dies with it. After
a time-out, a broken answer or a cancelled question nothing is asked for `drain_s`, and what comes in
that time is thrown away. An answer that comes later still is taken only when it has the shape of the
question then outstanding: a meter must be quicker than the time-out and `drain_s` together.
"""

from __future__ import annotations

import asyncio
import os

from workers.protocols.errors import FrameError
from workers.protocols.framing import Asked, Framing

from .errors import LinkDown, NoAnswer
from .line import BusLink, Line, Patience, Timing
from .serial_port import SerialPort, close_port, open_port

_DRAIN_S = 0.5  # DL/T 645 lets a meter think for 500 ms (reference/meter-protocols.md 1.5)
_GAP_S = 0.5  # and pause as long between two bytes of an answer
_LONGEST = 256  # characters of an RTU frame; 645 and 188 have less
_NOISE = 8  # stray bytes before an answer: what a line picks up while it changes hands
_NOISE_S = 2.0  # a line that is not silent for so long never is


class EchoHeard(FrameError):
    """The question came back where no echo is expected, or something else where one is."""

    code = "ECHO_HEARD"


class SerialLink(BusLink):
    """The line at `port`. Opened when asked, and again when it was pulled out."""

    __slots__ = ("_port",)

    def __init__(
        self, port: SerialPort, *, answer_s: float = 1.0, drain_s: float = _DRAIN_S
    ) -> None:
        """`answer_s`: how long a meter may think; the time of the bytes on the wire comes on top."""
        super().__init__(Timing(answer_s=answer_s, drain_s=drain_s, silence_s=port.silence_s))
        self._port = port

    async def _connect(self) -> Line:
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(None, open_port, self._port)
        try:
            async with asyncio.timeout(self._timing.connect_s):
                descriptor = await asyncio.shield(opening)
        except TimeoutError as failure:
            opening.add_done_callback(_give_back)
            raise LinkDown(
                f"{self._port.device} does not open: pull it out and put it back"
            ) from failure
        except asyncio.CancelledError:
            opening.add_done_callback(_give_back)
            raise
        line = SerialLine(self._port, self._patience, self._timing.silence_s)
        _Wire(descriptor, line)
        return line


def _give_back(opening: asyncio.Future[int]) -> None:
    """Nobody waits for this port any more."""
    if not opening.cancelled() and opening.exception() is None:
        close_port(opening.result())


class SerialLine(Line):
    """An open port, with its own ideas of echo, noise, and how long an answer is on its way."""

    __slots__ = ("_echo", "_noisy_since", "_port", "_sending_s")

    def __init__(self, port: SerialPort, patience: Patience, silence_s: float) -> None:
        super().__init__(None, patience, silence_s)
        self._port = port
        self._sending_s = 0.0
        self._noisy_since: float | None = None
        self._echo = b""  # what is still to come back of the question

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As on any line; the silence before the first question begins now."""
        super().connection_made(transport)
        self._quiet_since = self._time()

    def data_received(self, data: bytes) -> None:
        """As on any line, when the echo has been taken off."""
        if self._echo and self._framing is not None:
            size = min(len(self._echo), len(data))
            if data[:size] != self._echo[:size]:
                self._fail(EchoHeard("not the echo of the question: does this adapter give one?"))
                self._spoil()
            self._echo, data = self._echo[size:], data[size:]
        super().data_received(data)

    async def clean(self, drain_s: float) -> bool:
        """As on any line; but the wire goes on when what is owed does not come."""
        while not await super().clean(drain_s) and not self._lost:
            if self._owed_since is None or self._time() >= self._owed_since + drain_s:
                self._owed_since = self._framing = None  # what has not come by now, never comes
        return not self._lost

    async def silence(self) -> None:
        """As on any line, and for as long as bytes come. Raises LinkDown when they do not end."""
        until = self._time() + _NOISE_S
        await super().silence()
        while self._time() < self._quiet_since + self._silence_s:
            if self._time() > until:
                raise self._never_silent()
            await super().silence()

    def _ask_next(self) -> None:
        now = self._time()
        if now >= self._quiet_since + self._silence_s:
            self._noisy_since = None
        elif self._noisy_since is None:
            self._noisy_since = now
        elif now > self._noisy_since + _NOISE_S and self._next is not None:
            self._next = self._noisy_since = None
            self._fail(self._never_silent())
        super()._ask_next()

    def _ask(self, question: Asked, now: float) -> None:
        request, framing = question
        self._sending_s = len(request) * self._port.character_s
        self._echo = request if self._port.echo else b""
        super()._ask((request, _Heard(request, framing)), now)

    def _deadline(self) -> float:
        """The time of the question on the wire comes on top; an answer that has begun may end."""
        due = super()._deadline() + self._sending_s
        if self._buffer:
            most = due + _LONGEST * self._port.character_s + _GAP_S
            due = max(due, min(self._quiet_since + _GAP_S, most))
        return due

    def _spoil(self) -> None:
        """Let go of the question, and ask nothing until what may come of it has come."""
        self._framing = self._pending = None
        self._owed_since = self._time()
        self._settled.clear()

    def _overdue(self) -> NoAnswer | FrameError:
        heard = self._framing
        if self._echo:
            self._echo = b""
            return NoAnswer("no answer in time, and no echo of the question: echo = false?")
        if isinstance(heard, _Heard) and heard.broken is not None:
            return heard.broken
        return super()._overdue()

    def _never_silent(self) -> LinkDown:
        return LinkDown(
            f"{self._port.device} is never silent: look at wires A and B, at baud and parity, and for "
            "somebody else who speaks on it"
        )


class _Heard:
    """The framing of one question on a wire: as `inner`, but stray bytes before the answer are passed
    over. `broken`: what is wrong with what came, while more may come."""

    __slots__ = ("_inner", "_request", "broken")

    def __init__(self, request: bytes, inner: Framing) -> None:
        self._request = request
        self._inner = inner
        self.broken: FrameError | None = None

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """See Framing.take. Raises EchoHeard too."""
        try:
            return self._inner.take(buffer)
        except FrameError as broken:
            self.broken = broken
        if buffer.startswith(self._request):
            raise EchoHeard("the question itself came back: set echo = true for this bus")
        waits = len(buffer) <= _NOISE
        for noise in range(1, min(len(buffer), _NOISE + 1)):
            try:
                frame, rest = self._inner.take(buffer[noise:])
            except FrameError:
                continue
            if frame is not None:
                return frame, rest
            waits = True
        if not waits:
            raise self.broken
        return None, buffer


class _Wire(asyncio.Transport):
    """An open port as the transport of a line; no other method is called than these two."""

    def __init__(self, descriptor: int, line: SerialLine) -> None:
        super().__init__()
        self._descriptor: int | None = descriptor
        self._line = line
        self._unsent = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)
        line.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, in place of what a stuck port may not have sent of the question before."""
        self._unsent = bytes(data)
        self._send()

    def abort(self) -> None:
        """Give the port back at once."""
        self._end(None)

    def _send(self) -> None:
        if self._descriptor is None:
            return
        try:
            self._unsent = self._unsent[os.write(self._descriptor, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as failure:
            self._end(failure)
            return
        if self._unsent:
            self._loop.add_writer(self._descriptor, self._send)
        else:
            self._loop.remove_writer(self._descriptor)

    def _read(self) -> None:
        assert self._descriptor is not None, "it is read while it is open"
        try:
            data = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return
        except OSError as failure:  # EIO, ENXIO: it was pulled out
            self._end(failure)
            return
        if data:
            self._line.data_received(data)
        else:
            self._end(None)

    def _end(self, failure: OSError | None) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
            close_port(descriptor)
            self._loop.call_soon(self._line.connection_lost, failure)
