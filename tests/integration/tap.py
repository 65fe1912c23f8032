"""A tap in the pipe between the application and PostgreSQL: real sockets, shut when told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from backend.kernel.db import Database


class Tap:
    """Passes bytes on while open; what is sent while it is shut waits."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._open = asyncio.Event()
        self._open.set()
        self._hangs_up = asyncio.Event()
        self._hangs_up.set()
        self._pipes: set[asyncio.Task[None]] = set()
        self.waiting = asyncio.Semaphore(0)  # released once for every chunk or end that is held up

    def shut(self) -> None:
        """Let nothing through."""
        self._open.clear()

    def reopen(self) -> None:
        """Let everything through, also what waited, and ends."""
        self._open.set()
        self._hangs_up.set()

    def keep_on_the_line(self) -> None:
        """Whose server hangs up is not told so until `reopen`, though he hears its last words."""
        self._hangs_up.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: two pipes."""
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            pipe = asyncio.create_task(self._pipe(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(65_536):
                if not self._open.is_set():
                    self.waiting.release()
                    await self._open.wait()
                sink.write(chunk)
                await sink.drain()
        except ConnectionError:
            pass  # one side hung up: so does the other, below
        finally:
            if not self._hangs_up.is_set():
                self.waiting.release()
                await self._hangs_up.wait()
            sink.close()


@asynccontextmanager
async def tapped(dsn: str) -> AsyncIterator[tuple[str, Tap]]:
    """The address of a tap before `dsn`, and the tap."""
    parts = urlsplit(dsn)
    assert parts.hostname is not None
    tap = Tap(parts.hostname, parts.port or 5432)
    server = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    credentials = parts.netloc.rsplit("@", 1)[0]
    try:
        yield parts._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl(), tap
    finally:
        tap.reopen()
        server.close()


@asynccontextmanager
async def pool_of(dsn: str, size: int) -> AsyncIterator[None]:
    """The process's pool, of so many connections."""
    await Database.open(dsn, pool_max=size)
    try:
        yield
    finally:
        await Database.close()
