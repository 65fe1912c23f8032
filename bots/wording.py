"""Figures and names as a customer reads them: yuan with two decimals, China time, short names. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from backend.kernel.clock import CHINA
from backend.kernel.money import HAO_PER_FEN, Money
from backend.kernel.quantity import Quantity

from .intents import Supply
from .texts import say
from .view import AccountView, MeterView, View

NAME_CHARS = 16
ADDRESS_CHARS = 40
_UNIT = {
    Supply.ELECTRICITY: "unit.electricity",
    Supply.WATER: "unit.water",
    Supply.HEAT: "unit.heat",
}
_LONG_NUMBER = re.compile(r"(?<![0-9])1[0-9]{10}(?![0-9])")


def yuan(amount: Money) -> str:
    """Yuan with two decimals, rounded towards less for the customer: never more than there is."""
    return str(Money.of_fen(amount.hao // HAO_PER_FEN))


def exact(amount: Money) -> str:
    """Yuan to the 1/10,000 where there is such a part, else with two decimals: prices and charges."""
    whole, _, part = str(amount).partition(".")
    return f"{whole}.{part.rstrip('0'):0<2}"


def owed(balance: Money) -> str:
    """The debt that a negative balance is, as yuan with two decimals, a part of a fen as a whole one."""
    return str(Money.of_fen(-(balance.hao // HAO_PER_FEN)))


def data_time(at: datetime, now: datetime) -> str:
    """`at` in China time, as short as it can be said on the day of `now`."""
    local, today = at.astimezone(CHINA), now.astimezone(CHINA)
    clock = f"{local:%H:%M}"
    if local.date() == today.date():
        return say("time.clock", time=clock)
    month, day = str(local.month), str(local.day)
    if local.year == today.year:
        return say("time.day", month=month, day=day, time=clock)
    return say("time.year", year=str(local.year), month=month, day=day, time=clock)


def figure(quantity: Quantity | None, supply: Supply) -> str:
    """Use with its everyday unit, or that it is not known."""
    if quantity is None:
        return say("usage.unread")
    value = quantity.decimal.rstrip("0").rstrip(".")
    return say("usage.figure", value=value, unit=say(_UNIT[supply]))


def short(name: str, *, limit: int = NAME_CHARS) -> str:
    """A name that people chose: one line, at most `limit` characters, phone numbers in it masked."""
    plain = "".join(ch if ch.isprintable() else " " for ch in name)
    plain = " ".join(mask_phones(plain).split())
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def mask_phones(text: str) -> str:
    """`text` with each mainland mobile number as 138****5678."""
    return _LONG_NUMBER.sub(lambda m: f"{m[0][:3]}****{m[0][-4:]}", text)


def account_name(account: AccountView) -> str:
    """The label of the account, or its number when it has none."""
    return short(account.label) or short(account.account_no)


def meter_name(view: View, account: AccountView, meter: MeterView) -> str:
    """The meter's name, after the account's when the customer has several and
    it does not say it already."""
    if len(view.accounts) < 2 or meter.name.startswith(account.label):
        return short(meter.name)
    return say("name.full", account=account_name(account), meter=short(meter.name))
