"""Who lives and works on a simulated site: customers who pay early, late, at the moment of the cut or never,
messages to them, operators, third parties, somebody at the wall; and the weather over gateways and meters.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial

from backend.control.command_rules import CommandKind
from backend.control.supply_rules import SafetyLock, SupplyPolicy, Why

from .policy_clock import Loop
from .policy_engine import Engine
from .policy_fate import Fate, Fault
from .policy_oracle import Oracle
from .policy_worker import Worker
from .policy_world import DAY_S, HOUR_S, WS_PER_WH, Command, Gateway, Meter, Purse, Site

_YUAN = 10_000
_QUIET = (22 * HOUR_S, 8 * HOUR_S)
_MINUTE = 60


class Life:
    """What people and weather do on a site, drawn from its fate; begins with `begin`."""

    def __init__(
        self, engine: Engine, worker: Worker, loop: Loop, fate: Fate, oracle: Oracle
    ) -> None:
        self._engine, self._worker, self._loop = engine, worker, loop
        self._fate, self._draw, self._oracle = fate, fate.draw, oracle
        self._site: Site = engine.site
        engine.warn = lambda purse: loop.start(self._warn(purse, purse.episode))

    # Messages

    def _warn(self, purse: Purse, episode: int) -> Generator[float, None, None]:
        """The chain of channels until one accepts; at night it waits (C28)."""
        loop, site = self._loop, self._site
        while purse.low and purse.episode == episode:
            second = loop.now % DAY_S
            if second >= _QUIET[0] or second < _QUIET[1]:
                yield (_QUIET[1] - second) % DAY_S + 1
                continue
            yield self._draw.uniform(1, 5)
            for channel in purse.reachable:
                if site.down.get(channel, 0) > loop.now:
                    self._fate.note(Fault.CHANNEL_DOWN)
                    continue
                if purse.low and purse.episode == episode:
                    purse.warned_at = loop.now
                    self._oracle.heard(purse, loop.now)
                    self._engine.mark_all(purse.meters)
                    self._react(purse)
                return
            yield 600.0

    # Customers

    def _react(self, purse: Purse) -> None:
        """A warning was heard: some pay soon, others wait until it is dark."""
        if purse.habit == "early":
            self._pay_in(purse, self._draw.uniform(0, 40) * HOUR_S)

    def cut(self, meter: Meter) -> None:
        """It is dark, or about to be: who cares pays."""
        purse = meter.purse
        if purse is None:
            return
        if purse.habit == "late":
            self._pay_in(purse, self._draw.expovariate(1 / (3 * HOUR_S)) + _MINUTE)
        elif purse.habit == "early":
            self._pay_in(purse, self._draw.uniform(1, 30) * _MINUTE)

    def asked(self, command: Command) -> None:
        """A trip for arrears is on its way: racers are at the cash desk at just this moment."""
        purse = command.meter.purse
        if command.kind is CommandKind.TRIP and self._draw.random() < 0.05:
            deed = self._draw.choice((self._protect, self._keep_on))
            now = self._loop.now
            self._at(now + self._draw.uniform(0, 60), partial(deed, command.meter, now + HOUR_S))
        if command.why is Why.ARREARS and purse is not None and purse.habit == "racing":
            when = self._loop.now + self._draw.expovariate(1 / 2)
            self._loop.at(when, lambda: self._at_the_desk(purse, command))

    def _at_the_desk(self, purse: Purse, command: Command) -> None:
        if command.unfinished:
            self._fate.note(Fault.PAYMENT_IN_FLIGHT)
        self._book(purse, self._amount(purse))

    def _amount(self, purse: Purse) -> int:
        return self._draw.randint(15, 60) * _YUAN - min(0, purse.balance)

    def _pay_in(self, purse: Purse, delay: float) -> None:
        self._loop.at(self._loop.now + delay, lambda: self._loop.start(self._pay(purse)))

    def _pay(self, purse: Purse) -> Generator[float, None, None]:
        """An order, a payment at the channel, a notice that comes, comes twice, late or never (C5)."""
        if purse.orders:
            return
        purse.orders += 1
        yield self._draw.uniform(5, 90)
        if self._draw.random() < 0.1:  # thought better of it: the order is closed
            yield 2.0 * HOUR_S
            purse.orders -= 1
            self._engine.mark_all(purse.meters)
            return
        amount = self._amount(purse)
        purse.in_flight += amount
        if self._fate.strikes(Fault.PAYMENT_UNKNOWN):
            yield self._draw.uniform(0.5, 8) * HOUR_S
        elif self._fate.strikes(Fault.NOTICE_LOST):
            yield self._draw.uniform(20, 300)
        else:
            yield self._draw.uniform(0.5, 3)
        self._fate.strikes(Fault.NOTICE_TWICE)  # the inbox knows the second one
        purse.in_flight -= amount
        purse.orders -= 1
        self._book(purse, amount)

    def _book(self, purse: Purse, amount: int) -> None:
        purse.balance += amount
        purse.right += amount
        purse.settled_at = self._loop.now
        self._engine.paid(purse)
        self._oracle.booked(purse, self._loop.now)

    # What is drawn for each day

    def begin(self) -> None:
        """Draw all that will happen from outside."""
        site = self._site
        for day in range(site.days):
            for second in (0, site.opens, site.closes):
                self._at(day * DAY_S + second, lambda: self._engine.mark_all(site.meters))
            for gateway in site.gateways:
                self._gateway_day(gateway, day)
            for meter in site.meters:
                self._meter_day(meter, day)
            if self._draw.random() < 0.35:
                channel = self._draw.choice(("WECHAT", "ALIPAY", "SMS"))
                self._span(day, 0.5, 20, partial(site.down.__setitem__, channel))
            if self._draw.random() < 0.08:
                self._span(day, 0.5, 6, self._stop_charging)
        if self._draw.random() < 0.5:
            self._at(self._draw.uniform(1, site.days - 1) * DAY_S, self._slip_of_the_comma)

    def _at(self, when: float, call: Callable[[], None]) -> None:
        self._loop.at(when, call)

    def _span(
        self, day: int, least_h: float, most_h: float, begin: Callable[[float], None]
    ) -> None:
        """Something begins at an instant of the day, and lasts for hours."""
        starts = (day + self._draw.random()) * DAY_S
        ends = starts + self._draw.uniform(least_h, most_h) * HOUR_S
        self._at(starts, lambda: begin(ends))

    def _stop_charging(self, until: float) -> None:
        self._fate.note(Fault.CHARGING_LATE)
        self._site.charging_off_until = until

        def go_on() -> None:
            for meter in self._site.meters:
                self._engine.charge(meter)

        self._at(until, go_on)

    def _slip_of_the_comma(self) -> None:
        """A price is typed a hundred times too high; after some hours people see and mend it."""
        self._fate.note(Fault.PRICE_100X)
        prices = self._site.prices
        prices.append(prices[0] * 100)
        for meter in self._site.meters:
            meter.calm_until = 0.0
        wrong = len(prices) - 1

        def mend() -> None:
            prices.append(prices[0])
            for purse in self._site.purses:
                used, cost = purse.priced.get(wrong, (0, 0))
                meant = used * prices[0] // 1000
                purse.balance += cost - meant
                if used:
                    purse.priced[wrong] = [used, meant]
                self._engine.paid(purse)
                self._oracle.booked(purse, self._loop.now)

        self._at(self._loop.now + self._draw.uniform(6, 60) * HOUR_S, mend)

    def _gateway_day(self, gateway: Gateway, day: int) -> None:
        draw = self._draw.random()
        if draw < 0.12:
            self._span(day, 0.03, 1, lambda end: self._off(gateway, end, Fault.GATEWAY_OFF_MINUTES))
        elif draw < 0.17:
            self._span(day, 20, 60, lambda end: self._off(gateway, end, Fault.GATEWAY_OFF_DAYS))
        elif draw < 0.27 and gateway.queues:
            self._span(day, 0.005, 0.12, lambda end: setattr(gateway, "stalled_until", end))
        elif draw < 0.33 and gateway.queues:
            self._span(day, 1, 12, lambda end: self._clock_off(gateway, end))
        if gateway.queues and self._draw.random() < 0.5:  # just when trips are given
            begins = day * DAY_S + self._site.opens
            ends = begins + self._draw.uniform(10, 300)
            self._at(begins, lambda: setattr(gateway, "stalled_until", ends))
        if self._draw.random() < 0.2:
            turns = self._draw.randint(10, 60)
            self._at((day + self._draw.random()) * DAY_S, lambda: self._busy(gateway, turns))

    def _busy(self, gateway: Gateway, turns: int) -> None:
        self._fate.note(Fault.BUSY_BUS)
        self._worker.busy(gateway, turns)

    def _off(self, gateway: Gateway, until: float, fault: Fault) -> None:
        """The line is dead; what was read meanwhile is handed in afterwards."""
        self._fate.note(fault)
        gateway.off_until = until

        def back() -> None:
            for meter in gateway.meters:
                self._worker.late_reading(meter, age=self._draw.uniform(100, 5 * HOUR_S))

        if gateway.queues:
            self._at(until, back)

    def _clock_off(self, gateway: Gateway, until: float) -> None:
        self._fate.note(Fault.GATEWAY_CLOCK)
        gateway.clock_off = self._draw.choice((-1, 1)) * self._draw.choice((30, 55, 100, 250))
        self._at(until, lambda: setattr(gateway, "clock_off", 0.0))

    def _meter_day(self, meter: Meter, day: int) -> None:
        draw = self._draw.random()
        if draw > 0.4:
            return
        at = (day + self._draw.random()) * DAY_S
        lasts = self._draw.uniform(0.3, 30) * HOUR_S
        _, deed = next((odds, deed) for odds, deed in _DEEDS if draw < odds)
        self._at(at, lambda: deed(self, meter, at + lasts))

    # Deeds of one meter: each from an instant until another

    def _silent(self, meter: Meter, until: float) -> None:
        self._fate.note(Fault.METER_OFF)
        meter.silent_until, meter.calm_until = until, 0.0

    def _mute(self, meter: Meter, until: float) -> None:
        meter.mute_until = until

    def _refuse(self, meter: Meter, until: float) -> None:
        meter.refuses_until = until

    def _back(self, meter: Meter, until: float) -> None:
        """A register goes back; a person rules on it after a while (C14)."""
        meter.accrue(self._loop.now)
        meter.calm_until = 0.0
        meter.energy_ws = max(0.0, meter.energy_ws - 40_000 * WS_PER_WH)

        def ruled() -> None:
            if meter.hold:
                meter.hold, meter.charged_wh = False, meter.read_wh
                self._engine.mark(meter)

        self._at(until, ruled)

    def _intend(self, meter: Meter, policy: SupplyPolicy, until: float | None) -> None:
        """As journeys.command: a command over the relay is a policy first; a protected meter refuses."""
        kinds = {
            SupplyPolicy.KEEP_ON: (CommandKind.KEEP_POWER, Why.KEEP_ON),
            SupplyPolicy.FORCED_OFF: (CommandKind.TRIP, Why.FORCED_OFF),
        }
        refused = policy is SupplyPolicy.FORCED_OFF and meter.protected_at is not None
        if refused or meter.emergency:
            return
        meter.policy, meter.policy_until, meter.policy_at = policy, until, self._loop.now
        self._engine.ask(meter, *kinds[policy])

    def _keep_on(self, meter: Meter, until: float) -> None:
        self._fate.note(Fault.KEEP_POWER)
        self._intend(meter, SupplyPolicy.KEEP_ON, until)

    def _force_off(self, meter: Meter, until: float) -> None:
        self._fate.note(Fault.FORCED_OFF)
        self._intend(meter, SupplyPolicy.FORCED_OFF, until)

    def _protect(self, meter: Meter, until: float) -> None:
        self._fate.note(Fault.PROTECTED)
        meter.protected_at = self._loop.now
        self._engine.mark(meter)

        def end() -> None:
            meter.protected_at = None
            self._engine.mark(meter)

        self._at(until, end)

    def _emergency(self, meter: Meter, until: float) -> None:
        self._fate.note(Fault.EMERGENCY)
        meter.emergency = True
        self._engine.ask(meter, CommandKind.TRIP, Why.EMERGENCY)

        def end() -> None:
            meter.emergency = False
            self._engine.mark(meter)

        self._at(until, end)

    def _lock(self, meter: Meter, until: float) -> None:
        self._fate.note(Fault.SAFETY_LOCK)
        meter.safety = self._draw.choice(list(SafetyLock))
        self._engine.mark(meter)

        def end() -> None:
            meter.safety = None
            self._engine.mark(meter)

        self._at(until, end)

    def _lease(self, meter: Meter, until: float) -> None:
        """A third party takes over, and switches as it likes (C31)."""
        self._fate.note(Fault.TAKEOVER)
        meter.lease_until = until
        for _ in range(2):
            when = self._draw.uniform(self._loop.now, until)
            closed = self._draw.random() < 0.5
            self._at(when, partial(self._by_hand, meter, closed))

        def end() -> None:
            self._by_hand(meter, closed=True)
            self._engine.mark(meter)

        self._engine.mark(meter)
        self._at(until, end)

    def _by_hand(self, meter: Meter, closed: bool) -> None:
        if not meter.emergency and meter.safety is None:
            meter.switch(closed, self._loop.now)

    def _wall(self, meter: Meter, until: float) -> None:
        """Somebody switches at the meter past the cloud."""
        self._fate.note(Fault.AT_THE_WALL)
        meter.switch(not meter.closed, self._loop.now)
        self._at(until, lambda: meter.switch(True, self._loop.now))


_DEEDS: tuple[tuple[float, Callable[[Life, Meter, float], None]], ...] = (
    (0.05, Life._silent),
    (0.07, Life._mute),
    (0.08, Life._refuse),
    (0.10, Life._back),
    (0.14, Life._keep_on),
    (0.18, Life._force_off),
    (0.22, Life._protect),
    (0.24, Life._emergency),
    (0.28, Life._lock),
    (0.32, Life._lease),
    (0.40, Life._wall),
)
