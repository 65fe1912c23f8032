"""Which account or meter the words are about: the one, the default, a name, or a numbered list. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from .intents import Supply
from .normalise import normalise, without_spaces
from .state import MAX_CHOICES, State, Topic
from .texts import say
from .view import AccountView, MeterView, View
from .wording import account_name, data_time, meter_name, yuan

Pair = tuple[AccountView, MeterView]
_Thing = TypeVar("_Thing")

_HEADS = {
    Topic.BALANCE: "list.balance",
    Topic.LASTING: "list.lasting",
    Topic.TOP_UP: "list.top_up",
    Topic.USAGE: "list.usage",
    Topic.POWER_OUT: "list.power_out",
    Topic.PRICE: "list.price",
    Topic.STEPS: "list.price",
    Topic.BILL: "list.bill",
    Topic.SWITCH: "list.switch",
    Topic.UNBIND: "list.unbind",
}
_NEVER = 1_000_000
_MIN_NAME = 2


def current_account(*, view: View, state: State) -> AccountView | None:
    """The only account, else the one switched to, else the default; None when none of them is."""
    if len(view.accounts) == 1:
        return view.accounts[0]
    return view.account(state.selected) or view.account(view.default_account_id)


def meters_meant(*, view: View, state: State, supply: Supply | None) -> list[Pair]:
    """The meters of the current account (of all when there is none, or when it has none of the
    kind), those that run out first at the top."""
    account = current_account(view=view, state=state)
    near = _of_kind(() if account is None else (account,), supply)
    return sorted(near or _of_kind(view.accounts, supply), key=_meter_order)


def accounts_in_order(*, view: View) -> list[AccountView]:
    """All accounts, the one that runs out first at the top."""
    return sorted(view.accounts, key=_account_order)


def meter_list(*, view: View, pairs: Sequence[Pair], topic: Topic, now: datetime) -> str:
    """A numbered list of at most nine meters; for balances and top-ups with what is left."""
    lines = [say(_HEADS[topic])]
    for number, (account, meter) in enumerate(pairs[:MAX_CHOICES], start=1):
        at, name = str(number), meter_name(view, account, meter)
        if topic not in (Topic.BALANCE, Topic.TOP_UP):
            lines.append(say("list.item", number=at, name=name))
        elif meter.remaining is None or meter.data_at is None:
            lines.append(say("list.item_unread", number=at, name=name))
        else:
            left, time = yuan(meter.remaining), data_time(meter.data_at, now)
            lines.append(say("list.item_money", number=at, name=name, amount=left, time=time))
    return "\n".join([*lines, _hint(len(pairs))])


def account_list(*, accounts: Sequence[AccountView], topic: Topic) -> str:
    """A numbered list of at most nine accounts."""
    lines = [say(_HEADS[topic])]
    for number, account in enumerate(accounts[:MAX_CHOICES], start=1):
        lines.append(say("list.item", number=str(number), name=account_name(account)))
    return "\n".join([*lines, _hint(len(accounts))])


def named(*, view: View, text: str) -> AccountView | Pair | None:
    """The account or meter that the whole of `text` names: its number, label or name.

    The beginning of exactly one label or name is enough (301 for 301室).
    """
    wanted = _key(text)
    if len(wanted) < _MIN_NAME:
        return None
    accounts = [(account, (account.account_no, account.label)) for account in view.accounts]
    meters = [((a, m), (m.name,)) for a in view.accounts for m in a.meters]
    for exact in (True, False):
        if account := _one(accounts, wanted, exact=exact):
            return account
        if pair := _one(meters, wanted, exact=exact):
            return pair
    return None


def _one(
    entries: Sequence[tuple[_Thing, tuple[str, ...]]], wanted: str, *, exact: bool
) -> _Thing | None:
    found = [
        thing
        for thing, names in entries
        if any(
            _key(name) == wanted or (not exact and _key(name).startswith(wanted)) for name in names
        )
    ]
    return found[0] if len(found) == 1 else None


def _key(name: str) -> str:
    return without_spaces(normalise(name))


def _hint(count: int) -> str:
    hint = say("list.hint")
    return hint if count <= MAX_CHOICES else hint + say("list.more", count=str(count))


def _of_kind(accounts: Sequence[AccountView], supply: Supply | None) -> list[Pair]:
    return [(a, m) for a in accounts for m in a.meters if supply is None or m.supply is supply]


def _meter_order(pair: Pair) -> tuple[int, str, str, str]:
    account, meter = pair
    days = _NEVER if meter.days_left is None else meter.days_left
    return days, account.label, meter.name, meter.id


def _account_order(account: AccountView) -> tuple[int, str, str]:
    days = [m.days_left for m in account.meters if m.days_left is not None]
    return min(days, default=_NEVER), account.label, account.id
