"""Bugs that people write about cuts, planted for one test: each must be found by the policy simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from backend.chaos.policy_engine import Engine
from backend.chaos.policy_world import Command, Meter
from backend.control.command_rules import CommandFacts, CommandKind, CommandStep, decide_command
from backend.control.supply_rules import (
    Decision,
    Force,
    Supply,
    SupplyPolicy,
    Want,
    Why,
    decide,
)
from backend.kernel.money import ZERO, Money
from backend.uplink.message import Cmd
from workers.links.lane import Priority

Plant = Callable[[pytest.MonkeyPatch], None]


def blind(**facts: Any) -> Plant:
    """A `decide` that does not look at some facts."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def decides(supply: Supply) -> Decision:
            return decide(replace(supply, **facts))

        patch.setattr("backend.chaos.policy_engine.decide", decides)

    return plant


def money_lifts_a_lock(patch: pytest.MonkeyPatch) -> None:
    """Who paid has power, whatever opened the circuit."""

    def decides(supply: Supply) -> Decision:
        paid = supply.safety is not None and supply.available > ZERO
        return decide(replace(supply, safety=None) if paid else supply)

    patch.setattr("backend.chaos.policy_engine.decide", decides)


def money_lifts_an_operators_word(patch: pytest.MonkeyPatch) -> None:
    """Who paid has power, also against an operator's trip."""

    def decides(supply: Supply) -> Decision:
        forced = supply.policy is SupplyPolicy.FORCED_OFF and supply.available > ZERO
        return decide(replace(supply, policy=SupplyPolicy.AUTO) if forced else supply)

    patch.setattr("backend.chaos.policy_engine.decide", decides)


def nobody_is_ever_cut(patch: pytest.MonkeyPatch) -> None:
    """The safest engine of all cuts nobody."""

    def decides(supply: Supply) -> Decision:
        found = decide(supply)
        return Decision(Want.ON, Why.PAID, (), None) if found.why is Why.ARREARS else found

    patch.setattr("backend.chaos.policy_engine.decide", decides)


def a_cut_is_for_ever(patch: pytest.MonkeyPatch) -> None:
    """What was cut for arrears is taken for open by the customer's own hand."""

    def decides(supply: Supply) -> Decision:
        cut = supply.force == Force(CommandKind.TRIP, Why.ARREARS)
        return decide(replace(supply, force=None) if cut and supply.available > ZERO else supply)

    patch.setattr("backend.chaos.policy_engine.decide", decides)


def protection_is_for_decide_alone(patch: pytest.MonkeyPatch) -> None:
    """A trip is written though its meter came to be protected since it was asked for."""
    patch.setattr(Engine, "_still_meant", lambda engine, command: True)


def a_trip_lives_a_day(patch: pytest.MonkeyPatch) -> None:
    """Retried until it works."""
    patch.setattr("backend.chaos.policy_engine.life_of", lambda kind: timedelta(hours=24))
    patch.setattr(Cmd, "__post_init__", lambda command: None)


def a_gateway_does_what_it_was_told_whenever(patch: pytest.MonkeyPatch) -> None:
    """The queue on site does not look at the clock."""

    def due(command: Cmd, *, at: datetime, trips_allowed: bool) -> None:
        """Always."""

    patch.setattr(Cmd, "refuse_unless_due", due)


def a_restore_waits_its_turn(patch: pytest.MonkeyPatch) -> None:
    """First come, first served."""
    patch.setattr("backend.chaos.policy_worker.priority_of", lambda kind: Priority.SETTINGS)


def a_price_is_a_price(patch: pytest.MonkeyPatch) -> None:
    """What was typed a hundred times too high is owed."""
    patch.setattr("backend.chaos.policy_facts.doubtful", lambda charged: Money(0))


def no_limit(patch: pytest.MonkeyPatch) -> None:
    """All that are due, at once."""
    patch.setattr("backend.chaos.policy_engine.trips_at_most", lambda meters: 10_000)
    patch.setattr(
        "backend.chaos.policy_engine.trips_of_the_platform_at_most", lambda meters: 10_000
    )


def a_protected_meter_is_told_to_trip(patch: pytest.MonkeyPatch) -> None:
    """The list is looked at by nobody."""

    def forgets(engine: Engine, meter: Meter, kind: CommandKind, why: Why | None) -> Command | None:
        protected_at, meter.protected_at = meter.protected_at, None
        try:
            command = ask(engine, meter, kind, why)
        finally:
            meter.protected_at = protected_at
        return command

    ask = Engine.ask
    patch.setattr(Engine, "ask", forgets)
    patch.setattr(Engine, "_still_meant", lambda engine, command: True)
    blind(protected=False)(patch)


def an_answer_is_not_made_up_for(patch: pytest.MonkeyPatch) -> None:
    """A write without an answer has failed, and somebody will see to it."""

    def gives_up(facts: CommandFacts) -> tuple[CommandStep, str]:
        step, words = decide_command(facts)
        again = step is CommandStep.SEND and facts.writes > 0
        return (CommandStep.VERIFIED if again else step), words

    patch.setattr("backend.chaos.policy_worker.decide_command", gives_up)
    patch.setattr("backend.chaos.policy_facts.seen", lambda meter: None)


# Each bug with a word of what is said of it.
BUGS: dict[str, tuple[Plant, str]] = {
    "the hours of cuts are dropped": (blind(window_open=True), "outside the window"),
    "the days of no cuts are dropped": (blind(no_cut_day=False), "a day of no cuts"),
    "an old reading is as good as a new one": (blind(reading_age=timedelta(0)), "reading is old"),
    "a payment on its way is not waited for": (blind(payment_pending=False), "on its way"),
    "a billing hold is dropped": (blind(hold=False), "its use is not known"),
    "nobody needs a warning": (blind(warned_for=timedelta(days=9)), "not warned in time"),
    "the notice is an hour": (blind(notice=timedelta(hours=1)), "not warned in time"),
    "the overdraft is forgotten": (blind(overdraft=ZERO), "there is money"),
    "keep-power is a policy like any": (blind(policy=SupplyPolicy.AUTO), "kept"),
    "a lease of a third party is not looked at": (blind(takeover=False), "a third party has it"),
    "money lifts a safety lock": (money_lifts_a_lock, "while a safety lock stands"),
    "money lifts an operator's word": (money_lifts_an_operators_word, "an operator's word"),
    "nobody is ever cut": (nobody_is_ever_cut, "owes for more than two cycles"),
    "a cut is for ever": (a_cut_is_for_ever, "dark for more than two cycles"),
    "protection is looked at by decide alone": (
        protection_is_for_decide_alone,
        "a trip of what is kept on was written",
    ),
    "a protected meter is told to trip": (a_protected_meter_is_told_to_trip, "kept on"),
    "a trip lives for a day": (a_trip_lives_a_day, "lives too long"),
    "a gateway does what it was told whenever": (
        a_gateway_does_what_it_was_told_whenever,
        "obeyed after its time",
    ),
    "a restore waits its turn": (a_restore_waits_its_turn, "waited behind another"),
    "a price is a price": (a_price_is_a_price, "there is money"),
    "there is no limit": (no_limit, "than the limit"),
    "a lost answer is not made up for": (an_answer_is_not_made_up_for, "two cycles"),
}
