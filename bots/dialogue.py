"""The conversation as a pure state machine: words in, short answers and at most one wish out.

`step` never does I/O. When a turn carries an effect, the edge does it and calls `finish` for the
answer. No effect charges anybody: 充值 50 ends in a link to a page where the customer pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backend.kernel.money import Money

from .amounts import AmountFault
from .answers import (
    balance_answer,
    human_answer,
    lasting_answer,
    pay_answer,
    power_out_answer,
    records_answer,
    usage_answer,
)
from .choices import (
    Pair,
    account_list,
    accounts_in_order,
    current_account,
    meter_list,
    meters_meant,
    named,
)
from .effects import (
    BindingDone,
    BindingRefused,
    BindingStarted,
    Effect,
    EffectFailed,
    MakePayLink,
    Outcome,
    PayLink,
    Refusal,
    Turn,
    UnbindAccount,
    Unbound,
)
from .enrolment import enrolment_answer, enrolment_turn, unbound_turn
from .intents import (
    Balance,
    Bill,
    Code,
    Help,
    Human,
    Intent,
    Lasting,
    Number,
    Pick,
    PowerOut,
    Price,
    Records,
    Refunds,
    Supply,
    Switch,
    TopUp,
    Unbind,
    Unknown,
    Usage,
    Welcome,
    parse,
)
from .prices import bill_answer, price_answer, refunds_answer, steps_answer
from .state import MAX_CHOICES, MAX_MISSES, Pending, State, Topic
from .texts import say
from .view import AccountView, View
from .wording import account_name, yuan

_LISTS = frozenset(
    {
        Topic.BALANCE,
        Topic.LASTING,
        Topic.TOP_UP,
        Topic.USAGE,
        Topic.POWER_OUT,
        Topic.PRICE,
        Topic.STEPS,
        Topic.BILL,
        Topic.SWITCH,
        Topic.UNBIND,
    }
)
_KINDS = {
    Supply.ELECTRICITY: "kind.electricity",
    Supply.WATER: "kind.water",
    Supply.HEAT: "kind.heat",
}


@dataclass(frozen=True, slots=True)
class _Talk:
    state: State
    view: View
    now: datetime

    def answer(self, text: str, pending: Pending | None = None) -> Turn:
        """One reply; `pending` is the open question after it. A code that is awaited stays so."""
        question = self.state.open_question(self.now)
        if pending is None and question is not None and question.topic is Topic.BIND_CODE:
            return Turn((text,), self.state.understood())
        return Turn((text,), self.state.asking(pending, self.now))


def step(*, state: State, said: Intent | str, view: View, now: datetime) -> Turn:
    """The turn that answers `said` (text as typed, or the intent of a menu click). Never raises.

    `view` is fresh from the database, `now` is zoned. The turn has one reply, or an effect for
    the edge and then `finish`.
    """
    intent = parse(said) if isinstance(said, str) else said
    turn = enrolment_turn(state=state, intent=intent, view=view, now=now)
    if turn is not None:
        return turn
    if not view.accounts:
        return unbound_turn(state=state, intent=intent, view=view, now=now)
    return _bound_turn(_Talk(state, view, now), intent)


def finish(*, state: State, effect: Effect, outcome: Outcome, view: View, now: datetime) -> Turn:
    """The answer after the edge did `effect`; `state` and `view` as `step` left and saw them.

    Raises TypeError when the outcome cannot belong to the effect (a fault of the edge).
    """
    talk = _Talk(state, view, now)
    match effect, outcome:
        case MakePayLink(), PayLink(url):
            return _pay(talk, effect, url)
        case MakePayLink(), EffectFailed(Refusal.SELLING_STOPPED):
            return talk.answer(say("top_up.stopped"))
        case MakePayLink(), EffectFailed():
            return talk.answer(say("top_up.failed"))
        case UnbindAccount(), Unbound():
            return talk.answer(say("unbind.done"))
        case UnbindAccount(), EffectFailed():
            return talk.answer(say("unbind.failed"))
        case ((MakePayLink() | UnbindAccount()), _):
            raise TypeError(f"{type(outcome).__name__} does not answer {type(effect).__name__}")
        case _, (BindingStarted() | BindingDone() | BindingRefused()):
            return enrolment_answer(state=state, outcome=outcome, now=now)
        case _:
            raise TypeError(f"{type(outcome).__name__} does not answer {type(effect).__name__}")


def _bound_turn(talk: _Talk, intent: Intent) -> Turn:
    match intent:
        case Pick(n):
            return _picked(talk, n)
        case Balance(supply):
            return _about_meters(talk, Pending(Topic.BALANCE), supply)
        case Lasting(supply):
            return _about_meters(talk, Pending(Topic.LASTING), supply)
        case Usage(span, supply):
            return _about_meters(talk, Pending(Topic.USAGE, span=span), supply)
        case PowerOut(supply):
            return _about_meters(talk, Pending(Topic.POWER_OUT), supply)
        case Price(supply, steps):
            return _about_meters(talk, Pending(Topic.STEPS if steps else Topic.PRICE), supply)
        case Bill(supply):
            return _about_meters(talk, Pending(Topic.BILL), supply)
        case Refunds():
            account = current_account(view=talk.view, state=talk.state)
            chosen = account.id if account else None
            return talk.answer(refunds_answer(view=talk.view, account_id=chosen, now=talk.now))
        case TopUp():
            return _top_up(talk, intent)
        case Records():
            account = current_account(view=talk.view, state=talk.state)
            chosen = account.id if account else None
            return talk.answer(records_answer(view=talk.view, account_id=chosen, now=talk.now))
        case Switch():
            return _switch(talk)
        case Unbind():
            return _unbind(talk)
        case Human():
            return talk.answer(human_answer(view=talk.view))
        case Welcome():
            return talk.answer(say("help.welcome") + "\n" + say("help.lines"))
        case Help():
            return talk.answer(say("help.lines"))
        case Number(text) | Code(text) | Unknown(text):
            return _named(talk, text) or _not_understood(talk, intent)
        case _:
            return _missed(talk)


def _about_meters(talk: _Talk, wish: Pending, supply: Supply | None) -> Turn:
    """Answer for the one meter that is meant, or ask which."""
    pairs = meters_meant(view=talk.view, state=talk.state, supply=supply)
    if not pairs:
        if supply is None:
            return talk.answer(say("meter.none"))
        return talk.answer(say("meter.none_of_kind", kind=say(_KINDS[supply])))
    if len(pairs) == 1:
        return _for_meter(talk, wish, pairs[0])
    return _ask_which(talk, wish, pairs)


def _ask_which(talk: _Talk, wish: Pending, pairs: list[Pair]) -> Turn:
    ids = tuple(meter.id for _, meter in pairs[:MAX_CHOICES])
    question = Pending(wish.topic, ids, wish.amount, wish.span)
    return talk.answer(
        meter_list(view=talk.view, pairs=pairs, topic=wish.topic, now=talk.now), question
    )


def _for_meter(talk: _Talk, wish: Pending, pair: Pair) -> Turn:
    """What `wish` asks, for this meter."""
    (account, meter), view, now = pair, talk.view, talk.now
    if wish.topic is Topic.TOP_UP:
        effect = MakePayLink(account.id, wish.amount, meter.id)
        return Turn((), talk.state.asking(None, now), effect)
    if wish.topic is Topic.USAGE:
        span = wish.span
        return talk.answer(
            usage_answer(view=view, account=account, meter=meter, span=span, now=now)
        )
    if wish.topic is Topic.LASTING:
        return talk.answer(lasting_answer(view=view, account=account, meter=meter, now=now))
    if wish.topic is Topic.PRICE:
        return talk.answer(price_answer(view=view, account=account, meter=meter))
    if wish.topic is Topic.STEPS:
        return talk.answer(steps_answer(view=view, account=account, meter=meter))
    if wish.topic is Topic.BILL:
        return talk.answer(bill_answer(view=view, account=account, meter=meter, now=now))
    if wish.topic is Topic.POWER_OUT:
        return talk.answer(power_out_answer(view=view, account=account, meter=meter, now=now))
    return talk.answer(balance_answer(view=view, account=account, meter=meter, now=now))


def _top_up(talk: _Talk, wish: TopUp) -> Turn:
    view = talk.view
    if wish.fault is AmountFault.TOO_FINE:
        return talk.answer(say("top_up.too_fine"))
    if wish.fault is AmountFault.NOT_AN_AMOUNT:
        return talk.answer(say("top_up.not_an_amount"))
    out = wish.amount is not None and not view.least <= wish.amount <= view.most
    if out or wish.fault is AmountFault.TOO_LARGE:
        limits = say("top_up.limits", least=yuan(view.least), most=yuan(view.most))
        return talk.answer(limits)
    return _about_meters(talk, Pending(Topic.TOP_UP, amount=wish.amount), wish.supply)


def _pay(talk: _Talk, effect: MakePayLink, url: str) -> Turn:
    account = talk.view.account(effect.account_id)
    if account is None:
        return talk.answer(say("list.expired"))
    meter = next((m for m in account.meters if m.id == effect.meter_id), None)
    amount: Money | None = effect.amount
    text = pay_answer(
        view=talk.view,
        account=account,
        meter=meter,
        amount=None if amount is None else yuan(amount),
        url=url,
    )
    return talk.answer(text)


def _switch(talk: _Talk) -> Turn:
    accounts = accounts_in_order(view=talk.view)
    if len(accounts) == 1:
        return talk.answer(say("switch.only", label=account_name(accounts[0])))
    ids = tuple(account.id for account in accounts[:MAX_CHOICES])
    text = account_list(accounts=accounts, topic=Topic.SWITCH)
    return talk.answer(text, Pending(Topic.SWITCH, ids))


def _switched(talk: _Talk, account: AccountView) -> Turn:
    text = say("switch.done", label=account_name(account))
    return Turn((text,), talk.state.asking(None, talk.now).choosing(account.id))


def _unbind(talk: _Talk) -> Turn:
    accounts = accounts_in_order(view=talk.view)
    if len(accounts) == 1:
        return _confirm_unbind(talk, accounts[0])
    ids = tuple(account.id for account in accounts[:MAX_CHOICES])
    text = account_list(accounts=accounts, topic=Topic.UNBIND)
    return talk.answer(text, Pending(Topic.UNBIND, ids))


def _confirm_unbind(talk: _Talk, account: AccountView) -> Turn:
    text = say("unbind.sure", label=account_name(account))
    return talk.answer(text, Pending(Topic.UNBIND_CONFIRM, (account.id,)))


def _picked(talk: _Talk, n: int) -> Turn:
    """Act on the number of the open list; a choice that is gone from the view is not acted on."""
    question = talk.state.open_question(talk.now)
    if question is None or question.topic is Topic.BIND_NUMBER:
        return talk.answer(say("list.expired"))
    if question.topic is Topic.BIND_CODE:
        return Turn((say("bind.code_please"),), talk.state.understood())
    if question.topic is Topic.UNBIND_CONFIRM:
        return _unbind_decided(talk, question.choices[0], n)
    if n > len(question.choices):
        text = say("list.range", count=str(len(question.choices)))
        return Turn((text,), talk.state.understood())
    return _chosen(talk, question, question.choices[n - 1])


def _unbind_decided(talk: _Talk, account_id: str, n: int) -> Turn:
    if n == 1 and talk.view.account(account_id) is not None:
        return Turn((), talk.state.asking(None, talk.now), UnbindAccount(account_id))
    if n == 2:
        return talk.answer(say("unbind.kept"))
    return talk.answer(say("list.expired"))


def _chosen(talk: _Talk, question: Pending, chosen: str) -> Turn:
    if question.topic in (Topic.SWITCH, Topic.UNBIND):
        account = talk.view.account(chosen)
        if account is None:
            return talk.answer(say("list.expired"))
        done = _switched if question.topic is Topic.SWITCH else _confirm_unbind
        return done(talk, account)
    pair = talk.view.meter(chosen)
    if pair is None:
        return talk.answer(say("list.expired"))
    turn = _for_meter(talk, question, pair)
    if turn.effect is not None:
        return turn
    # Looking at one meter does not close the list: the next number looks at another.
    return Turn(turn.replies, talk.state.understood())


def _named(talk: _Talk, text: str) -> Turn | None:
    """A label, room or account number answers the open list, else asks for that balance."""
    thing = named(view=talk.view, text=text)
    if thing is None:
        return None
    question = talk.state.open_question(talk.now)
    if question is None or question.topic not in _LISTS:
        question = Pending(Topic.BALANCE)
    account, meter = thing if isinstance(thing, tuple) else (thing, None)
    if question.topic in (Topic.SWITCH, Topic.UNBIND):
        return _chosen(talk, question, account.id)
    pairs = [(account, m) for m in account.meters] if meter is None else [(account, meter)]
    if not pairs:
        return talk.answer(say("meter.none"))
    return (
        _for_meter(talk, question, pairs[0])
        if len(pairs) == 1
        else _ask_which(talk, question, pairs)
    )


def _not_understood(talk: _Talk, intent: Intent) -> Turn:
    if isinstance(intent, Code):
        return talk.answer(say("bind.code_unexpected"))
    return _missed(talk)


def _missed(talk: _Talk) -> Turn:
    """The three commands people use most and 人工; after two misses in a row the person comes first."""
    after = talk.state.missed()
    if after.misses < MAX_MISSES:
        return Turn((say("miss.first"),), after)
    return Turn((human_answer(view=talk.view) + "\n" + say("miss.commands"),), after)
