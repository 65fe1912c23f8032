"""One sweep of one bus: its meters asked one after the other, and what they said (A8, C22, C25)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from types import coroutine
from typing import Protocol
from uuid import UUID

from backend.kernel.errors import Conflict, DomainError, NotFound
from backend.kernel.metrics import READINGS
from backend.metering.on_buses import SweptMeter
from workers.drivers.modbus_reading import WrongModel
from workers.drivers.ports import CanRead, MeterSnapshot, Taken
from workers.links.errors import NoAnswer
from workers.protocols.errors import FrameError, MeterRefused
from workers.protocols.framing import Asked

log = logging.getLogger(__name__)


class Held(Protocol):
    """A bus that a round holds; see buses.Turn."""

    def scripted(self, meter: SweptMeter, /) -> CanRead:
        """The driver of a meter, for a script that is played. Raises NotFound."""
        ...

    @property
    def wanted(self) -> bool:
        """Whether somebody else waits for the bus."""
        ...


class Round:
    """The meters that are still to ask, and what was taken."""

    def __init__(self, meters: list[SweptMeter], now: Callable[[], datetime]) -> None:
        """`meters` is used up: of a meter that was asked only its answer is kept."""
        self._now = now
        self._left = meters
        self._left.reverse()
        # Lists side by side: triples would cost a fleet that waits for the database 64 bytes a meter more.
        self._asked: list[UUID] = []
        self._drivers: list[CanRead] = []
        self._said: list[bytes | Taken] = []
        self._at: list[datetime] = []
        self._reached = False

    @property
    def reached(self) -> bool:
        """Whether anything behind the gateway was heard."""
        return self._reached or bool(self._said)

    @property
    def over(self) -> bool:
        """Whether all were asked."""
        return not self._left

    def snapshots(self) -> Iterator[tuple[UUID, MeterSnapshot, datetime]]:
        """Who answered, what it shows, and when that was. What cannot be believed is left out and told."""
        heard = zip(self._asked, self._drivers, self._said, self._at, strict=True)
        for meter_id, driver, said, at in heard:
            try:
                shown = driver.shown(said) if isinstance(said, bytes) else said.snapshot()
            except FrameError as error:
                READINGS.labels(outcome=error.code.lower()).inc()
            except WrongModel as error:
                note_unreadable(meter_id, error)
            else:
                yield meter_id, shown, at

    async def script(self, held: Held) -> None:
        """Ask one meter after the other, until somebody else wants the bus: a vend waits for one meter at
        most. Raises LinkDown."""
        await self._ask_some(held)

    @coroutine
    def _ask_some(self, held: Held) -> Generator[Asked, bytes, None]:
        """What a meter is asked by one question goes straight to whoever plays the script: a coroutine in
        between is felt in a hundred thousand exchanges. All else a meter may need is its driver's."""
        while self._left:
            meter = self._left.pop()
            if not meter.tries:
                continue
            try:
                driver = held.scripted(meter)
                question, tries = driver.only_question, meter.tries
                answer: bytes | None = None
                if question is not None:
                    try:
                        answer = yield question
                    except (NoAnswer, FrameError):
                        tries -= 1
                        if not tries:
                            raise
                said: bytes | Taken
                if question and answer and len(answer) == question.expected.size:
                    said = answer
                else:
                    said = yield from take(driver, tries, answer).__await__()
            except (NoAnswer, FrameError, MeterRefused) as error:
                self._reached = self._reached or not isinstance(error, NoAnswer)
                READINGS.labels(outcome=error.code.lower()).inc()
            except (Conflict, NotFound, WrongModel) as error:
                note_unreadable(meter.id, error)
            else:
                self._asked.append(meter.id)
                self._drivers.append(driver)
                self._said.append(said)
                self._at.append(self._now())
            if held.wanted:
                return


async def take(driver: CanRead, tries: int, answer: bytes | None = None) -> Taken:
    """What a meter says in so many tries; see CanRead.take, whose errors are raised."""
    while True:
        tries -= 1
        try:
            return await driver.take(answer)
        except (NoAnswer, FrameError):
            if tries <= 0:
                raise
            answer = None


def note_unreadable(meter_id: UUID, error: DomainError) -> None:
    """Tell of a meter that no repeating makes readable: its profile or its wiring is wrong."""
    READINGS.labels(outcome=error.code.lower()).inc()
    why = {"meter": str(meter_id), "code": error.code, "reason": error.message}
    log.warning("meter cannot be read", extra={"fields": why})
