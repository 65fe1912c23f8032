"""The inner door: how another process of ours reaches a line that this one holds. Private network only.

    BUS <token> <gateway id>\\n  ->  OK\\n, then bytes of that gateway's bus both ways
    CMD <token> <gateway id>\\n  ->  OK\\n, then for each JSON line {"cmd": {..}} a line {"res": {..}}
                                 or {"error": code}
    NO NOT_CONNECTED\\n, NO BUSY\\n or NO REFUSED\\n and the end, when it cannot be had

The token is shared by our processes and compared in constant time; it goes over the wire as it is, so
the door listens on loopback or on a private network and nowhere else.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast
from uuid import UUID

from backend.kernel.errors import DomainError, InvalidInput

from .dialin.line import LineBusy, Lines
from .dialin.pipe import Pipe
from .errors import LinkDown, NoAnswer

Command = Callable[[UUID, dict[str, object]], Awaitable[dict[str, object]]]

SHORTEST_TOKEN = 16
_OK = b"OK\n"
_NO_LINE = (asyncio.IncompleteReadError, asyncio.LimitOverrunError)
_OPENING = 256
_MOST_JSON = 64 * 1024

Made = TypeVar("Made", bound=asyncio.Protocol)


class DoorRefused(LinkDown):
    """The door does not know this token: a setting is wrong, the gateway may be well. Nothing was sent."""

    code = "DOOR_REFUSED"


@dataclass(frozen=True, slots=True)
class DoorAddress:
    """Where the door is, and its token."""

    host: str
    port: int
    token: str = field(repr=False)


class Door:
    """The server. `command` answers for sealed gateways; without it CMD finds nobody connected."""

    def __init__(
        self,
        *,
        token: str,
        lines: Lines,
        command: Command | None = None,
        opening_s: float = 5.0,
        most: int = 4096,
    ) -> None:
        if len(token) < SHORTEST_TOKEN:
            raise InvalidInput(f"the door's token has fewer than {SHORTEST_TOKEN} characters")
        self._token = token.encode()
        self._lines = lines
        self._command = command
        self._opening_s = opening_s
        self._most = most
        self._server: asyncio.Server | None = None
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen (port 0: any free one, see `port`). Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._talk, host, port, limit=_MOST_JSON)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        talks = list(self._talks.items())
        for task, writer in talks:
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*(task for task, _ in talks), return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks[task] = writer
        try:
            if len(self._talks) <= self._most:
                await self._answer(reader, writer)
        except (ConnectionError, TimeoutError, ValueError, *_NO_LINE):
            pass  # it left, said nothing, or more than a line may hold: nobody to tell
        except asyncio.CancelledError:
            pass  # the door closes
        finally:
            del self._talks[task]
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._opening_s):
            opening = await reader.readuntil(b"\n")
        word, gateway_id = self._read(opening)
        if gateway_id is None:
            writer.write(b"NO REFUSED\n")
        elif word == b"BUS":
            await self._bus(gateway_id, reader, writer)
        elif self._command is None:
            writer.write(b"NO NOT_CONNECTED\n")
        else:
            writer.write(_OK)
            await self._commands(self._command, gateway_id, reader, writer)

    def _read(self, opening: bytes) -> tuple[bytes, UUID | None]:
        """The word and the gateway; no gateway when the token, the word or the id is not right."""
        word, _, rest = opening[:_OPENING].strip().partition(b" ")
        token, _, gateway = rest.partition(b" ")
        if not hmac.compare_digest(token, self._token) or word not in (b"BUS", b"CMD"):
            return word, None
        try:
            return word, UUID(gateway.decode("ascii", "replace"))
        except ValueError:
            return word, None

    async def _bus(
        self, gateway_id: UUID, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line, pipe = self._lines.get(gateway_id), Pipe(writer)
        try:
            if line is None:
                raise LinkDown("the gateway is not connected")
            await line.join(pipe)
        except LineBusy:
            writer.write(b"NO BUSY\n")
            return
        except LinkDown:
            writer.write(b"NO NOT_CONNECTED\n")
            return
        try:
            writer.write(_OK)
            await pipe.carry(line, reader)
        finally:
            line.leave(pipe)

    async def _commands(
        self,
        command: Command,
        gateway_id: UUID,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        while asked := await reader.readline():
            try:
                answer: dict[str, object] = {"res": await command(gateway_id, _cmd_of(asked))}
            except DomainError as error:
                answer = {"error": error.code}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()


def _cmd_of(line: bytes) -> dict[str, object]:
    try:
        asked = json.loads(line)
    except ValueError as wrong:
        raise InvalidInput("a command is a line of JSON") from wrong
    cmd = asked.get("cmd") if isinstance(asked, dict) else None
    if not isinstance(cmd, dict):
        raise InvalidInput("a command is {'cmd': {..}}", field="cmd")
    return cmd


async def open_bus(
    door: DoorAddress, make: Callable[[], Made], *, gateway_id: UUID, timeout_s: float
) -> tuple[asyncio.Transport, Made]:
    """A connection to a gateway's bus, in the hands of the protocol that `make` makes.

    As loop.create_connection, but `connection_made` comes when the door has said OK, so that whatever
    the protocol writes goes to the bus. `timeout_s` must be longer than Limits.owed_s: the door may
    first wait for an answer owed to somebody before. Raises LinkDown (its kinds LineBusy and DoorRefused
    too); nothing was sent to the bus.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[tuple[asyncio.Transport, Made]] = loop.create_future()
    knock = _Knock(make, opened, opening=_opening("BUS", door, gateway_id))
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: knock, door.host, door.port)
            return await opened
    except (OSError, TimeoutError) as failure:
        raise LinkDown("the door cannot be reached") from failure
    finally:
        knock.give_up()


async def send_command(
    door: DoorAddress, *, gateway_id: UUID, cmd: dict[str, object], timeout_s: float
) -> dict[str, object]:
    """One command to a sealed gateway: {"res": {..}} or {"error": code}, as the door answers.

    Raises LinkDown (nothing was sent), NoAnswer (it may have been done).
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(door.host, door.port, limit=_MOST_JSON)
    except (OSError, TimeoutError) as failure:
        raise LinkDown("the door cannot be reached") from failure
    try:
        async with asyncio.timeout(timeout_s):
            try:
                writer.write(_opening("CMD", door, gateway_id))
                said = await reader.readline()
            except (OSError, TimeoutError, ValueError) as failure:
                raise LinkDown("the door said nothing") from failure
            if said != _OK:
                raise _refusal(said)
            return await _one_command(reader, writer, cmd)
    except TimeoutError as late:
        raise NoAnswer(f"no answer within {timeout_s} s") from late
    finally:
        writer.close()


async def _one_command(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cmd: dict[str, object]
) -> dict[str, object]:
    try:
        writer.write(json.dumps({"cmd": cmd}).encode() + b"\n")
        answer = json.loads(await reader.readline())
    except (OSError, ValueError) as failure:
        raise NoAnswer("the connection ended before the answer came") from failure
    if not isinstance(answer, dict):
        raise NoAnswer("the door answered something else")
    return answer


def _opening(word: str, door: DoorAddress, gateway_id: UUID) -> bytes:
    return f"{word} {door.token} {gateway_id}\n".encode()


def _refusal(said: bytes) -> LinkDown:
    match said.strip():
        case b"NO BUSY":
            return LineBusy("somebody else waits for this line")
        case b"NO REFUSED":
            return DoorRefused("the door does not take the token")
        case b"NO NOT_CONNECTED":
            return LinkDown("the gateway is not connected")
    return LinkDown("the door closed")


class _Knock(asyncio.Protocol, Generic[Made]):
    """Says the opening and hands the connection over in the same instant in which OK comes, so that an
    end right after it is told to the new owner."""

    def __init__(
        self,
        make: Callable[[], Made],
        opened: asyncio.Future[tuple[asyncio.Transport, Made]],
        *,
        opening: bytes,
    ) -> None:
        self._make = make
        self._opened = opened
        self._opening = opening
        self._transport: asyncio.Transport | None = None
        self._said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transport is no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._opening)

    def data_received(self, data: bytes) -> None:
        self._said += data
        line, end, rest = self._said.partition(b"\n")
        if not end and len(line) <= _OPENING:
            return
        if line + end != _OK:
            self._fail(_refusal(line))
        elif self._transport is not None and not self._opened.done():
            made = self._make()
            self._transport.set_protocol(made)
            made.connection_made(self._transport)
            if rest:
                made.data_received(rest)
            self._opened.set_result((self._transport, made))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(_refusal(self._said))

    def give_up(self) -> None:
        """Nobody waits any more: without an OK the connection ends."""
        kept = self._opened.done() and not self._opened.cancelled()
        if self._transport is not None and (not kept or self._opened.exception() is not None):
            self._transport.abort()

    def _fail(self, failure: LinkDown) -> None:
        if not self._opened.done():
            self._opened.set_exception(failure)
