"""A bus behind a TCP connection: a serial server."""

from __future__ import annotations

import asyncio

from .errors import LinkDown
from .line import BusLink, Line, Timing
from .mbap import MbapFraming


class TcpLink(BusLink):
    """A serial server at `host`:`port`. Connects when asked, and again after a loss.

    `numbered`: it speaks Modbus TCP, else it passes on the bytes of the bus as they are.
    """

    __slots__ = ("_host", "_numbered", "_port")

    def __init__(
        self, host: str, port: int, *, timing: Timing | None = None, numbered: bool = False
    ) -> None:
        super().__init__(timing or Timing())
        self._host = host
        self._port = port
        self._numbered = numbered

    async def _connect(self) -> Line:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timing.connect_s):
                _, line = await loop.create_connection(self._new_line, self._host, self._port)
        except (OSError, TimeoutError) as failure:
            raise LinkDown("the gateway cannot be reached") from failure
        return line

    def _new_line(self) -> Line:
        numbering = MbapFraming() if self._numbered else None
        return Line(numbering, self._patience, self._timing.silence_s)
