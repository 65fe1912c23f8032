"""A line for tests: frames over a plain TCP connection, each after its length in four bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from workers.links.errors import LinkDown


class WireLine:
    """See workers.gateway.talk.Line."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        try:
            self._streams = await asyncio.open_connection(*self._place)
        except OSError as failure:
            raise LinkDown("the cloud cannot be reached") from failure
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._streams is not None
        self._streams[1].close()

    async def send(self, frame: bytes, /) -> None:
        """Give a frame to the socket."""
        assert self._streams is not None
        try:
            await write_frame(self._streams[1], frame)
        except OSError as failure:
            raise LinkDown("the line is cut") from failure

    async def frames(self) -> AsyncIterator[bytes]:
        """What comes, until the line is cut."""
        assert self._streams is not None
        while (frame := await read_frame(self._streams[0])) is not None:
            yield frame
        raise LinkDown("the line is cut")


async def write_frame(writer: asyncio.StreamWriter, frame: bytes) -> None:
    """Write one frame."""
    writer.write(len(frame).to_bytes(4, "big") + frame)
    await writer.drain()


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Read one frame; None at the end."""
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        return await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError):
        return None
