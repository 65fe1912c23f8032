"""What a command to a meter is, how long it lives, and what to do next with it by what the meter shows.

Pure. A relay is told as True (closed, power flows), False (open), None (not told).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from backend.kernel.band_calendar import (
    BANDS,
    CALENDAR_NAMES,
    Calendar,
    calendar_numbers,
    check_calendar,
    entry_named,
    entry_worded,
    plain,
)
from backend.kernel.errors import InvalidInput
from backend.kernel.money import HAO_PER_FEN, HAO_PER_YUAN, Money


class CommandKind(StrEnum):
    """What a meter is told to do. KEEP_POWER and TRIP force the relay closed or open whatever the
    money says, RELEASE gives it back to the meter's money; CLOSE closes it now; ALLOW_CLOSE lets the
    customer close it by the meter's key. PRICES are those of the rate bands, CALENDAR says when which band
    holds. LOAD_LIMITS are a load guard's, and no operator's own command."""

    TRIP = "TRIP"
    ALLOW_CLOSE = "ALLOW_CLOSE"
    CLOSE = "CLOSE"
    KEEP_POWER = "KEEP_POWER"
    RELEASE = "RELEASE"
    SYNC_CLOCK = "SYNC_CLOCK"
    PRICES = "PRICES"
    CALENDAR = "CALENDAR"
    THRESHOLDS = "THRESHOLDS"
    LOAD_LIMITS = "LOAD_LIMITS"


class Family(StrEnum):
    """Commands that decide over the same thing: the newest of a family is the one that is meant."""

    RELAY = "RELAY"
    CLOCK = "CLOCK"
    PRICES = "PRICES"
    CALENDAR = "CALENDAR"
    THRESHOLDS = "THRESHOLDS"
    LOAD_LIMITS = "LOAD_LIMITS"


class CommandState(StrEnum):
    """QUEUED: nothing was written. SENT: a write may have reached the meter. VERIFIED: the meter's
    read-back shows it. FAILED: refused, or the read-back shows something else. EXPIRED: its time ended
    first. SUPERSEDED: a newer command of its family came."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    VERIFIED = "VERIFIED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"


class Sight(StrEnum):
    """What a read-back tells of a command. PROVES: it is so, and was not before (or nothing but the
    state matters). FITS: it is so, but may have been so anyway, or the meter cannot show more."""

    PROVES = "PROVES"
    FITS = "FITS"
    DIFFERS = "DIFFERS"
    UNTOLD = "UNTOLD"


class CommandStep(StrEnum):
    """What to do next. WAIT: the meter took it and needs a moment (a valve moves for seconds)."""

    SEND = "SEND"
    WAIT = "WAIT"
    VERIFIED = "VERIFIED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


THRESHOLDS = ("alarm1", "alarm2", "overdraft", "overload_w")
# A meter that answers reads, but never a write, is not worn out by a day of writing.
MOST_WRITES = 9
CLOCK_WITHIN = timedelta(seconds=30)  # a slow line takes seconds, and is no fault of the clock

_FAMILIES = {
    CommandKind.SYNC_CLOCK: Family.CLOCK,
    CommandKind.PRICES: Family.PRICES,
    CommandKind.CALENDAR: Family.CALENDAR,
    CommandKind.THRESHOLDS: Family.THRESHOLDS,
    CommandKind.LOAD_LIMITS: Family.LOAD_LIMITS,
}
_AN_ERRAND = 4
_SLOW = (Family.PRICES, Family.CALENDAR, Family.THRESHOLDS, Family.LOAD_LIMITS)
_IN_W = ("overload_w", "most_w", "step_w")
_BARE = ("on", "trips", "factor_permille", "restore_minutes")
_WANTED = {CommandKind.TRIP: False, CommandKind.CLOSE: True, CommandKind.KEEP_POWER: True}
_LIFE_OF_TRIP = timedelta(seconds=120)
_LIFE = timedelta(hours=24)
# A relay or a valve moves within a minute. Prices may hold from a switch moment on (DL/T 645: minutes).
_SETTLES = timedelta(minutes=1)
_SETTINGS_SETTLE = timedelta(minutes=5)
_IN_FLIGHT = timedelta(minutes=1)  # a worker's job ends sooner, so no write is under way after it
_MOST_PRICE = Money(10 * HAO_PER_YUAN)
_MOST_THRESHOLD = 100_000 * HAO_PER_YUAN
_MOST_W = 1_000_000
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a meter. `settings`: PRICES in hao per kWh by band, CALENDAR as kernel.band_calendar
    has it, THRESHOLDS in hao by name (overload_w in W), LOAD_LIMITS as load_rules.limits_for gives them;
    empty for the others."""

    kind: CommandKind
    reason: str
    settings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """What is said with an order that sets something: `prices` per kWh by band, `thresholds` in hao by name
    (overload_w in W), or when which band holds. Unchecked."""

    prices: Sequence[tuple[str, Money]] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)
    calendar: Calendar | None = None


NOTHING = Given()


class CommandFacts(NamedTuple):
    """A command as it stands with the meter's read-back before us.

    `writes`: how many were announced; `accepted`: the meter answered that it took the last one;
    `refusal`: what it said instead; `since_write`: the time since the last one; `overdue`: nothing may
    be written any more; `shown`: `sight` in words.
    """

    kind: CommandKind
    writes: int
    accepted: bool
    refusal: str | None
    since_write: timedelta
    overdue: bool
    sight: Sight
    shown: str


def family_of(kind: CommandKind) -> Family:
    """The family of a kind."""
    return _FAMILIES.get(kind, Family.RELAY)


def together(kind: CommandKind) -> int:
    """How many commands of a kind are served in one go at a gateway: writes are announced together and nobody
    comes in between, so there are no more of them than who pays may wait for. Settings are many exchanges."""
    return 1 if family_of(kind) in _SLOW else _AN_ERRAND


def life_of(kind: CommandKind) -> timedelta:
    """How long a command may still be written after it was issued: a trip is never a late surprise."""
    return _LIFE_OF_TRIP if kind is CommandKind.TRIP else _LIFE


def settles_in(kind: CommandKind) -> timedelta:
    """How long after it took a write a meter may still show the old state."""
    return _SETTINGS_SETTLE if family_of(kind) in _SLOW else _SETTLES


def pause_of(kind: CommandKind) -> timedelta:
    """When to look again while a meter settles."""
    return settles_in(kind) // 12


def over_at(*, kind: CommandKind, expires_at: datetime, sent_at: datetime | None) -> datetime:
    """When nothing can come of a command any more: it expired, and what may have been written had its
    time to be read back."""
    if sent_at is None:
        return expires_at
    return max(expires_at, sent_at + settles_in(kind) + _IN_FLIGHT)


def check_reason(reason: str) -> str:
    """Why, as it is kept. Raises InvalidInput for less than four letters or more than two hundred."""
    told = reason.strip()
    if not 4 <= len(told) <= 200:
        raise InvalidInput("say in a few words why", field="reason")
    return told


def order_of(*, kind: CommandKind, reason: str, given: Given = NOTHING) -> Order:
    """A checked order. Raises InvalidInput: no reason, settings that are missing, not asked for by
    this kind, twice, or beyond what anybody can mean (a slip of the comma)."""
    told = check_reason(reason)
    if kind is CommandKind.LOAD_LIMITS:
        raise InvalidInput(
            "load limits are told by putting meters under a load guard", field="kind"
        )
    for name, said, of in (
        ("prices", given.prices, CommandKind.PRICES),
        ("thresholds", given.thresholds, CommandKind.THRESHOLDS),
        ("calendar", given.calendar, CommandKind.CALENDAR),
    ):
        if bool(said) != (kind is of):
            raise InvalidInput(f"{name} belong to {of}, and only to it", field=name)
    settings: dict[str, int] = {}
    for band, price in given.prices:
        if band not in BANDS or band in settings:
            raise InvalidInput(f"each band once: {', '.join(BANDS)}", field="prices")
        if not Money(0) < price <= _MOST_PRICE:
            raise InvalidInput("a price is above 0 and at most 10 yuan per kWh", field="prices")
        settings[band] = price.hao
    for name, value in given.thresholds.items():
        _check_threshold(name, value)
        settings[name] = value
    if given.calendar is not None:
        check_calendar(given.calendar)
        settings = calendar_numbers(plain(given.calendar))
    return Order(kind, told, settings)


def _check_threshold(name: str, value: int) -> None:
    if name not in THRESHOLDS:
        raise InvalidInput(f"thresholds are {', '.join(THRESHOLDS)}", field="thresholds")
    if name == "overload_w":
        if not 0 <= value <= _MOST_W:
            raise InvalidInput("an overload threshold is 0 to 1,000,000 W", field="thresholds")
    elif value % HAO_PER_FEN or not 0 <= value <= _MOST_THRESHOLD:
        raise InvalidInput(f"{name} is whole fen, 0 to 100,000 yuan", field="thresholds")


def compare_relay(
    *, kind: CommandKind, before: bool | None, after: bool | None, has_money: bool
) -> Sight:
    """What the relay tells. `has_money`: the meter's own money would let power flow, so a release must
    close the relay. Nobody sees from outside whether the customer's key may close it."""
    wanted = _WANTED.get(kind)
    if kind is CommandKind.RELEASE and has_money:
        wanted = True
    if after is None:
        return Sight.UNTOLD
    if wanted is None:
        return Sight.FITS
    if after != wanted:
        return Sight.DIFFERS
    return Sight.FITS if before is None or before == after else Sight.PROVES


def compare_settings(
    wanted: Mapping[str, int], held: Mapping[str, int], *, whole: bool = False
) -> tuple[Sight, str]:
    """Whether the meter holds all that was ordered, with what is otherwise. `whole`: and nothing else, as
    of a calendar, where an hour more is another calendar."""
    names = dict.fromkeys([*wanted, *(held if whole else ())])
    wrong = [_told(each, held, wanted) for each in names if held.get(each) != wanted.get(each)]
    if not wrong:
        return Sight.PROVES, "the meter holds what was ordered"
    more = len(wrong) - _MOST_TOLD
    return Sight.DIFFERS, "; ".join(wrong[:_MOST_TOLD] + [f"and {more} more"] * (more > 0))


def named(name: str) -> str:
    """The name of a setting as people say it where it has another."""
    return entry_named(name) if name in CALENDAR_NAMES else name


def _told(name: str, held: Mapping[str, int], wanted: Mapping[str, int]) -> str:
    is_held, was_ordered = worded(name, held.get(name)), worded(name, wanted.get(name))
    if name in CALENDAR_NAMES:
        return f"{named(name)} holds {is_held}, ordered was {was_ordered}"
    return f"{name} is {is_held}, ordered was {was_ordered}"


def worded(name: str, value: int | None) -> str:
    """A setting for people: yuan, W, an entry of a calendar, or a bare number where its name says of what."""
    if name in CALENDAR_NAMES:
        return "none" if value is None else entry_worded(name, value)
    if value is None:
        return "not told"
    if name in _BARE:
        return str(value)
    return f"{value} W" if name in _IN_W else str(Money(value))


def compare_clock(off: timedelta | None) -> tuple[Sight, str]:
    """Whether the meter's clock is right; `off`: how far it is ahead, None when it shows none."""
    if off is None:
        return Sight.UNTOLD, "the meter shows no clock"
    seconds = round(off.total_seconds())
    words = f"the meter's clock is {seconds} s ahead"
    if seconds < 0:
        words = f"the meter's clock is {-seconds} s behind"
    return (Sight.PROVES if abs(off) <= CLOCK_WITHIN else Sight.DIFFERS), words


def decide_command(facts: CommandFacts) -> tuple[CommandStep, str]:
    """What to do next, with the reason.

    Only the read-back makes a success (C10, C19). Where it fits but proves nothing, the meter must have
    said that it took the write as well; an answer that was lost is made up for by writing again, which
    every kind bears, and never before the meter was looked at.
    """
    if facts.writes == 0:
        if facts.overdue:
            return CommandStep.EXPIRED, "its time was over before it could be written"
        return CommandStep.SEND, facts.shown
    if facts.sight is Sight.PROVES or (facts.sight is Sight.FITS and facts.accepted):
        return CommandStep.VERIFIED, facts.shown
    if facts.refusal is not None:
        return CommandStep.FAILED, facts.refusal
    if facts.accepted:
        if facts.since_write < settles_in(facts.kind):
            return CommandStep.WAIT, f"the meter took it, but {facts.shown}"
        return CommandStep.FAILED, f"the meter said that it took it, but {facts.shown}"
    if facts.overdue:
        return CommandStep.EXPIRED, f"the meter did not take it in time; {facts.shown}"
    if facts.writes >= MOST_WRITES:
        return CommandStep.FAILED, f"written {facts.writes} times without an answer; {facts.shown}"
    return CommandStep.SEND, facts.shown
