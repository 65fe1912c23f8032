"""One command at its meter, by whoever holds the bus: what the meter shows, what follows, the write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeVar

from backend.control.command_rules import (
    CommandFacts,
    CommandKind,
    CommandState,
    CommandStep,
    Family,
    Sight,
    compare_clock,
    compare_relay,
    compare_settings,
    decide_command,
    family_of,
    pause_of,
)
from backend.control.command_steps import End, Waiting, Writing
from backend.control.commands import Command
from backend.journeys.serve_command import CommandWork
from backend.kernel.band_calendar import calendar_of
from backend.kernel.clock import Clock
from backend.kernel.errors import DomainError, Unavailable
from backend.kernel.money import ZERO
from backend.metering.readings import Reading
from backend.metering.rules import MeterKind, may_be_the_same
from backend.uplink.errors import CommandExpired
from workers.buses import Turn
from workers.drivers.ports import Driver, MeterSnapshot, Relay
from workers.drivers.settings_numbers import (
    held_calendar,
    numbers_of_limits,
    numbers_of_thresholds,
    ordered_limits,
    thresholds_of,
)
from workers.links.errors import LinkDown, NoAnswer
from workers.profiles.loader import profile_of
from workers.protocols.errors import FrameError, MeterRefused
from workers.recording import reading_of

WRITES_A_TRY = 3
T = TypeVar("T")


class _Look(NamedTuple):
    """What the meter shows: the relay (True closed, None not read or not told) and what that tells of
    the command."""

    sight: Sight
    shown: str
    relay: bool | None = None
    snapshot: MeterSnapshot | None = None


class OtherMeter(DomainError):
    """What answers at the meter's address is not the meter of the archive; nothing was written."""

    code = "OTHER_METER"


class AtMeter:
    """A command on its errand. `open`: there is something to do about it now. When it is not, `end` says how
    it ended, or `again_at` when to look again, or `failure` why it could not be served; or it was nobody's
    business any more. `writes_left`: how often it may still be written on this errand."""

    def __init__(self, work: CommandWork, clock: Clock) -> None:
        self.command: Command = work.command
        self.meter = work.meter
        self._accepted_at = work.command.accepted_at
        self.open = True
        self.end: End | None = None
        self.again_at: datetime | None = None
        self.failure: Unavailable | None = None
        self.reading: Reading | None = None
        self._clock = clock
        self._words = ""
        self._relay: bool | None = None
        self._looked_at = work.command.issued_at
        self.writes_left = WRITES_A_TRY
        self._refusal: str | None = None

    async def look(self, turn: Turn) -> bool:
        """Look at the meter and see what follows; True when it is to be written now. A script, to be played
        on the bus that is held. Raises LinkDown."""
        look = await self._alone(self._look(turn))
        if look is None:
            return False
        now = self._looked_at = self._clock.now()
        self._relay = look.relay
        step, words = decide_command(self._facts(look, now))
        if step is CommandStep.SEND:
            if not self.writes_left:
                self.fails(NoAnswer("the meter did not take the command yet"))
            return self.open
        self.open = False
        if look.snapshot is not None:  # it was made anyway: the page shows the relay at once
            self.reading = reading_of(self.meter.id, look.snapshot, now)
        if step is CommandStep.WAIT:
            self._words, self.again_at = words, now + pause_of(self.command.kind)
        else:
            self._ends(CommandState(step), words, look.relay)
        return False

    async def write(self, turn: Turn, announced: Command) -> None:
        """Write once what was announced just now; a script as well. Raises LinkDown."""
        self.command, self._accepted_at, self._refusal = announced, announced.accepted_at, None
        now = self._clock.now()
        if now >= announced.expires_at:
            return  # announcing took its time; the next look decides what is left to say
        if await self._alone(self._obey(turn, now)):
            self._accepted_at = self._clock.now()

    def renew(self, work: CommandWork | None) -> None:
        """It was taken again and is like this now; None: there is nothing to do any more."""
        if work is None:
            self.open = False
        else:
            self.command, self.meter = work.command, work.meter
            self._accepted_at = work.command.accepted_at

    def fails(self, why: Unavailable) -> None:
        """It could not be served now."""
        self.open, self.failure, self._words = False, why, why.message

    def goes_on(self, at: datetime) -> None:
        """Nothing is wrong with it, but nobody came to it; it goes on at `at`."""
        self.open, self.again_at = False, at

    @property
    def writing(self) -> Writing:
        """What is to be announced, after a look."""
        command = self.command
        return Writing(command.id, command.writes, self._relay, self._looked_at)

    @property
    def waiting(self) -> Waiting | None:
        """Why it was not ended, if there is something to say of it."""
        if not self._words:
            return None
        return Waiting(self.command.id, self._words, self._accepted_at)

    def _ends(self, state: CommandState, words: str, relay: bool | None) -> None:
        self.open = False
        self.end = End(self.command.id, state, words, relay, self._clock.now(), self._accepted_at)

    async def _alone(self, doing: Awaitable[T]) -> T | None:
        """What goes wrong with one meter costs the others of its errand nothing but its own time-out; None
        then. Raises LinkDown: no meter of this gateway can be reached."""
        try:
            return await doing
        except LinkDown:
            raise
        except CommandExpired as late:
            self.fails(LinkDown(late.message))
        except Unavailable as error:
            self.fails(error)
        except DomainError as error:  # the model cannot do it, or the meter refuses to be read
            self._ends(CommandState.FAILED, error.message, None)
        return None

    def _facts(self, look: _Look, now: datetime) -> CommandFacts:
        command = self.command
        return CommandFacts(
            kind=command.kind,
            writes=command.writes,
            accepted=self._accepted_at is not None,
            refusal=self._refusal,
            since_write=now - (command.sent_at or now),
            overdue=now >= command.expires_at,
            sight=look.sight,
            shown=look.shown,
        )

    async def _look(self, turn: Turn) -> _Look:
        command, driver = self.command, turn.scripted(self.meter)
        match family_of(command.kind):
            case Family.PRICES:
                held = await _twice(driver.prices)
                return _Look(*compare_settings(command.settings, held))
            case Family.CALENDAR:
                hours = await _twice(partial(held_calendar, driver))
                return _Look(*compare_settings(command.settings, hours, whole=True))
            case Family.THRESHOLDS:
                warns = numbers_of_thresholds(await _twice(driver.thresholds))
                return _Look(*compare_settings(command.settings, warns))
            case Family.LOAD_LIMITS:
                load = numbers_of_limits(await _twice(driver.load_limits))
                return _Look(*compare_settings(command.settings, load))
        snapshot = await _twice(driver.read)
        if command.kind is CommandKind.TRIP and not command.writes:
            self._check_register(snapshot.total)
        relay = None if snapshot.relay is Relay.UNKNOWN else snapshot.relay is Relay.CLOSED
        if command.kind is CommandKind.SYNC_CLOCK:
            told = snapshot.meter_clock
            off = None if told is None else told - self._clock.now()
            return _Look(*compare_clock(off), relay, snapshot)
        sight = compare_relay(
            kind=command.kind,
            before=command.relay_before,
            after=relay,
            has_money=snapshot.remaining is not None and snapshot.remaining > ZERO,
        )
        where = {True: "is closed", False: "is open", None: "is not told"}[relay]
        return _Look(sight, f"the relay {where}", relay, snapshot)

    def _check_register(self, total: int) -> None:
        """Select before operate: nobody is cut because two meters were swapped. Addresses and serial
        numbers are compared by each protocol; this compares what the meter counts."""
        last, profile = self.meter.last, profile_of(self.meter.profile)
        kind = MeterKind(self.meter.kind)
        if last is None or may_be_the_same(
            last.total,
            total,
            kind=kind,
            phases=profile.phases,
            elapsed=self._clock.now() - last.received_at,
        ):
            return
        raise OtherMeter(
            f"another meter answers here: its register is {total}, the archive's last is {last.total}"
        )

    async def _obey(self, turn: Turn, now: datetime) -> bool:
        """The one write; whether the meter said that it took it. Raises as the driver's ports."""
        try:
            await _obey(turn.scripted(self.meter), self.command, now)
        except MeterRefused as refused:
            self._refusal = f"the meter refuses: {refused.message}"
        except (NoAnswer, FrameError):
            pass  # it may have acted: the next look tells
        else:
            return True
        return False


async def _twice(ask: Callable[[], Awaitable[T]]) -> T:
    """A read harms nothing: one lost answer is asked for again."""
    try:
        return await ask()
    except (NoAnswer, FrameError):
        return await ask()


async def _obey(driver: Driver, command: Command, now: datetime) -> None:
    """The one write of a command. Raises as the driver's ports."""
    match command.kind:
        case CommandKind.TRIP:
            await driver.trip(until=command.expires_at)
        case CommandKind.ALLOW_CLOSE:
            await driver.allow_close()
        case CommandKind.CLOSE:
            await driver.close()
        case CommandKind.KEEP_POWER:
            await driver.keep_power()
        case CommandKind.RELEASE:
            await driver.release()
        case CommandKind.SYNC_CLOCK:
            await driver.write_clock(now)
        case CommandKind.PRICES:
            await driver.write_prices(command.settings)
        case CommandKind.CALENDAR:
            await driver.write_calendar(calendar_of(command.settings))
        case CommandKind.THRESHOLDS:
            await driver.write_thresholds(thresholds_of(command.settings))
        case CommandKind.LOAD_LIMITS:
            await driver.write_load_limits(ordered_limits(command.settings))
