"""Drive a command to its meter: look, write, look again (C10, C19, C21, C22).

Every write is announced by a commit first, so after a crash at any point the next worker looks at the
meter before it writes. The bus is held for the whole short series, so nothing slips in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

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
from backend.control.commands import Command
from backend.journeys import serve_command as journey
from backend.journeys.serve_command import CommandWork
from backend.kernel.db import unit_of_work
from backend.kernel.errors import DomainError, Unavailable
from backend.kernel.money import ZERO, Money
from backend.metering.readings import Reading, store_readings
from backend.metering.rules import MeterKind, may_be_the_same
from backend.uplink.errors import CommandExpired
from workers.context import WorkerContext
from workers.drivers.ports import Driver, LoadLimits, MeterSnapshot, Relay, Thresholds
from workers.links.errors import LinkDown, NoAnswer
from workers.links.lane import Priority
from workers.profiles.loader import profile_of
from workers.protocols.errors import FrameError, MeterRefused
from workers.recording import reading_of

WRITES_A_TRY = 3
_FRESH = timedelta(seconds=2)
T = TypeVar("T")
_RESTORES = (
    CommandKind.CLOSE,
    CommandKind.KEEP_POWER,
    CommandKind.RELEASE,
    CommandKind.ALLOW_CLOSE,
)
_MONEY = ("alarm1", "alarm2", "overdraft")


def priority_of(kind: CommandKind) -> Priority:
    """Whose turn comes first on a bus: power back before a sale, a sale before a cut (C21, C22)."""
    if kind in _RESTORES:
        return Priority.RESTORE
    return Priority.CUT if kind is CommandKind.TRIP else Priority.SETTINGS


async def command_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """Serve a command; gives when to look again at a meter that needs a moment.

    Raises Unavailable when the meter cannot be reached: the event comes back later.
    """
    clock, command_id = context.ports.clock, UUID(payload["command_id"])
    task = await journey.take(group_id=group_id, command_id=command_id, at=clock.now())
    if task is None:
        return None
    priority, taken_at = priority_of(task.command.kind), clock.now()
    errand: _Errand | None = None
    try:
        bus = await context.buses.bus(task.meter.gateway)
        async with bus.turn(priority) as turn:
            # While we waited for the bus it may have ended or been served: the commit before a write finds
            # that out, and where it took its time nobody reads the meter for nothing.
            if clock.now() - taken_at > _FRESH:
                task = await journey.take(group_id=group_id, command_id=command_id, at=clock.now())
            if task is None:
                return None
            errand = _Errand(context, group_id, task, turn.driver(task.meter))
            return await errand.run()
    except CommandExpired as late:
        await _waits(group_id, command_id, errand, late.message)
        raise LinkDown(late.message) from late
    except Unavailable as error:
        await _waits(group_id, command_id, errand, error.message)
        raise
    except DomainError as error:  # the model cannot do it, or the meter refuses to be read
        await journey.ended(
            group_id=group_id,
            command_id=command_id,
            state=CommandState.FAILED,
            outcome=error.message,
            relay_after=None,
            accepted_at=None if errand is None else errand.accepted_at,
            at=clock.now(),
        )
    return None


async def _waits(group_id: int, command_id: UUID, errand: _Errand | None, why: str) -> None:
    accepted_at = None if errand is None else errand.accepted_at
    await journey.waits(group_id=group_id, command_id=command_id, why=why, accepted_at=accepted_at)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the meter shows: the relay (True closed, None not read or not told) and what that tells of
    the command."""

    sight: Sight
    shown: str
    relay: bool | None = None
    snapshot: MeterSnapshot | None = None


class OtherMeter(DomainError):
    """What answers at the meter's address is not the meter of the archive; nothing was written."""

    code = "OTHER_METER"


class _Errand:
    """One command at one meter, with its bus in hand."""

    def __init__(
        self, context: WorkerContext, group_id: int, task: CommandWork, driver: Driver
    ) -> None:
        self._clock = context.ports.clock
        self._group_id = group_id
        self._meter = task.meter
        self._driver = driver
        self._command: Command = task.command
        self._refusal: str | None = None

    @property
    def accepted_at(self) -> datetime | None:
        """When the meter answered the last write, if it did."""
        return self._command.accepted_at

    async def run(self) -> datetime | None:
        """Look and write until it is decided; gives when to look again. Raises as the driver's ports."""
        for writes_left in range(WRITES_A_TRY, -1, -1):
            look = await self._look()
            now = self._clock.now()
            step, words = decide_command(self._facts(look, now))
            if step is CommandStep.SEND:
                if not writes_left:
                    break
                if not await self._write(look, now) and not await self._taken_again():
                    return None
                continue
            if step is CommandStep.WAIT:
                await self._keep(look, now)
                await _waits(self._group_id, self._command.id, self, words)
                return now + pause_of(self._command.kind)
            await journey.ended(
                group_id=self._group_id,
                command_id=self._command.id,
                state=CommandState(step),
                outcome=words,
                relay_after=look.relay,
                accepted_at=self.accepted_at,
                at=now,
                reading=self._reading(look, now),
            )
            return None
        raise NoAnswer("the meter did not take the command yet")

    def _facts(self, look: _Look, now: datetime) -> CommandFacts:
        command = self._command
        return CommandFacts(
            kind=command.kind,
            writes=command.writes,
            accepted=command.accepted_at is not None,
            refusal=self._refusal,
            since_write=now - (command.sent_at or now),
            overdue=now >= command.expires_at,
            sight=look.sight,
            shown=look.shown,
        )

    async def _write(self, look: _Look, now: datetime) -> bool:
        """Announce and write once; False when the command is not as we took it."""
        announced = await journey.about_to_write(
            group_id=self._group_id,
            command_id=self._command.id,
            writes=self._command.writes,
            relay_closed=look.relay,
            at=now,
        )
        if announced is None:
            return False
        self._command, self._refusal = announced, None
        now = self._clock.now()
        if now >= announced.expires_at:
            return True  # announcing took its time; the next look decides what is left to say
        try:
            await _obey(self._driver, announced, now)
        except MeterRefused as refused:
            self._refusal = f"the meter refuses: {refused.message}"
        except (NoAnswer, FrameError):
            pass  # it may have acted: the next look tells
        else:
            self._command = replace(announced, accepted_at=self._clock.now())
        return True

    async def _taken_again(self) -> bool:
        """Take it as it is now; False when there is nothing left to do."""
        task = await journey.take(
            group_id=self._group_id, command_id=self._command.id, at=self._clock.now()
        )
        if task is not None:
            self._command = task.command
        return task is not None

    async def _look(self) -> _Look:
        command, driver = self._command, self._driver
        match family_of(command.kind):
            case Family.PRICES:
                held = await _twice(driver.prices)
                return _Look(*compare_settings(command.settings, held))
            case Family.THRESHOLDS:
                limits = _held(await _twice(driver.thresholds))
                return _Look(*compare_settings(command.settings, limits))
            case Family.LOAD_LIMITS:
                load = asdict(await _twice(driver.load_limits))
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
        last, profile = self._meter.last, profile_of(self._meter.profile)
        kind = MeterKind(self._meter.kind)
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

    def _reading(self, look: _Look, now: datetime) -> Reading | None:
        """A whole reading was made anyway: the page shows the relay at once."""
        return None if look.snapshot is None else reading_of(self._meter.id, look.snapshot, now)

    async def _keep(self, look: _Look, now: datetime) -> None:
        if (reading := self._reading(look, now)) is not None:
            async with unit_of_work(self._group_id, durable=False) as work:
                await store_readings(work, readings=[reading])


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
        case CommandKind.THRESHOLDS:
            await driver.write_thresholds(_thresholds(command.settings))
        case CommandKind.LOAD_LIMITS:
            await driver.write_load_limits(_limits(command.settings))


def _thresholds(settings: Mapping[str, int]) -> Thresholds:
    money = {name: Money(settings[name]) for name in _MONEY if name in settings}
    return Thresholds(**money, overload_w=settings.get("overload_w"))


def _limits(settings: Mapping[str, int]) -> LoadLimits | None:
    """None: the meter's load control is to be off."""
    told = dict(settings)
    return LoadLimits(on=True, **told) if told.pop("on") else None


def _held(limits: Thresholds) -> dict[str, int]:
    found = {"overload_w": limits.overload_w} | {
        name: None if (amount := getattr(limits, name)) is None else amount.hao for name in _MONEY
    }
    return {name: value for name, value in found.items() if value is not None}
