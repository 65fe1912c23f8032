"""Workers, buses and gateways of a site: a command's way to its meter as workers.command drives it (look,
write, look again, by `decide_command`), over lines that lose, double and spoil what is said; and sweeps.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from uuid import UUID

from backend.control.command_rules import (
    CommandFacts,
    CommandKind,
    CommandState,
    CommandStep,
    compare_relay,
    decide_command,
    pause_of,
)
from backend.control.supply_rules import MoneyIn
from backend.kernel.errors import DomainError
from backend.uplink.message import Cmd, Op
from workers.at_meter import WRITES_A_TRY
from workers.command import priority_of
from workers.links.lane import Priority

from .policy_clock import Errand, Loop
from .policy_engine import Engine
from .policy_fate import Fate, Fault
from .policy_oracle import Oracle
from .policy_world import PERIOD_S, WS_PER_WH, Command, Gateway, Meter

_EXCHANGE_S = 0.25
_TIME_OUT_S = 2.0
_GATEWAY_PATIENCE_S = 10.0
_LEASE_S = 15.0  # after a worker's death its bus is free again
_BACK_OFF_CAP_S = 600
_ID = UUID(int=1)
_NO_USE = (Fault.ANSWER_LOST, Fault.ANSWER_CORRUPT, Fault.ANSWER_LATE)  # answers that say nothing


class _Unreached(Exception):
    """Nothing came back: the event comes again after a pause."""


class _Died(Exception):
    """The worker died with the bus in hand."""


class Worker:
    """All workers of a site; they share nothing but what is committed."""

    def __init__(self, engine: Engine, loop: Loop, fate: Fate, oracle: Oracle) -> None:
        self._engine, self._loop, self._fate, self._oracle = engine, loop, fate, oracle
        self._restores: dict[Gateway, list[float]] = {}
        engine.ring = self.ring

    def ring(self, command: Command, when: float) -> None:
        """Have a command served at an instant; a later ring takes the place of an earlier one."""
        command.due = when

        def rung() -> None:
            if command.due == when and command.unfinished:
                self._loop.start(self._serve(command))

        self._loop.at(when, rung)

    def _later(self, command: Command) -> None:
        command.tries += 1
        self.ring(command, self._loop.now + min(_BACK_OFF_CAP_S, 2**command.tries))

    def _serve(self, command: Command) -> Errand:
        gateway, loop = command.meter.gateway, self._loop
        if not self._engine.take(command):
            return
        if gateway.off_until > loop.now:
            self._later(command)
            return
        yield from self._turn(gateway, priority_of(command.kind), command)
        try:
            if self._engine.take(command):
                yield from self._run(command)
        except _Unreached:
            self._later(command)
        except _Died:
            yield _LEASE_S
            self.ring(command, loop.now + 1)
        finally:
            gateway.lane.leave()

    def _turn(self, gateway: Gateway, priority: Priority, command: Command) -> Errand:
        """Wait for the bus. What is less urgent must not get it while a restore waits."""
        waiting = self._restores.setdefault(gateway, [])
        if command.kind is not CommandKind.TRIP:
            since = self._loop.now
            waiting.append(since)
            yield gateway.lane, priority
            waiting.remove(since)
        else:
            yield gateway.lane, priority
            if waiting and min(waiting) < self._loop.now:
                self._oracle.overtaken(command, self._loop.now)

    def busy(self, gateway: Gateway, turns: int) -> None:
        """Settings for many meters wait for the bus, a turn each."""
        for _ in range(turns):
            self._loop.start(self._settings(gateway))

    def _settings(self, gateway: Gateway) -> Errand:
        yield gateway.lane, Priority.SETTINGS
        yield 4 * _EXCHANGE_S
        gateway.lane.leave()

    def _run(self, command: Command) -> Errand:
        engine, meter = self._engine, command.meter
        for writes_left in range(WRITES_A_TRY, -1, -1):
            relay = yield from self._look(meter)
            now = self._loop.now
            step = self._step(command, relay)
            if step is CommandStep.SEND:
                if not writes_left:
                    break
                if not engine.about_to_write(command, relay):
                    return
                command.refusal = None
                if self._fate.strikes(Fault.WORKER_CRASH):
                    raise _Died
                yield from self._write(command)
                continue
            self._read(meter, now)
            if step is CommandStep.WAIT:
                self.ring(command, now + pause_of(command.kind).total_seconds())
            else:
                engine.ended(command, CommandState(step))
            return
        raise _Unreached

    def _step(self, command: Command, relay: bool) -> CommandStep:
        now, sent = self._loop.now, command.sent_at
        sight = compare_relay(
            kind=command.kind,
            before=command.relay_before,
            after=relay,
            has_money=command.meter.money is MoneyIn.METER,
        )
        facts = CommandFacts(
            kind=command.kind,
            writes=command.writes,
            accepted=command.accepted,
            refusal=command.refusal,
            since_write=timedelta(seconds=now - (now if sent is None else sent)),
            overdue=now >= command.expires,
            sight=sight,
            shown="",
        )
        return decide_command(facts)[0]

    def _look(self, meter: Meter) -> Generator[float, None, bool]:
        """The relay as the meter tells it; one lost answer is asked for again."""
        for _ in range(2):
            if not self._hears(meter) or self._fate.strikes(Fault.ANSWER_LOST):
                yield _TIME_OUT_S
                continue
            yield _EXCHANGE_S
            if not self._fate.strikes(Fault.ANSWER_CORRUPT):
                return meter.closed
        raise _Unreached

    def _hears(self, meter: Meter) -> bool:
        return max(meter.silent_until, meter.gateway.off_until) <= self._loop.now

    # Writes

    def _write(self, command: Command) -> Errand:
        meter, gateway = command.meter, command.meter.gateway
        if gateway.queues:
            yield from self._write_by_queue(command)
            return
        yield _EXCHANGE_S
        if not self._hears(meter) or self._fate.strikes(Fault.REQUEST_LOST):
            yield _TIME_OUT_S
        else:
            yield from self._obeyed(command)

    def _obeyed(self, command: Command) -> Errand:
        """The meter has the write before it: it acts, or says no, and answers, or does not."""
        meter, now = command.meter, self._loop.now
        if meter.refuses_until > now:
            self._fate.note(Fault.METER_REFUSES)
            command.refusal = "the meter refuses"
            yield _EXCHANGE_S
            return
        self._act(command)
        if meter.mute_until > now:
            self._fate.note(Fault.METER_MUTE)
            yield _TIME_OUT_S
        elif any(map(self._fate.strikes, _NO_USE)):
            yield _TIME_OUT_S
        else:
            self._fate.strikes(Fault.ANSWER_DOUBLED)
            yield _EXCHANGE_S
            command.accepted = command.unfinished

    def _act(self, command: Command) -> None:
        meter, now = command.meter, self._loop.now
        was = meter.closed
        meter.obey(command.kind, now)
        self._oracle.acted(command, was, now)

    def _write_by_queue(self, command: Command) -> Errand:
        """A gateway takes the command into its queue, and looks at its own clock before it acts."""
        gateway, now = command.meter.gateway, self._loop.now
        gateway.newest[command.meter] = command
        issued = self._engine.when(command.issued)
        sealed = Cmd(
            _ID,
            str(command.meter.no),
            _OPS[command.kind],
            issued,
            self._engine.when(command.expires),
        )
        if gateway.stalled_until > now:
            self._fate.note(Fault.GATEWAY_QUEUE)
            self._loop.at(
                gateway.stalled_until, lambda: self._loop.start(self._deliver(command, sealed))
            )
            yield _GATEWAY_PATIENCE_S
            return
        yield _EXCHANGE_S
        yield from self._deliver(command, sealed)

    def _deliver(self, command: Command, sealed: Cmd) -> Errand:
        gateway, now = command.meter.gateway, self._loop.now
        if gateway.newest.get(command.meter) is not command:
            return  # a newer one overtook it
        try:
            at = self._engine.when(now + gateway.clock_off)
            sealed.refuse_unless_due(at=at, trips_allowed=abs(gateway.clock_off) <= 60)
        except DomainError:
            self._fate.note(Fault.EXPIRED_IN_GATEWAY)
            return
        if not self._hears(command.meter):
            yield _TIME_OUT_S
        else:
            yield from self._obeyed(command)

    # Sweeps

    def sweep(self, gateway: Gateway) -> None:
        """Read all meters of a gateway, and again a period later."""
        now = self._loop.now
        self._loop.at(now + PERIOD_S, lambda: self.sweep(gateway))
        if gateway.off_until > now:
            return
        for meter in gateway.meters:
            if now < meter.calm_until:
                row = meter.row
                row.read_at = now + gateway.clock_off if gateway.queues else now
                row.received_at = meter.measured = now
            elif meter.silent_until <= now:
                self._read(meter, now)
            else:
                continue
            quiet = meter.closed and (meter.purse is None or meter.purse.right > 0)
            if not quiet:
                self._oracle.swept(meter, meter.closed, now)

    def _read(self, meter: Meter, now: float) -> None:
        meter.accrue(now)
        gateway = meter.gateway
        read_at = now + gateway.clock_off if gateway.queues else now
        meter.measured = now
        self._engine.read(meter, int(meter.energy_ws) // WS_PER_WH, meter.closed, read_at)

    def late_reading(self, meter: Meter, age: float) -> None:
        """A gateway hands in what it read a while ago."""
        now = self._loop.now
        meter.accrue(now)
        if meter.silent_until <= now:
            return  # its own reading is the newest
        self._fate.note(Fault.READING_LATE)
        meter.measured = max(meter.measured, now - age)
        total = int(meter.energy_ws - (meter.load_w * age if meter.closed else 0)) // WS_PER_WH
        if total >= meter.read_wh:
            self._engine.read(meter, total, meter.row.relay, now - age)


_OPS = {
    CommandKind.TRIP: Op.TRIP,
    CommandKind.CLOSE: Op.CLOSE,
    CommandKind.ALLOW_CLOSE: Op.ALLOW_CLOSE,
    CommandKind.KEEP_POWER: Op.KEEP_POWER,
    CommandKind.RELEASE: Op.RELEASE,
}
