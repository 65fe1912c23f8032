"""A virtual RS-485 line: meters of any protocol hear the same bytes and answer in their own tongue.

A meter is a `BusMeter`; meters of one protocol share one `Dialect`, which finds requests among the
bytes, so that thirty meters do not parse the same bytes thirty times. Whoever brings bytes (a serial
server's TCP port, a dial-in line) opens a `BusLine` for each connection and feeds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from backend.kernel.clock import Clock

from .faults import MeterFaults

_CORRUPT_AT = 3  # from the end: a data or body byte of every protocol here


class Dialect(Protocol):
    """How meters of one protocol hear. One object for all of them: it is compared by identity."""

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """Cut the first whole request frame off `buffer`: (frame, rest), or (None, rest) when more
        bytes are needed; bytes that begin no frame are dropped. Never raises."""
        ...

    def address(self, request: bytes, /) -> str | None:
        """The bus address that `request` calls, in the form of `BusMeter.bus_address`; None: it may
        be for more than one meter (broadcast, wildcard), so each meter of the dialect is asked."""
        ...

    def writes(self, request: bytes, /) -> bool:
        """Whether `request` changes something in the meter (fault drop_write_answers)."""
        ...


class BusMeter(Protocol):
    """A meter on a virtual bus, of any protocol."""

    faults: MeterFaults

    @property
    def serial(self) -> str:
        """Its name: unique in a site, the key of its memory."""
        ...

    @property
    def bus_address(self) -> str:
        """Modbus "1" to "247", 645 twelve digits, CJ/T 188 fourteen digits."""
        ...

    @property
    def dialect(self) -> Dialect:
        """The dialect it shares with its kind (a module-level object)."""
        ...

    async def answer(self, request: bytes, /) -> bytes | None:
        """Act on one whole request frame; the answer frame, or None when it says nothing (not for
        me, broadcast). What an answer tells is on disk before it is returned."""
        ...

    def memory(self) -> dict[str, Any]:
        """All that must survive a restart, as JSON values."""
        ...

    def take_up(self, memory: dict[str, Any], /) -> None:
        """Go on from what `memory` once gave."""
        ...

    def view(self) -> dict[str, Any]:
        """What the control page shows of it: at least serial, unit (its bus address), model."""
        ...

    def act(self, action: str, arguments: dict[str, Any], /) -> bool:
        """Do a one-time mishap of the control page (`rollover`, `replace`); False: not known here.

        The caller keeps `memory()` afterwards. Raises KeyError, TypeError or ValueError for arguments
        that make no sense."""
        ...


class VirtualBus:
    """`meters` on one line, one answer at a time. `delay_ms`: every answer leaves that much later."""

    def __init__(self, meters: Iterable[BusMeter], *, clock: Clock, delay_ms: int = 0) -> None:
        self.meters = {meter.bus_address: meter for meter in meters}
        self.delay_ms = delay_ms
        self.clock = clock
        self._speaking = asyncio.Lock()
        self.dialects = tuple(dict.fromkeys(meter.dialect for meter in self.meters.values()))

    async def serve(
        self, dialect: Dialect, request: bytes, say: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Let the meters that `request` calls act, and `say` what they answer."""
        address = dialect.address(request)
        if address is not None:
            meter = self.meters.get(address)
            called = [] if meter is None else [meter]
        else:
            called = [meter for meter in self.meters.values() if meter.dialect is dialect]
        for meter in called:  # nobody at this address: silence, as on a real bus
            await self._ask(meter, dialect.writes(request), request, say)

    async def _ask(
        self,
        meter: BusMeter,
        writes: bool,
        request: bytes,
        say: Callable[[bytes], Awaitable[None]],
    ) -> None:
        faults = meter.faults
        if faults.mute(int(self.clock.now().timestamp())) or faults.use("lose_requests"):
            return
        async with self._speaking:
            frame = await meter.answer(request)
        if frame is None:
            return
        if delay_ms := faults.delay_ms + self.delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        if writes and faults.use("drop_write_answers"):
            return
        if faults.use("drop_answers"):
            return
        if faults.use("corrupt_answers"):
            at = len(frame) - _CORRUPT_AT
            frame = frame[:at] + bytes([frame[at] ^ 0x10]) + frame[at + 1 :]
        await say(frame)
        if faults.use("double_answers"):
            await say(frame)


class BusLine:
    """The bytes of one connection on a bus, cut into requests by each dialect that is spoken there."""

    def __init__(self, bus: VirtualBus) -> None:
        self._bus = bus
        self._buffers: dict[Dialect, bytes] = dict.fromkeys(bus.dialects, b"")

    async def hear(self, data: bytes, say: Callable[[bytes], Awaitable[None]]) -> None:
        """Take `data` in, in pieces of any size; answers leave by `say`, each one whole."""
        for dialect, buffer in self._buffers.items():
            self._buffers[dialect] = buffer + data
        while (heard := self._next()) is not None:
            await self._bus.serve(*heard, say)

    def _next(self) -> tuple[Dialect, bytes] | None:
        """The request that was heard first: the one that leaves the most behind it."""
        first: tuple[Dialect, bytes, bytes] | None = None
        for dialect, buffer in self._buffers.items():
            request, rest = dialect.take(buffer)
            if request is None:
                self._buffers[dialect] = rest
            elif first is None or len(rest) > len(first[2]):
                first = (dialect, request, rest)
        if first is None:
            return None
        # What one dialect understood is noise to the others: they go on behind it.
        dialect, request, rest = first
        for other, buffer in self._buffers.items():
            self._buffers[other] = min(buffer, rest, key=len)
        return dialect, request
