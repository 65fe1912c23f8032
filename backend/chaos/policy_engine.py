"""The supply engine on a site in memory: what journeys.supply_look, supply_facts and serve_command do with
rows, done with the product's own pure rules (`decide`, the limits, the lives of commands, the calendar).

The order of things is the product's: a look each half minute over what changed (the product looks at all;
what did not change is decided as before), a look at once when money came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from backend.alerts.alarm_rules import Edge, falling, money_hysteresis
from backend.control.calendar_rules import CutCalendar, CutWindow, MayCut, may_cut
from backend.control.command_rules import CommandKind, CommandState, life_of, over_at
from backend.control.supply_rules import (
    GATEWAY_TRIPS_A_MINUTE,
    Decision,
    Force,
    MoneyIn,
    Supply,
    SupplyPolicy,
    Want,
    Why,
    decide,
    trips_at_most,
    trips_of_the_platform_at_most,
)
from backend.metering.rules import MAX_DRIFT

from .policy_clock import Loop
from .policy_facts import facts_of, instant
from .policy_fate import Fate, Fault
from .policy_oracle import Oracle
from .policy_world import HOUR_S, PERIOD_S, WS_PER_WH, Command, Gateway, Meter, Purse, Site

_LOOK_S = 30
_PATIENCE_S, _AFTER_REFUSAL_S = 300, 3600  # as journeys.supply_look
_UNLIMITED = (Why.EMERGENCY, Why.TIMETABLE, Why.SAFETY_LOCK)  # no automatic cuts
_FORCES = (CommandKind.TRIP, CommandKind.KEEP_POWER)
_PERIOD = timedelta(seconds=PERIOD_S)
_CUT_FOR_ARREARS = Force(CommandKind.TRIP, Why.ARREARS)


class Engine:
    """One group's engine. `ring`: has a worker serve a command at an instant; `warn`: sends a warning."""

    def __init__(self, site: Site, loop: Loop, fate: Fate, oracle: Oracle) -> None:
        self.site, self._loop, self._fate, self._oracle = site, loop, fate, oracle
        self.ring: Callable[[Command, float], None]
        self.warn: Callable[[Purse], None]
        self._window = CutCalendar(
            CutWindow(
                opens=site.opens // 60,
                closes=site.closes // 60,
                notice=timedelta(seconds=site.notice),
            )
        )
        self._dirty: dict[Meter, None] = {}
        self._looking = False
        self._timers: dict[Meter, float] = {}

    def when(self, second: float) -> datetime:
        """An instant of the simulation as the product has it."""
        return instant(self.site, second)

    # Readings and money

    def read(self, meter: Meter, total: int, relay: bool | None, read_at: float) -> None:
        """A reading came in (C24): the newest one moves what is known, and is charged."""
        now, row = self._loop.now, meter.row
        if read_at > now + MAX_DRIFT.seconds:
            read_at = now
        if row.read_at is not None and read_at < row.read_at:
            return
        # What a reading may change of a decision; where it changes nothing, nothing is decided anew.
        news = (
            row.relay is not relay
            or row.command is not None
            or row.received_at is None
            or now - row.received_at > PERIOD_S + _LOOK_S
            or (row.force_at is not None and min(row.read_at or 0, row.received_at) < row.force_at)
        )
        row.read_at, row.received_at, row.relay = read_at, now, relay
        meter.read_wh = total
        if now >= self.site.charging_off_until:
            self.charge(meter)
        last = row.last
        if last is not None and last.unfinished:
            self.ring(last, now + 1)
        if news and (last is not None or self._wanted(meter)):
            self.mark(meter)
        else:
            self._calm(meter)

    def _calm(self, meter: Meter) -> None:
        """How long nothing but a deed of somebody can change what is decided: the money lasts until then.
        The use of that time is charged by the next reading that is looked at."""
        purse, row = meter.purse, meter.row
        if row.command is not None or (row.last is not None and row.last.unfinished) or meter.hold:
            return
        spent = purse is not None and purse.balance + purse.overdraft < 0
        if purse is None or not meter.closed or (spent and len(self.site.prices) == 1):
            meter.calm_until = self._loop.now + 6 * HOUR_S
        elif len(purse.meters) == 1 and not purse.low and meter.read_wh == meter.charged_wh:
            left = (purse.balance + purse.overdraft - self.site.alarm) * 1000 * WS_PER_WH
            lasts = left // (meter.load_w * self.site.prices[-1])
            meter.calm_until = self._loop.now + max(0, lasts - PERIOD_S)

    def charge(self, meter: Meter) -> None:
        """Charge what was read of a meter, and warn when the money comes to its end."""
        purse = meter.purse
        if purse is None or meter.money is not MoneyIn.CLOUD or meter.hold:
            return
        used = meter.read_wh - meter.charged_wh
        if used < 0:
            meter.hold = True
            self._fate.note(Fault.NEGATIVE_USE)
            self.mark(meter)
            return
        if used:
            before = purse.balance
            self._post(purse, used)
            meter.charged_wh = meter.read_wh
            owes = purse.balance < 0
            crossed = purse.balance <= -purse.overdraft < before or before >= 0
            if owes and (crossed or (len(self.site.prices) > 1 and self._may_cut())):
                self.mark_all(purse.meters)
        if not purse.low and self._alarm(purse) is Edge.FIRES:
            purse.low, purse.warned_at = True, None
            purse.episode += 1
            self.warn(purse)

    def _alarm(self, purse: Purse) -> Edge:
        left, level = purse.balance + purse.overdraft, self.site.alarm
        spread = money_hysteresis(level)
        return falling(left, threshold=level, hysteresis=spread, is_open=purse.low)

    def _post(self, purse: Purse, used: int) -> None:
        version = len(self.site.prices) - 1
        cost = used * self.site.prices[version] // 1000
        purse.balance -= cost
        purse.right -= used * self.site.prices[0] // 1000
        priced = purse.priced.setdefault(version, [0, 0])
        priced[0] += used
        priced[1] += cost

    def paid(self, purse: Purse) -> None:
        """Money came into a purse: in the same commit its restore is on its way."""
        if purse.low and self._alarm(purse) is Edge.ENDS:
            purse.low = False
        self.mark_all(purse.meters)
        lost = self._fate.strikes(Fault.BELL_LOST)
        delay = self._fate.draw.uniform(2, 30) if lost else 0.05
        self._loop.at(self._loop.now + delay, lambda: self._restore_paid(purse))

    def _restore_paid(self, purse: Purse) -> None:
        may = self._may_cut()
        for meter in purse.meters:
            last = meter.row.last
            coming = last is not None and last.unfinished and last.kind is CommandKind.TRIP
            if meter.row.force == _CUT_FOR_ARREARS or (
                coming and last is not None and last.why is Why.ARREARS
            ):
                self._decide(meter, may)

    # The look

    def mark(self, meter: Meter) -> None:
        """Something of a meter changed: the next look decides on it."""
        self._dirty[meter] = None
        meter.calm_until = 0.0
        if not self._looking:
            self._looking = True
            self._loop.at((self._loop.now // _LOOK_S + 1) * _LOOK_S, self._look)

    def mark_all(self, meters: Iterable[Meter]) -> None:
        """An hour came at which much may change."""
        for meter in meters:
            if self._wanted(meter):
                self.mark(meter)

    def _look(self) -> None:
        self._looking = False
        wanted, self._dirty = list(self._dirty), {}
        if self._fate.strikes(Fault.ENGINE_CRASH):  # before its commit: nothing is kept
            for meter in wanted:
                self.mark(meter)
            return
        may = self._may_cut()
        for meter in wanted:
            last = meter.row.last
            if (last is None or not last.unfinished) and self._wanted(meter):
                self._decide(meter, may)

    def _may_cut(self) -> MayCut:
        return may_cut(self._window, self.when(self._loop.now))

    def _wanted(self, meter: Meter) -> bool:
        purse = meter.purse
        return (
            meter.row.force is not None
            or (purse is not None and purse.balance < 0)
            or meter.policy is not SupplyPolicy.AUTO
            or meter.protected_at is not None
            or meter.safety is not None
            or meter.emergency
            or meter.off_from is not None
        )

    def _decide(self, meter: Meter, may: MayCut) -> None:
        supply = self._facts(meter, may)
        decision = decide(supply)
        self._note(decision)
        row, last = meter.row, meter.row.last
        changed = (row.want, row.why, row.command) != (
            decision.want,
            decision.why,
            decision.command,
        )
        if last is not None and last.unfinished:
            if last.kind is not CommandKind.TRIP or decision.want is not Want.ON:
                return
            if decision.command is None:
                last.state = CommandState.SUPERSEDED
            else:
                self._give(meter, decision)
        elif decision.command is not None and (changed or self._again(meter, last)):
            self._give(meter, decision)
        row.want, row.why, row.command = decision.want, decision.why, decision.command
        self._look_again(meter, decision)

    def _facts(self, meter: Meter, may: MayCut) -> Supply:
        return facts_of(meter, self.site, self._window, may, self._loop.now)

    def _note(self, decision: Decision) -> None:
        held = decision.held_back
        if Why.OUTSIDE_WINDOW in held:
            self._fate.note(Fault.NIGHT)
        if Why.NO_CUT_DAY in held and self.when(self._loop.now).weekday() < 5:
            self._fate.note(Fault.HOLIDAY)
        if held == (Why.NOT_WARNED,):
            self._fate.note(Fault.NOT_WARNED)

    def _again(self, meter: Meter, last: Command | None) -> bool:
        if last is None:
            return True
        row, now = meter.row, self._loop.now
        heard = row.received_at is not None and row.received_at > last.issued
        patience = _AFTER_REFUSAL_S if last.state is CommandState.FAILED else _PATIENCE_S
        return heard and now - last.issued >= patience

    def _look_again(self, meter: Meter, decision: Decision) -> None:
        """When a fact changes by time alone; readings, money and people mark the meter themselves."""
        now, purse = self._loop.now, meter.purse
        ahead, last = [], meter.row.last
        if decision.command is not None:
            held = last is None or (decision.command is CommandKind.TRIP and not last.unfinished)
            ahead.append(now + _PATIENCE_S if held or last is None else last.issued + _PATIENCE_S)
        if meter.policy_until is not None:
            ahead.append(meter.policy_until)
        if (
            purse is not None
            and purse.warned_at is not None
            and Why.NOT_WARNED in decision.held_back
        ):
            ahead.append(purse.warned_at + self.site.notice)
        coming = [when for when in ahead if when > now]
        if coming and not now < self._timers.get(meter, 0) <= min(coming):
            self._timers[meter] = min(coming)
            self._loop.at(min(coming), lambda: self.mark(meter))

    def _give(self, meter: Meter, decision: Decision) -> None:
        assert decision.command is not None
        if decision.command is CommandKind.TRIP and decision.why not in _UNLIMITED:
            if not self._take_trip(meter.gateway):
                self._fate.note(Fault.TRIPS_HELD)
                return
            self.site.trips.append((self._loop.now, meter.gateway))
        self.ask(meter, decision.command, decision.why)

    def _take_trip(self, gateway: Gateway) -> bool:
        now, trips, meters = self._loop.now, self.site.trips, len(self.site.meters)
        while trips and trips[0][0] <= now - HOUR_S:
            trips.popleft()
        most = min(trips_at_most(meters), trips_of_the_platform_at_most(meters))
        lately = sum(where is gateway and at > now - 60 for at, where in trips)
        return len(trips) < most and lately < GATEWAY_TRIPS_A_MINUTE

    # Commands

    def ask(self, meter: Meter, kind: CommandKind, why: Why | None) -> Command | None:
        """A command is committed with its event; None when a protected meter refuses its trip."""
        now, row = self._loop.now, meter.row
        if kind is CommandKind.TRIP and why is not Why.EMERGENCY and meter.protected_at is not None:
            return None
        if row.last is not None and row.last.unfinished:
            row.last.state = CommandState.SUPERSEDED
        made = Command(meter, kind, why, now, now + life_of(kind).total_seconds())
        row.last = made
        meter.calm_until = 0.0
        self._oracle.asked(made, now)
        lost = self._fate.strikes(Fault.BELL_LOST)
        self.ring(made, now + (self._fate.draw.uniform(10, 60) if lost else 0.03))
        self._loop.at(made.expires + 1, lambda: self.expire(made))
        return made

    def take(self, command: Command) -> bool:
        """Whether there is something to do; ends it when its time is over."""
        self.expire(command)
        return command.unfinished

    def expire(self, command: Command) -> None:
        """End a command of which nothing can come any more."""
        sent = None if command.sent_at is None else self.when(command.sent_at)
        over = over_at(kind=command.kind, expires_at=self.when(command.expires), sent_at=sent)
        if not command.unfinished:
            return
        if self.when(self._loop.now) >= over:
            self.ended(command, CommandState.EXPIRED)
        elif self._loop.now >= command.expires:
            self._loop.at(self._loop.now + 60, lambda: self.expire(command))

    def about_to_write(self, command: Command, relay: bool | None) -> bool:
        """The commit before a write leaves; False when it must not."""
        now, meter = self._loop.now, command.meter
        if not command.unfinished or now >= command.expires:
            return False
        if command.kind is CommandKind.TRIP and not self._still_meant(command):
            self.ended(command, CommandState.SUPERSEDED)
            return False
        if command.why is not None and command.kind in _FORCES:
            meter.row.force, meter.row.force_at = Force(command.kind, command.why), now
        command.state, command.sent_at, command.accepted = CommandState.SENT, now, False
        command.writes += 1
        if command.relay_before is None:
            command.relay_before = relay
        self._oracle.leaves(command, now)
        return True

    def _still_meant(self, command: Command) -> bool:
        """A trip is looked at once more before it leaves: money may have come since, or protection."""
        meter = command.meter
        if command.why is Why.ARREARS:
            return decide(self._facts(meter, self._may_cut())).want is Want.OFF
        return command.why is Why.EMERGENCY or meter.protected_at is None

    def ended(self, command: Command, state: CommandState) -> None:
        """A command ends; one that gives the relay back to the money leaves nothing to take back."""
        command.state = state
        forced = command.why is not None and command.kind in _FORCES
        if state is CommandState.VERIFIED and not forced:
            command.meter.row.force = command.meter.row.force_at = None
        self.mark(command.meter)
