"""A customer with meters, and a chat that plays the edge: it does effects and stores the state as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from backend.kernel.money import Money
from backend.kernel.quantity import Quantity, Unit
from bots.dialogue import finish, step
from bots.effects import (
    BindingDone,
    BindingStarted,
    ConfirmBinding,
    Effect,
    MakePayLink,
    Outcome,
    PayLink,
    StartBinding,
    Unbound,
)
from bots.intents import Intent, Supply
from bots.state import State
from bots.view import AccountView, MeterView, Relay, TopUpProgress, TopUpView, UsageView, View

NOW = datetime(2026, 5, 3, 2, 40, tzinfo=UTC)  # 10:40 in China


@dataclass
class Chat:
    """One customer's conversation; `effects` is everything the bot ever asked for."""

    view: View
    now: datetime = NOW
    outcomes: dict[type, Outcome] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    stored: str | None = None

    def say(self, said: Intent | str) -> str:
        """The reply to one message, its effect done as the edge does it."""
        turn = step(state=State.from_json(self.stored), said=said, view=self.view, now=self.now)
        if turn.effect is not None:
            assert turn.replies == ()
            self.effects.append(turn.effect)
            turn = finish(
                state=turn.state,
                effect=turn.effect,
                outcome=self._outcome(turn.effect),
                view=self.view,
                now=self.now,
            )
        assert turn.effect is None
        self.stored = turn.state.to_json()
        assert State.from_json(self.stored) == turn.state
        (reply,) = turn.replies
        return reply

    def _outcome(self, effect: Effect) -> Outcome:
        usual: dict[type, Outcome] = {
            StartBinding: BindingStarted("138****5678", "幸福路**号", "challenge-1"),
            ConfirmBinding: BindingDone("301室"),
            MakePayLink: PayLink("https://pay.example.com/p/token"),
        }
        return (usual | self.outcomes).get(type(effect), Unbound())


def _wh(value: int) -> Quantity:
    return Quantity(value, Unit.WATT_HOUR)


@pytest.fixture
def now() -> datetime:
    """The instant of the tests: 10:40 in China."""
    return NOW


@pytest.fixture
def power_meter() -> MeterView:
    """An electricity meter that is on, with 23.60 yuan and three days left."""
    return MeterView(
        "m1",
        "301室电表",
        Supply.ELECTRICITY,
        Money.parse("23.6099"),
        NOW - timedelta(minutes=10),
        Relay.CLOSED,
        True,
        3,
        UsageView(_wh(5200), _wh(8000), _wh(23456)),
    )


@pytest.fixture
def water_meter() -> MeterView:
    """A water meter closed for a debt of 3.50 yuan."""
    at = NOW - timedelta(minutes=10)
    return MeterView("m2", "301室水表", Supply.WATER, Money.parse("-3.5"), at, Relay.OPEN, True, 0)


@pytest.fixture
def one_meter(power_meter: MeterView) -> View:
    """A household with one meter."""
    home = AccountView("a1", "10010023", "301室", "幸福路**号301室", (power_meter,))
    return View((home,), service_phone="021-12345678")


@pytest.fixture
def home_and_shop(power_meter: MeterView, water_meter: MeterView) -> View:
    """A household with power and water, and a shop whose meter was never read."""
    home = AccountView("a1", "10010023", "301室", "幸福路**号301室", (power_meter, water_meter))
    unread = MeterView("m3", "B12电表", Supply.ELECTRICITY, None, None)
    shop = AccountView("a2", "10010024", "B12商铺", "中心商场B12", (unread,))
    paid = TopUpView("a1", Money.parse("50"), NOW - timedelta(days=1), TopUpProgress.WAITING_METER)
    return View((home, shop), top_ups=(paid,), service_phone="021-12345678")


@pytest.fixture
def chat_with() -> Callable[[View], Chat]:
    """Starts a conversation of the customer whom the view describes."""
    return Chat
