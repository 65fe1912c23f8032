"""A virtual serial port: a pseudo terminal, a bus of meters behind it, for who opens ports by name.

It carries bytes as a wire does, and has no speed, no parity and no noise of its own.
"""

from __future__ import annotations

import asyncio
import os
import tty
from contextlib import suppress

from .bus import BusLine, VirtualBus


class VirtualSerialLine:
    """`bus` behind a terminal; open `path` (known after `start`) as a serial port.

    `echo`: what is said on the line comes back before any answer, as many RS-485 adapters do.
    """

    def __init__(self, bus: VirtualBus, *, echo: bool = False) -> None:
        self.path = ""
        self.echo = echo
        self._bus = bus
        self._wire: int | None = None
        self._plug = -1
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Plug it in. Raises OSError when the machine has no terminal left."""
        self._wire, self._plug = os.openpty()  # the plug stays open: readers come and go
        tty.setraw(self._plug)
        os.set_blocking(self._wire, False)
        self.path = os.ttyname(self._plug)
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        asyncio.get_running_loop().add_reader(self._wire, self._read, self._wire, heard)
        self._task = asyncio.create_task(self._talk(heard))

    async def stop(self) -> None:
        """Pull it out: whoever has it open loses it, and its name is gone."""
        wire, self._wire = self._wire, None
        if wire is None or self._task is None:
            return
        asyncio.get_running_loop().remove_reader(wire)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        os.close(wire)
        os.close(self._plug)

    async def say(self, data: bytes) -> None:
        """Put bytes on the line: a meter's answer, or noise. Nobody listens: they are lost."""
        if self._wire is not None:
            with suppress(BlockingIOError):  # a wire keeps nothing for later
                os.write(self._wire, data)

    def _read(self, wire: int, heard: asyncio.Queue[bytes]) -> None:
        heard.put_nowait(os.read(wire, 4096))

    async def _talk(self, heard: asyncio.Queue[bytes]) -> None:
        line = BusLine(self._bus)
        while True:
            data = await heard.get()
            if self.echo:
                await self.say(data)
            await line.hear(data, self.say)
