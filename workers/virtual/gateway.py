"""A virtual serial server: one TCP port, a bus of meters behind it, RTU frames both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from pymodbus.pdu import ModbusPDU

from workers.protocols.modbus import frame_of, take_request

from .meter import VirtualMeter

_READS = (1, 2, 3, 4)


@dataclass(slots=True)
class GatewayFaults:
    """offline: connections are closed and refused. delay_ms: every answer leaves that much later."""

    offline: bool = False
    delay_ms: int = 0


class VirtualGateway:
    """Serves `meters` on `host`:`port` (0: any free port, see `port` after `start`)."""

    def __init__(
        self,
        serial: str,
        meters: Iterable[VirtualMeter],
        *,
        host: str,
        port: int,
        delay_ms: int = 0,
    ) -> None:
        self.serial = serial
        self.host = host
        self.port = port
        self.faults = GatewayFaults(delay_ms=delay_ms)
        self.meters = {meter.spec.unit: meter for meter in meters}
        self._bus = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

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
        if offline and not self.faults.offline:
            await self.stop()
        if not offline and self.faults.offline:
            await self.start()
        self.faults.offline = offline

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks[task] = writer
        buffer = b""
        try:
            while data := await reader.read(4096):
                buffer += data
                while True:
                    request, buffer = take_request(buffer)
                    if request is None:
                        break
                    await self._serve(request, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the peer left, or the gateway goes off: nothing to tell anybody
        finally:
            del self._talks[task]
            writer.close()

    async def _serve(self, request: ModbusPDU, writer: asyncio.StreamWriter) -> None:
        meter = self.meters.get(request.dev_id)
        if meter is None:
            return  # nobody at this address: silence, as on a real bus
        faults = meter.faults
        if faults.silent or faults.use("lose_requests"):
            return
        async with self._bus:
            frame = frame_of(await meter.answer(request))
        if delay_ms := faults.delay_ms + self.faults.delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        if request.function_code not in _READS and faults.use("drop_write_answers"):
            return
        if faults.use("drop_answers"):
            return
        if faults.use("corrupt_answers"):
            frame = frame[:-3] + bytes([frame[-3] ^ 0x10]) + frame[-2:]
        writer.write(frame)
        await writer.drain()
