"""A connection of the inner door joined to a line: bus bytes both ways, and an end at once."""

from __future__ import annotations

import asyncio

from .line import Line

_CHUNK = 1024
_MOST_UNREAD = 64 * 1024


class Pipe:
    """The door's end of a spliced line; a LineUser."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def given(self, data: bytes, /) -> None:
        """See LineUser.given. Who reads nothing for long loses the pipe."""
        if self._writer.is_closing():
            return
        self._writer.write(data)
        if self._writer.transport.get_write_buffer_size() > _MOST_UNREAD:
            self._writer.transport.abort()

    def lost(self) -> None:
        """See LineUser.lost: the other end must see the end at once, after what was given."""
        self._writer.close()

    async def carry(self, line: Line, reader: asyncio.StreamReader) -> None:
        """Pass on what comes until either end is gone."""
        while data := await reader.read(_CHUNK):
            line.ask(self, data)
