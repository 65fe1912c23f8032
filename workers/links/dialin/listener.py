"""Where dial-ins arrive: a stranger names itself within bounds and becomes a line, or is closed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import cast

from backend.kernel.errors import DomainError
from backend.kernel.keep_alive import KeepAlive, keep_alive

from .budget import Budget
from .line import Line, Lines
from .ports import (
    DialInProtocol,
    DialInRow,
    Directory,
    Event,
    Gone,
    Limits,
    Named,
    Refused,
    Registered,
    Reply,
    Watch,
)

_STRANGER_BURST = 16 * 1024
# A mobile network forgets an idle connection without telling either end.
_KEEP_ALIVE = KeepAlive(idle_s=60, interval_s=15, count=4)


class Listener:
    """One port for dial-ins of one `link` (DTU, ACREL_GATEWAY, ACREL_4G)."""

    def __init__(
        self,
        link: str,
        *,
        make: Callable[[], DialInProtocol],
        directory: Directory,
        lines: Lines,
        watch: Watch,
        limits: Limits | None = None,
    ) -> None:
        self.link = link
        self.limits = limits or Limits()
        self.directory = directory
        self.lines = lines
        self.watch = watch
        self.port = 0
        self._make = make
        self._server: asyncio.Server | None = None
        self._callers: set[_Caller] = set()
        self._strangers: Counter[str] = Counter()

    async def start(self, host: str, port: int) -> None:
        """Listen (port 0: any free one, see `port`). Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Caller(self, self._make()), host, port, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection that came by it."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for caller in list(self._callers):
            caller.cut()

    def room_for(self, address: str) -> bool:
        """Whether one more stranger from `address` may come in."""
        few = self._strangers.total() < self.limits.strangers
        return few and self._strangers[address] < self.limits.strangers_of_address

    def came(self, caller: _Caller) -> None:
        """A stranger is connected."""
        self._callers.add(caller)
        self._strangers[caller.address] += 1

    def knows(self, caller: _Caller) -> None:
        """It is a stranger no more, because it is registered or gone."""
        self._strangers[caller.address] -= 1
        if not self._strangers[caller.address]:
            del self._strangers[caller.address]

    def went(self, caller: _Caller) -> None:
        """A connection ended."""
        self._callers.discard(caller)


class _Caller(asyncio.Protocol):
    """One connection: a stranger until `_line` is there."""

    def __init__(self, listener: Listener, protocol: DialInProtocol) -> None:
        self._listener = listener
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._line: Line | None = None
        self._row: DialInRow | None = None
        self._stranger = False
        self._budget = Budget(burst=_STRANGER_BURST, steady=0, now_s=0)
        self._named: Named | None = None
        self._lookups = 0
        self._settling: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transport is no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        if not self._listener.room_for(self.address):
            self._turn_away("too many strangers")
            return
        self._stranger = True
        self._listener.came(self)
        self._deadline = self._loop.call_later(self._listener.limits.register_s, self._time_is_up)
        keep_alive(self._transport, _KEEP_ALIVE)

    def data_received(self, data: bytes) -> None:
        if self._line is not None:
            self._line.received(data)
            return
        if not self._stranger or not self._budget.take(len(data), now_s=0):
            self._turn_away("too much before a registration")
            return
        self._handle(self._protocol.received(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_stranger()
        if self._looking is not None:
            self._looking.cancel()
        self._listener.went(self)
        if self._line is not None:
            self._listener.lines.detach(self._line)

    def cut(self) -> None:
        """End the connection."""
        if self._line is not None:
            self._line.drop("the listener closes")
        elif self._transport is not None:
            self._transport.abort()

    def _handle(self, events: Iterable[Event]) -> None:
        waiting = list(events)
        while waiting:
            event = waiting.pop(0)
            match event:
                case Named():
                    self._settle(event)
                case Reply(data):
                    assert self._transport is not None
                    self._transport.write(data)
                case Registered():
                    self._register().handle(waiting)
                    return
                case Refused(reason):
                    assert self._row is not None
                    self._listener.watch.refused(self._row, self.address, reason=reason)
                    self._close_politely()
                    return
                case Gone(reason):
                    self._turn_away(reason)
                    return
                case _:
                    pass  # nothing else is believed from a stranger

    def _settle(self, named: Named) -> None:
        """Look up when it has been quiet for a moment: TCP may bring a registration in parts."""
        self._named = named
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self._loop.call_later(self._listener.limits.settle_s, self._look_up, named)

    def _time_is_up(self) -> None:
        """What it said until now was all. Without a word, or with a login begun, that is too little."""
        if self._named is None or self._row is not None or self._looking is not None:
            self._turn_away("it did not register in time")
        else:
            self._look_up(replace(self._named, whole=True))

    def _look_up(self, named: Named) -> None:
        self._settling = None
        if self._looking is not None or self._row is not None:
            return
        self._lookups += 1
        if self._lookups > self._listener.limits.lookups:
            self._turn_away("a registration in too many parts")
            return
        self._looking = self._loop.create_task(self._identify(named))

    async def _identify(self, named: Named) -> None:
        listener = self._listener
        try:
            row = await listener.directory.find(listener.link, named.candidates, whole=named.whole)
        except DomainError as failure:
            self._turn_away(f"nobody can be looked up: {failure.code}")
            return
        finally:
            self._looking = None
        if not self._stranger:
            return
        if row is not None:
            self._row = row
            self._handle(self._protocol.admit(row))
        elif named.whole:
            listener.watch.unknown(listener.link, named.candidates[-1], self.address)
            self._close_politely()

    def _register(self) -> Line:
        assert self._row is not None
        assert self._transport is not None
        self._no_stranger()
        listener = self._listener
        line = Line(
            self._row, self._protocol, self._transport, limits=listener.limits, watch=listener.watch
        )
        self._line = line
        listener.lines.attach(line)
        return line

    def _no_stranger(self) -> None:
        if self._stranger:
            self._stranger = False
            self._listener.knows(self)
        for timer in (self._deadline, self._settling):
            if timer is not None:
                timer.cancel()

    def _turn_away(self, reason: str) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._listener.watch.turned_away(self._listener.link, self.address, reason=reason)
        self._transport.abort()

    def _close_politely(self) -> None:
        """Close after what was written has gone out (an answer "fail"), but hear nothing more."""
        self._no_stranger()
        assert self._transport is not None
        self._transport.close()
