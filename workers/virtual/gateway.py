"""A virtual serial server: one TCP port, a bus of meters behind it, their frames both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from backend.kernel.clock import Clock

from .bus import BusLine, BusMeter, VirtualBus

GATEWAY_FAULTS: Mapping[str, type] = {"offline": bool, "delay_ms": int}


class VirtualGateway:
    """Serves `meters` on `host`:`port` (0: any free port, see `port` after `start`).

    Its faults: `offline`, connections are closed and refused; `bus.delay_ms`, every answer leaves that
    much later.
    """

    def __init__(
        self,
        serial: str,
        meters: Iterable[BusMeter],
        *,
        host: str,
        port: int,
        clock: Clock,
        delay_ms: int = 0,
    ) -> None:
        self.serial = serial
        self.host = host
        self.port = port
        self.offline = False
        self.bus = VirtualBus(meters, clock=clock, delay_ms=delay_ms)
        self._server: asyncio.Server | None = None
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def meters(self) -> Mapping[str, BusMeter]:
        """The meters by bus address."""
        return self.bus.meters

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._talk, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writer in list(self._talks.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def set_offline(self, offline: bool) -> None:
        """Go off the network or come back on the same port."""
        if offline and not self.offline:
            await self.stop()
        if not offline and self.offline:
            await self.start()
        self.offline = offline

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks[task] = writer
        line = BusLine(self.bus)

        async def say(frame: bytes) -> None:
            writer.write(frame)
            await writer.drain()

        try:
            while data := await reader.read(4096):
                await line.hear(data, say)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the peer left, or the gateway goes off: nothing to tell anybody
        finally:
            del self._talks[task]
            writer.close()
