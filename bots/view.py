"""What the edge has read for one customer before the dialogue speaks: plain values, nothing to fetch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backend.charges.forecast_rules import Basis
from backend.control.state_rules import MeterState
from backend.kernel.money import ZERO, Money
from backend.kernel.quantity import Quantity

from .intents import Supply


class Relay(StrEnum):
    """The observed relay or valve (C19), not what anybody wants of it."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    UNKNOWN = "UNKNOWN"


class CutCause(StrEnum):
    """Why the relay was opened, when the cloud knows."""

    ARREARS = "ARREARS"
    OVERLOAD = "OVERLOAD"
    MALIGNANT_LOAD = "MALIGNANT_LOAD"
    TIMETABLE = "TIMETABLE"
    OPERATOR = "OPERATOR"


class TopUpProgress(StrEnum):
    """How far a top-up is, as the payer sees it: money paid and meter credited are apart (C10)."""

    WAITING_PAYMENT = "WAITING_PAYMENT"
    PAID = "PAID"
    DELIVERING = "DELIVERING"
    DELIVERED = "DELIVERED"
    WAITING_METER = "WAITING_METER"
    REFUNDED = "REFUNDED"
    CLOSED = "CLOSED"


ON_THE_WAY = frozenset({TopUpProgress.PAID, TopUpProgress.DELIVERING, TopUpProgress.WAITING_METER})


@dataclass(frozen=True, slots=True)
class UsageView:
    """Use of one meter by business days; None where no reading tells it (never zero, C15)."""

    today: Quantity | None = None
    yesterday: Quantity | None = None
    this_month: Quantity | None = None
    last_month: Quantity | None = None


@dataclass(frozen=True, slots=True)
class BandView:
    """What a unit costs in a band (its name in the tariff), and when it holds (`08:00-11:00`)."""

    band: str
    price: Money
    times: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PriceView:
    """What a unit costs now with all that is added to it. `band`: empty when all hours cost the same, else
    it holds until `until` (`11:00`). `step` of `steps` (1: no step price); `used` in the step period, `left`
    until the next step, None in the last."""

    now: Money
    band: str = ""
    until: str = ""
    bands: tuple[BandView, ...] = ()
    step: int = 1
    steps: int = 1
    used: Quantity | None = None
    left: Quantity | None = None
    yearly: bool = False
    monthly: Money = ZERO


@dataclass(frozen=True, slots=True)
class BillView:
    """This month so far, as it is charged: use, and the money by line."""

    used: Quantity
    energy: Money
    fixed: Money = ZERO
    loss: Money = ZERO
    public: Money = ZERO
    service: Money = ZERO

    @property
    def total(self) -> Money:
        """All lines together."""
        return self.energy + self.fixed + self.loss + self.public + self.service


class RefundProgress(StrEnum):
    """How far a refund is, as who asked for it sees it."""

    ASKED = "ASKED"
    AGREED = "AGREED"
    AT_DESK = "AT_DESK"
    AT_CHANNEL = "AT_CHANNEL"
    DONE = "DONE"
    FAILED = "FAILED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class RefundView:
    """One refund of a bound account; `at` (zoned) is when it was asked for."""

    account_id: str
    amount: Money
    at: datetime
    progress: RefundProgress


@dataclass(frozen=True, slots=True)
class MeterView:
    """One meter that serves the account. `data_at` (zoned) is when `remaining` and `relay` were read.

    `remaining` is what is available for this meter (of its purse), None before the first reading. It lasts
    for `days_left`, until `zero_at` (zoned; None: years away); without days, `basis` says why. `state` as on
    every list of meters.
    """

    id: str
    name: str
    supply: Supply
    remaining: Money | None
    data_at: datetime | None
    relay: Relay = Relay.UNKNOWN
    online: bool = True
    days_left: int | None = None
    usage: UsageView = UsageView()
    cut_cause: CutCause | None = None
    back_at: datetime | None = None
    price: PriceView | None = None
    bill: BillView | None = None
    zero_at: datetime | None = None
    basis: Basis = Basis.LEARNING
    state: MeterState = MeterState.OPENED


@dataclass(frozen=True, slots=True)
class AccountView:
    """One bound account. `address` comes masked from the edge."""

    id: str
    account_no: str
    label: str
    address: str
    meters: tuple[MeterView, ...] = ()


@dataclass(frozen=True, slots=True)
class TopUpView:
    """One top-up of a bound account; `at` (zoned) is when it was paid, or ordered when unpaid."""

    account_id: str
    amount: Money
    at: datetime
    progress: TopUpProgress


@dataclass(frozen=True, slots=True)
class ClosedView:
    """An account that the customer was bound to until it was closed, `at` (zoned)."""

    account_no: str
    at: datetime


LEAST_TOP_UP = Money.of_fen(1)
MOST_TOP_UP = Money.of_fen(500_000)


@dataclass(frozen=True, slots=True)
class View:
    """Everything about the customer: no accounts means not bound. `top_ups` has the newest first, `closed`
    what was closed lately, `refunds` what was asked back, the newest first.

    `least` and `most` bound one top-up; data older than `fresh_for` (two reading periods) is stale.
    """

    accounts: tuple[AccountView, ...] = ()
    default_account_id: str | None = None
    top_ups: tuple[TopUpView, ...] = ()
    least: Money = LEAST_TOP_UP
    most: Money = MOST_TOP_UP
    service_phone: str | None = None
    fresh_for: timedelta = timedelta(hours=1)
    closed: tuple[ClosedView, ...] = ()
    refunds: tuple[RefundView, ...] = ()

    def account(self, account_id: str | None) -> AccountView | None:
        """The bound account of this id, None when it is not (or no longer) bound."""
        return next((a for a in self.accounts if a.id == account_id), None)

    def meter(self, meter_id: str) -> tuple[AccountView, MeterView] | None:
        """The meter of this id with its account, None when it serves no bound account."""
        pairs = ((a, m) for a in self.accounts for m in a.meters)
        return next((pair for pair in pairs if pair[1].id == meter_id), None)
