"""A transparent DTU: registration, heartbeats, and the bus bytes between them.

The DTU (a 4G or Ethernet box before an RS-485 bus) is a TCP client. It sends a registration of up to 40
bytes once after connecting, or before every packet as well, and heartbeat bytes of its own at any time;
TCP glues and splits all of it. Source: reference/meter-protocols.md section 6.4 [S].

What is knowable: bytes alone do not tell a heartbeat from an answer, for a frame may hold the heartbeat's
bytes. But the questions pass here, and a question tells what its answer looks like (`expected`). So:

- At a border between frames the answer is tried first, and its check sum decides. Only what cannot be
  the answer is looked at as a heartbeat or a registration and taken out. So their bytes are never cut
  out of a frame, and a heartbeat that looks like the beginning of an answer is still found.
- Inside a frame nothing is taken out. A DTU that puts a heartbeat into the middle of an answer spoils
  that answer: it goes on as it came, its check sum fails, and the question is asked again (C9).
- What nobody asked for is dropped, also what follows an answer.
- After a question that we do not know, and after bytes that can be nothing known, everything goes on as
  it comes until the next question; whoever asked decides.

No registration proves anything: whoever sends these bytes is the DTU, and takes the line from the one
before. Where it matters: an APN or VPN of its own, or random user bytes as the registration.
"""

from __future__ import annotations

from collections.abc import Sequence

from workers.protocols.errors import FrameError, LongAnswer
from workers.protocols.framing import Framing

from .expected import MOST_BYTES, answer_to
from .ports import Beat, BusBytes, DialInRow, Event, Gone, Named, Registered

SHORTEST, LONGEST = 4, 40
_OPENING = 256


class Dtu:
    """One DTU's connection; see DialInProtocol."""

    def __init__(self) -> None:
        self._row: DialInRow | None = None
        self._marks: tuple[bytes, ...] = ()
        self._buffer = b""
        self._request = b""
        self._expected: Framing | None = None
        self._asking = False
        self._begun = False

    @property
    def asking(self) -> bool:
        """See DialInProtocol.asking."""
        return self._asking

    def received(self, data: bytes, /) -> Sequence[Event]:
        """See DialInProtocol.received."""
        self._buffer += data
        if self._row is not None:
            return self._sort()
        if len(self._buffer) > _OPENING:
            return [Gone(f"more than {_OPENING} bytes and no registration")]
        lengths = range(SHORTEST, min(LONGEST, len(self._buffer)) + 1)
        candidates = tuple(self._buffer[:length] for length in lengths)
        return [Named(candidates, whole=len(self._buffer) >= LONGEST)] if candidates else []

    def admit(self, row: DialInRow, /) -> Sequence[Event]:
        """See DialInProtocol.admit. What follows the registration must be heartbeats: a short
        registration on the list must not catch those whose longer one begins alike."""
        self._row = row
        marks = {mark for mark in (row.registration, row.heartbeat) if mark}
        self._marks = tuple(sorted(marks, key=len, reverse=True))
        self._buffer = self._buffer[len(row.registration) :]
        while self._strip():
            pass
        if self._tail(self._buffer) != self._buffer:
            return [Gone("other bytes follow the registration")]
        if not row.prefix:
            # Sent once: from here on the same bytes are the bus's own.
            self._marks = tuple(mark for mark in self._marks if mark == row.heartbeat)
            self._buffer = self._tail(self._buffer)
        return [Registered()]

    def wrap(self, bus_bytes: bytes, /) -> bytes:
        """See DialInProtocol.wrap: the bytes as they are. A new question ends the one before."""
        if not self._asking or self._begun or self._expected is not None:
            self._request = b""
        self._request += bus_bytes
        if len(self._request) > MOST_BYTES:
            raise LongAnswer(f"a question of more than {MOST_BYTES} bytes")
        self._asking, self._begun = True, False
        self._expected = answer_to(self._request)
        self._buffer = self._tail(self._buffer)
        return bus_bytes

    def _sort(self) -> list[Event]:
        events: list[Event] = []
        while self._buffer:
            if self._expected is not None:
                if not self._cut_answer(events):
                    break
            elif self._strip():
                events.append(Beat())
            elif self._asking:
                self._pass_on(events)
            else:
                tail = self._tail(self._buffer)
                if tail == self._buffer:
                    break
                self._buffer = tail  # nobody asked for it
        return events

    def _cut_answer(self, events: list[Event]) -> bool:
        """One step at a border while an answer is due; whether there is a next one."""
        assert self._expected is not None
        try:
            frame, self._buffer = self._expected.take(self._buffer)
        except FrameError:
            if self._strip():
                events.append(Beat())
                return True
            if self._tail(self._buffer) == self._buffer:
                return False  # half a heartbeat
            self._pass_on(events)
            return False
        if frame is None:
            return False
        self._asking, self._expected = False, None
        events.append(BusBytes(frame))
        return True

    def _pass_on(self, events: list[Event]) -> None:
        """Everything as it came, until the next question."""
        self._begun, self._expected = True, None
        events.append(BusBytes(self._buffer))
        self._buffer = b""

    def _strip(self) -> bool:
        """Take one heartbeat or registration off the front, but nothing once bytes were passed on, nor
        while the longer of two that begin alike may still come."""
        if self._begun and self._asking:
            return False
        if any(mark != self._buffer and mark.startswith(self._buffer) for mark in self._marks):
            return False
        for mark in self._marks:
            if self._buffer.startswith(mark):
                self._buffer = self._buffer[len(mark) :]
                return True
        return False

    def _tail(self, buffer: bytes) -> bytes:
        """The longest end of `buffer` with which a heartbeat or registration may begin."""
        longest = max((len(mark) - 1 for mark in self._marks), default=0)
        for size in range(min(longest, len(buffer)), 0, -1):
            if any(mark.startswith(buffer[-size:]) for mark in self._marks):
                return buffer[-size:]
        return b""
