"""Whether a meter's supply is to be on or off, and why: `decide`, one pure function (C19-C23).

Precedence (C23): protected or keep-power > operator's forced state > safety lock > timetable > paid >
no-cut window > automatic cut. A documented emergency trip by two operators is the only way past the
first. What is wanted (intent), what is asked of the meter (command) and what the relay shows are three
things: `decide` says the first and, by what was seen, the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from backend.kernel.money import ZERO, Money

from .command_rules import CommandKind


class SupplyPolicy(StrEnum):
    """供电策略, what the operator wants: AUTO by money, KEEP_ON 保电, FORCED_OFF 拉闸."""

    AUTO = "AUTO"
    KEEP_ON = "KEEP_ON"
    FORCED_OFF = "FORCED_OFF"


class SafetyLock(StrEnum):
    """Why a circuit is locked open until its cause is gone: money never lifts it (C21)."""

    OVERLOAD = "OVERLOAD"
    MALIGNANT_LOAD = "MALIGNANT_LOAD"


class OwnCut(StrEnum):
    """What a meter itself says that it opened its relay for, by a control of its own that is not its money:
    the meter alone gives power back."""

    OVERLOAD = "OVERLOAD"
    MALIGNANT_LOAD = "MALIGNANT_LOAD"
    TIMETABLE = "TIMETABLE"

    @property
    def lock(self) -> SafetyLock | None:
        """The lock for safety that it is; None for a timetable in the meter."""
        return None if self is OwnCut.TIMETABLE else SafetyLock(self.value)


class MoneyIn(StrEnum):
    """Who holds the money that a meter's use is paid from: the meter, which cuts itself; the cloud, which
    cuts by command; nobody, for a managed meter is not sold to (A26)."""

    METER = "METER"
    CLOUD = "CLOUD"
    NONE = "NONE"


class Want(StrEnum):
    """Intent. AS_IS: nothing is wanted, nothing is done."""

    ON = "ON"
    OFF = "OFF"
    AS_IS = "AS_IS"


class Why(StrEnum):
    """The rule that decided, or one that held an automatic cut back."""

    EMERGENCY = "EMERGENCY"
    PROTECTED = "PROTECTED"
    KEEP_ON = "KEEP_ON"
    FORCED_OFF = "FORCED_OFF"
    SAFETY_LOCK = "SAFETY_LOCK"
    TAKEOVER = "TAKEOVER"
    OWN_CUT = "OWN_CUT"
    TIMETABLE = "TIMETABLE"
    PAID = "PAID"
    NOT_OUR_MONEY = "NOT_OUR_MONEY"
    BILLING_HOLD = "BILLING_HOLD"
    READING_IS_OLD = "READING_IS_OLD"
    PAYMENT_PENDING = "PAYMENT_PENDING"
    OUTSIDE_WINDOW = "OUTSIDE_WINDOW"
    NO_CUT_DAY = "NO_CUT_DAY"
    NOT_WARNED = "NOT_WARNED"
    ARREARS = "ARREARS"


FRESH_PERIODS = 2  # a reading older than so many sweep periods decides nothing (C20)


class Force(NamedTuple):
    """What the cloud made of a relay, verified, and has not taken back: KEEP_POWER or TRIP, and for what."""

    kind: CommandKind
    why: Why


@dataclass(frozen=True, slots=True)
class Supply:
    """All that `decide` looks at; kept with every decision.

    `emergency`: a documented trip by two operators stands. `protected`: on the list of what is never
    cut (lift, fire pump, dialysis). `timetable`: on or off now, None where none holds or the meter
    keeps it by itself. `balance`, `uncharged`, `overdraft`: the three figures (C3). `reading_age`: None
    when it was never read; `period`: of its sweep. `hold`: its use is not known (C14). `payment_pending`:
    a paid or unknown order is not in the book yet. `window_open`, `no_cut_day`: the project's calendar.
    `warned_for`: since the warning was delivered, None when it was not; `notice`: how long that must be.
    `takeover`: a third party's lease holds (C31). `restored_by`: what brings power back where the meter's
    own money does not decide: CLOSE, ALLOW_CLOSE (the customer presses the key), or KEEP_POWER for a model
    that knows no other way. `relay`: True is closed, None not told since the cloud last wrote.
    `force`: also of a write that nobody confirmed, for the meter may have obeyed it. `own_cut`: the meter
    says that it opened the relay by a rule of its own.
    """

    policy: SupplyPolicy
    protected: bool
    emergency: bool
    safety: SafetyLock | None
    timetable: bool | None
    money: MoneyIn
    balance: Money
    uncharged: Money
    overdraft: Money
    reading_age: timedelta | None
    period: timedelta
    hold: bool
    payment_pending: bool
    window_open: bool
    no_cut_day: bool
    warned_for: timedelta | None
    notice: timedelta
    takeover: bool
    restored_by: CommandKind
    relay: bool | None
    force: Force | None
    own_cut: OwnCut | None = None

    @property
    def available(self) -> Money:
        """What can still be used (C3)."""
        return self.balance - self.uncharged + self.overdraft


class Decision(NamedTuple):
    """`why` decided; `held_back` are the rules that kept an automatic cut from happening, all of them.
    `command`: what brings the meter there, None when it is there or nobody can tell."""

    want: Want
    why: Why
    held_back: tuple[Why, ...]
    command: CommandKind | None


def trips_at_most(meters: int) -> int:
    """How many trips an hour the engine gives in a project of so many meters: five, or two in a hundred
    (reference/trust.md section 5). What is beyond waits for the next hour or for a person."""
    return max(5, meters // 50)


GATEWAY_TRIPS_A_MINUTE = 10  # its bus stays free for who pays meanwhile


def trips_of_the_platform_at_most(meters: int) -> int:
    """How many trips an hour the engine gives over all groups, with so many meters: one in a hundred. What is
    beyond looks like a fault of ours and waits for a person (reference/trust.md section 5)."""
    return max(20, meters // 100)


def decide(supply: Supply) -> Decision:
    """What a meter's supply is to be now, and the command that brings it there."""
    want, why, held_back = _wanted(supply)
    command = _command(supply, want, why)
    if want is Want.ON and _is_the_meters(supply, why, command):
        return Decision(Want.AS_IS, Why.OWN_CUT, (), None)
    return Decision(want, why, held_back, command)


def _is_the_meters(supply: Supply, why: Why, command: CommandKind | None) -> bool:
    """Whether power is the meter's to give back: it opened its relay for a load, and neither money nor the
    end of another cut closes it by force (C21). A release forces nothing: the meter's own lock stands after
    it."""
    if supply.own_cut is None or why in (Why.PROTECTED, Why.KEEP_ON):
        return False
    return command is not CommandKind.RELEASE


def _wanted(supply: Supply) -> tuple[Want, Why, tuple[Why, ...]]:
    if supply.emergency:
        return Want.OFF, Why.EMERGENCY, ()
    if supply.protected:
        return Want.ON, Why.PROTECTED, ()
    if supply.policy is SupplyPolicy.KEEP_ON:
        return Want.ON, Why.KEEP_ON, ()
    if supply.policy is SupplyPolicy.FORCED_OFF:
        return Want.OFF, Why.FORCED_OFF, ()
    if supply.safety is not None:
        return Want.OFF, Why.SAFETY_LOCK, ()
    if supply.takeover:
        return Want.AS_IS, Why.TAKEOVER, ()
    if supply.timetable is False:
        return Want.OFF, Why.TIMETABLE, ()
    if supply.money is not MoneyIn.CLOUD:
        return Want.ON, Why.NOT_OUR_MONEY, ()
    if supply.available > ZERO:
        return Want.ON, Why.PAID, ()
    if held_back := _held_back(supply):
        # What was cut for arrears stays cut; what was off for a reason that is gone comes back.
        stays = supply.force == Force(CommandKind.TRIP, Why.ARREARS)
        return (Want.AS_IS if stays else Want.ON), held_back[0], held_back
    return Want.OFF, Why.ARREARS, ()


def _held_back(supply: Supply) -> tuple[Why, ...]:
    """Each rule that keeps an automatic cut from happening now (C20)."""
    age, warned = supply.reading_age, supply.warned_for
    rules = (
        (Why.BILLING_HOLD, supply.hold),
        (Why.READING_IS_OLD, age is None or age >= FRESH_PERIODS * supply.period),
        (Why.PAYMENT_PENDING, supply.payment_pending),
        (Why.NO_CUT_DAY, supply.no_cut_day),
        (Why.OUTSIDE_WINDOW, not supply.window_open),
        (Why.NOT_WARNED, warned is None or warned < supply.notice),
    )
    return tuple(why for why, holds in rules if holds)


def _command(supply: Supply, want: Want, why: Why) -> CommandKind | None:
    """What is asked of the meter. A relay that is not told is looked at first, never guessed."""
    kept = supply.force is not None and supply.force.kind is CommandKind.KEEP_POWER
    if want is Want.AS_IS:
        return None
    if want is Want.OFF:
        # A relay that is open for something else would close with a payment, or by the customer's key.
        tripped = supply.force is not None and not kept and supply.relay is False
        return None if tripped or supply.relay is None else CommandKind.TRIP
    if why in (Why.PROTECTED, Why.KEEP_ON):
        return None if kept and supply.relay is not False else CommandKind.KEEP_POWER
    back = CommandKind.RELEASE if supply.money is MoneyIn.METER else supply.restored_by
    if kept:
        if back is not CommandKind.KEEP_POWER:
            return CommandKind.RELEASE
        return back if supply.relay is False else None
    if supply.force is None or supply.relay is True:
        return None  # closed, or opened by somebody else: the meter's own money, the customer
    return back  # a trip that may have been obeyed is taken back without waiting for a look
