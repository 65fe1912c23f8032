"""The judge of the simulation: what was cut and restored, held against DOMAIN's text and the site's truth.

It calls nothing of what it judges: not `decide`, not the calendar, not the command rules. It knows what the
product cannot: what was paid, what use would have cost at the price that was meant, when a phone rang, how
old a reading truly was. Its figures are written from C19 to C24 anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from backend.control.command_rules import CommandKind
from backend.control.supply_rules import MoneyIn, SupplyPolicy, Why

from .policy_world import DAY_S, HOUR_S, PERIOD_S, Command, Meter, Purse, Site

# Public holidays of 2026 in the days that are simulated, as the State Council's notice of 2025 has them.
_HOLIDAYS = {date(2026, 9, 25), *(date(2026, 10, day) for day in range(1, 8))}
_TWO_CYCLES = 2 * PERIOD_S
_CLOCK_S = 300  # a device's clock may be so far off before it is not believed (C24)
_TRIP_LIFE_S = 120
_LIFE_S = 24 * HOUR_S
_SKEW_S = 60  # of a gateway's clock, before it refuses trips (reference/trust.md section 5)
_ON_THE_WIRE_S = 5  # what was written just now cannot be called back
_ARMED_AGAIN = 10_000  # hao above the level, at which a warning's episode is over
_AT_MOST = 5  # trips an hour, or two in a hundred meters


@dataclass(slots=True)
class Found:
    """What the judge counted, and the first few breaches in words."""

    wrongful_trips: int = 0
    missed_trips: int = 0
    late_commands: int = 0
    keep_power_broken: int = 0
    others: Counter[str] = field(default_factory=Counter)
    trips: int = 0
    restores: int = 0
    restore_s: list[float] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Take in what another site found."""
        self.wrongful_trips += other.wrongful_trips
        self.missed_trips += other.missed_trips
        self.late_commands += other.late_commands
        self.keep_power_broken += other.keep_power_broken
        self.others.update(other.others)
        self.trips += other.trips
        self.restores += other.restores
        self.restore_s += other.restore_s
        self.words += other.words[: max(0, 20 - len(self.words))]


def _nobody(_: object) -> None:
    """Nobody cares."""


class Oracle:
    """The judge of one site, told by the world when something truly happens. `on_asked`, `on_cut`: customers
    see a trip coming, and see the dark."""

    on_asked: Callable[[Command], None]
    on_cut: Callable[[Meter], None]

    def __init__(self, site: Site, name: str) -> None:
        self.found = Found()
        self.on_asked = self.on_cut = _nobody
        self._site, self._name = site, name
        self._heard: dict[Purse, float] = {}
        self._dark: dict[Meter, float] = {}
        self._due: dict[Meter, float] = {}
        self._sweeps: dict[tuple[str, Meter], int] = {}
        self._limit_at = -DAY_S * 1.0
        self._asked: list[float] = []
        self._cuts: list[float] = []

    # What happens

    def heard(self, purse: Purse, at: float) -> None:
        """The customer's phone rang with a warning."""
        self._heard[purse] = at

    def booked(self, purse: Purse, at: float) -> None:
        """Money was booked: what was cut for want of it is to come back at once."""
        if purse.balance + purse.overdraft > self._site.alarm + _ARMED_AGAIN:
            self._heard.pop(
                purse, None
            )  # by the book the episode is over: the next is warned of anew
        if self._right(purse) > 0:
            for meter in purse.meters:
                if meter in self._dark and self._should_be_on(meter, at):
                    self._due.setdefault(meter, at)

    def asked(self, command: Command, at: float) -> None:
        """A command was committed: by the text it may be, or it is a breach."""
        meter, why = command.meter, command.why
        opens = command.kind is CommandKind.TRIP
        if opens and why not in (Why.TIMETABLE, Why.SAFETY_LOCK, Why.EMERGENCY):
            self._asked = [*self._lately(at), at]
        if opens and why is Why.ARREARS:
            self._cuts = [*(one for one in self._cuts if one > at - HOUR_S), at]
            if len(self._cuts) > self._at_most():
                self._breach(command, at, "more cuts in an hour than the limit")
        life = _TRIP_LIFE_S if opens else _LIFE_S
        if command.expires - at > life + 1:
            self._breach(command, at, "a command lives too long")
        if opens and why is not Why.EMERGENCY and self._kept(meter, at):
            self._keep_broken(command, at, "a trip of what is kept on was asked for")
        elif opens:
            for words in self._against(command, at):
                self._wrongful(command, at, words)
                break
        elif words := self._against_restore(meter, at):
            self._breach(command, at, words)
        self.on_asked(command)

    def leaves(self, command: Command, at: float) -> None:
        """A write leaves for the meter: what was changed before this instant is known."""
        if command.kind is not CommandKind.TRIP:
            return
        meter, purse = command.meter, command.meter.purse
        if command.why is not Why.EMERGENCY and self._kept(meter, at):
            self._keep_broken(command, at, "a trip of what is kept on was written")
        elif (
            command.why is Why.ARREARS
            and purse is not None
            and self._right(purse) > 0
            and purse.settled_at < at - _ON_THE_WIRE_S
        ):
            self._wrongful(command, at, "money was booked before the trip was written")

    def acted(self, command: Command, was_closed: bool, at: float) -> None:
        """A meter obeyed a command."""
        meter, opens = command.meter, command.kind is CommandKind.TRIP
        if at > command.expires + (_SKEW_S if meter.gateway.queues else 0) + 1:
            self.found.late_commands += 1
            self._say(command, at, "it was obeyed after its time")
        if opens and was_closed:
            self.found.trips += 1
            if command.why is Why.ARREARS:
                self._dark[meter] = at
                purse = meter.purse
                if purse is not None and self._right(purse) > 0 and self._should_be_on(meter, at):
                    self._due[meter] = purse.settled_at
                self.on_cut(meter)
        elif not opens and meter in self._dark:
            del self._dark[meter]
            self.found.restores += not was_closed
            if (due := self._due.pop(meter, None)) is not None and self._reachable(meter, due):
                self.found.restore_s.append(at - due)

    def overtaken(self, command: Command, at: float) -> None:
        """Something less urgent got the bus while a restore waited for it."""
        self._breach(command, at, "a restore waited behind another command")

    def swept(self, meter: Meter, relay: bool, at: float) -> None:
        """A sweep saw a meter's relay: what is to be otherwise for more than two cycles is a breach."""
        kept, purse = self._kept(meter, at - 1), meter.purse
        self._lasts("kept", meter, at, kept and not relay)
        if purse is None or meter.money is not MoneyIn.CLOUD:
            return
        owes = self._right(purse) <= 0
        waits = not relay and not owes and meter in self._due and self._should_be_on(meter, at)
        self._lasts("dark", meter, at, waits)
        self._lasts("owes", meter, at, owes and relay and not kept and self._must_cut(meter, at))

    # What the text says

    def _lasts(self, what: str, meter: Meter, at: float, so: bool) -> None:
        """Count the sweeps in a row at which something was so, and say when they are too many."""
        if not so or not self._reachable(meter, at):
            self._sweeps.pop((what, meter), None)
            return
        seen = self._sweeps.get((what, meter), 0) + 1
        self._sweeps[what, meter] = seen
        if (
            seen * PERIOD_S != _TWO_CYCLES + 2 * PERIOD_S
        ):  # seen at both ends of more than two cycles
            return
        if what == "owes":
            self.found.missed_trips += 1
        elif what == "kept":
            self.found.keep_power_broken += 1
        else:
            self.found.others["a restore was forgotten"] += 1
        self._say_of(meter, at, f"{what} for more than two cycles")

    def _kept(self, meter: Meter, at: float) -> bool:
        """Protected, or kept on by an operator, and no emergency (C23)."""
        if meter.emergency:
            return False
        if meter.protected_at is not None:
            return meter.protected_at <= at
        until = meter.policy_until
        return (
            meter.policy is SupplyPolicy.KEEP_ON
            and meter.policy_at <= at
            and (until is None or until > at)
        )

    def _forced_off(self, meter: Meter, at: float) -> bool:
        until = meter.policy_until
        return meter.policy is SupplyPolicy.FORCED_OFF and (until is None or until > at)

    def _against(self, command: Command, at: float) -> list[str]:
        """Why a trip that is asked for now must not be."""
        meter = command.meter
        if command.why is Why.EMERGENCY:
            return [] if meter.emergency else ["no emergency"]
        if command.why is Why.FORCED_OFF:
            return [] if self._forced_off(meter, at) else ["nobody forced it off"]
        if command.why is Why.SAFETY_LOCK:
            return [] if meter.safety is not None else ["no lock"]
        if meter.lease_until > at:
            return ["a third party has it"]
        if command.why is Why.TIMETABLE:
            return [] if self._timed_off(meter, at) else ["its hour is on"]
        return self._against_cut(meter, at)

    def _against_cut(self, meter: Meter, at: float) -> list[str]:
        """What in C20 forbids an automatic cut at an instant."""
        purse = meter.purse
        if purse is None or meter.money is not MoneyIn.CLOUD:
            return ["its money is not in the cloud"]
        heard = self._heard.get(purse)
        rules = (
            ("there is money", self._right(purse) > 0),
            ("a payment is on its way", purse.in_flight > 0 or purse.orders > 0),
            ("the reading is old", at - meter.measured > _TWO_CYCLES + _CLOCK_S),
            ("its use is not known", meter.hold),
            ("an operator's word stands", meter.policy is not SupplyPolicy.AUTO
             and (meter.policy_until is None or meter.policy_until > at)),
            ("outside the window", not self._site.opens <= at % DAY_S < self._site.closes),
            ("a day of no cuts", self._no_cuts(at)),
            ("not warned in time", heard is None or at - heard < self._site.notice),
        )  # fmt: skip
        return [words for words, so in rules if so]

    def _no_cuts(self, at: float) -> bool:
        day = (self._site.begins + timedelta(seconds=at)).date()
        return day.isoweekday() > 5 or day in _HOLIDAYS

    def _must_cut(self, meter: Meter, at: float) -> bool:
        """Whether nothing holds a cut back, neither rule nor limit nor what only the field knows."""
        if self._against_cut(meter, at) or meter.lease_until > at or meter.safety is not None:
            return False
        if len(self._lately(at)) >= self._at_most():
            self._limit_at = at
        return at - self._limit_at > HOUR_S and self._site.charging_off_until < at

    def _lately(self, at: float) -> list[float]:
        return [one for one in self._asked if one > at - HOUR_S]

    def _at_most(self) -> int:
        return max(_AT_MOST, len(self._site.meters) // 50)

    def _against_restore(self, meter: Meter, at: float) -> str:
        """Why power must not come back now: money lifts neither a lock nor an operator's word (C21)."""
        if meter.emergency:
            return "restored in an emergency"
        if self._kept(meter, at):
            return ""
        if self._forced_off(meter, at):
            return "restored against an operator's word"
        if meter.safety is not None:
            return "restored while a safety lock stands"
        if self._timed_off(meter, at) and meter.lease_until <= at:
            return "restored in an hour that is off"
        return ""

    def _should_be_on(self, meter: Meter, at: float) -> bool:
        return not self._against_restore(meter, at) and meter.lease_until <= at

    def _timed_off(self, meter: Meter, at: float) -> bool:
        if meter.off_from is None:
            return False
        length = (meter.off_to - meter.off_from) % DAY_S
        return (at - meter.off_from) % DAY_S < length

    def _right(self, purse: Purse) -> int:
        """What is available at the price that was meant, use that is read and not charged included."""
        waiting = 0
        for each in purse.meters:
            if each.read_wh > each.charged_wh:
                waiting += each.read_wh - each.charged_wh
        return purse.right + purse.overdraft - waiting * self._site.prices[0] // 1000

    def _reachable(self, meter: Meter, at: float) -> bool:
        """Whether a meter can be switched and heard at an instant, and its clock is believed."""
        gateway = meter.gateway
        trouble = (
            gateway.off_until, gateway.stalled_until, meter.silent_until,
            meter.mute_until, meter.refuses_until,
        )  # fmt: skip
        return max(trouble) < at and abs(gateway.clock_off) <= _SKEW_S

    # What is said of it

    def _wrongful(self, command: Command, at: float, words: str) -> None:
        self.found.wrongful_trips += 1
        self._say(command, at, words)

    def _keep_broken(self, command: Command, at: float, words: str) -> None:
        self.found.keep_power_broken += 1
        self._say(command, at, words)

    def _breach(self, command: Command, at: float, words: str) -> None:
        self.found.others[words] += 1
        self._say(command, at, words)

    def _say(self, command: Command, at: float, words: str) -> None:
        self._say_of(command.meter, at, f"{command.kind} for {command.why}: {words}")

    def _say_of(self, meter: Meter, at: float, words: str) -> None:
        if len(self.found.words) < 20:
            when = self._site.begins + timedelta(seconds=at)
            self.found.words.append(f"{self._name} meter {meter.no} {when:%m-%d %H:%M:%S} {words}")
