"""The one commit that ends a meter's service: vends decided, money booked, the next meter hung (A17, C8-C10).

Lock order: the takedown, the assignment (no number is allocated meanwhile), supplies, vends, the purse, and
the audit last. Every entry has the takedown's or the vend's own key, so doing it twice does it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts import operations as accounts
from backend.accounts.queries import purses
from backend.alerts.levels import pass_levels_on
from backend.control import operations as control
from backend.control.circuits import pass_on
from backend.control.models import Vend
from backend.control.operations import NewVend
from backend.control.queries import last_verified_no, lock_undecided
from backend.control.rules import VendSource, Wallet
from backend.kernel.db import UnitOfWork
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Actor, Scope
from backend.ledger import operations as ledger
from backend.ledger.queries import entry_of_key, lots_of_purse, owed
from backend.ledger.rules import (
    AccountKey,
    AccountKind,
    Posting,
    Transfer,
    move,
    take_from_lots,
    vend_settled,
)
from backend.metering import operations as metering
from backend.metering import queries as meters
from backend.metering import takedowns as rows
from backend.metering.models import Meter, MeterAssignment
from backend.metering.rules import CreditMode, MeterKind
from backend.metering.takedown_rules import (
    FinalWord,
    Purpose,
    Service,
    Settlement,
    is_taken,
    settlement,
)
from backend.metering.takedowns import NOTHING, Takedown
from backend.outbox.operations import emit
from backend.tenancy.rules import Permission

from .charge import charge_account
from .occupancy import hang, hold_purse

VOIDED = "the meter was taken down first; the money went on with the account's"


async def service_of(
    work: UnitOfWork, *, served: MeterAssignment, meter: Meter, word: FinalWord
) -> Service:
    """A running service as the book knows it, to compare a last word with; its assignment is locked."""
    counted = await last_verified_no(work, meter_id=meter.id, counter_epoch=served.counter_epoch)
    held = (await owed(work, kind=AccountKind.METER_WALLET, refs=[meter.id]))[meter.id]
    for vend in await lock_undecided(work, meter_id=meter.id):
        if word.purchase_no is not None and vend.purchase_no <= word.purchase_no:
            held += vend.amount
    return Service(
        kind=MeterKind(meter.kind),
        credit_mode=CreditMode(meter.credit_mode),
        started_at=served.started_at,
        opening_total=served.opening_total,
        counted_no=max(served.opening_purchase_no, counted or 0),
        last_no=served.last_purchase_no,
        most=held,
    )


@dataclass(frozen=True, slots=True)
class _Ending:
    """A takedown whose last word is known, with what it is about. `purse_ref`: what its account draws
    from."""

    takedown: Takedown
    served: MeterAssignment
    meter: Meter
    word: FinalWord
    purse_ref: UUID
    at: datetime

    @property
    def purse(self) -> AccountKey:
        """The purse that the account draws from."""
        return AccountKey(AccountKind.PURSE, self.purse_ref)

    def ledger_of(self, kind: AccountKind) -> AccountKey:
        """An account of the book that belongs to the old meter."""
        return AccountKey(kind, self.meter.id)

    def key(self, part: str) -> str:
        """The business key of one of its entries."""
        return f"takedown:{self.takedown.id}:{part}"


async def book_out(
    work: UnitOfWork,
    *,
    takedown: Takedown,
    served: MeterAssignment,
    meter: Meter,
    actor: Actor,
    at: datetime,
) -> Takedown:
    """End the service by its last word; gives the takedown, done. Its row and the assignment's are locked.

    Raises Conflict when the next meter cannot be hung (no reading of the last hour, it serves another
    account, the account is closed), Overdrawn when the book holds less than the meter says.
    """
    assert takedown.final is not None
    assert takedown.final_by is not None
    account_id = takedown.account_id
    if takedown.purpose is Purpose.REPLACE and takedown.to_meter_id is not None:
        await pass_on(
            work,
            project_id=takedown.project_id,
            from_meter_id=meter.id,
            to_meter_id=takedown.to_meter_id,
        )
        await pass_levels_on(work, from_meter_id=meter.id, to_meter_id=takedown.to_meter_id)
    await hold_purse(work, project_id=takedown.project_id, account_id=account_id, at=at)
    purse = (await purses(work, account_ids=[account_id]))[account_id]
    ending = _Ending(takedown, served, meter, takedown.final, purse, at)
    settled, moved = NOTHING, ZERO
    target = await _target(work, takedown)
    if meter.credit_mode == CreditMode.METER:
        settled, moved = await _book_money(work, ending, target)
    await rows.end_assignment(work, assignment_id=served.id, word=ending.word, by=takedown.final_by)
    if meter.credit_mode == CreditMode.CLOUD:
        # To the last word and no further: what was charged beyond it meanwhile is taken back.
        await charge_account(work, account_id=account_id, since={meter.id: ending.word.at}, at=at)
    following: MeterAssignment | None = None
    if target is not None:
        scope = _hanger(work.group_id, actor)
        following = await hang(work, scope=scope, meter=target, account_id=account_id, at=at)
        if moved and target.credit_mode == CreditMode.METER:
            await _send(work, takedown, following, moved, at)
    if takedown.purpose is Purpose.MOVE:
        assert takedown.to_area_id is not None
        await accounts.move_to_area(
            work, account_id=takedown.account_id, area_id=takedown.to_area_id
        )
    return await rows.mark_done(
        work,
        takedown_id=takedown.id,
        settled=settled,
        moved=moved,
        to_assignment_id=None if following is None else following.id,
        at=at,
    )


async def _target(work: UnitOfWork, takedown: Takedown) -> Meter | None:
    if takedown.to_meter_id is None:
        return None
    return await meters.meter_by_id(work, meter_id=takedown.to_meter_id)


def _hanger(group_id: int, actor: Actor) -> Scope:
    """Hanging the next meter was allowed when the takedown was begun, whoever finishes it."""
    return Scope(group_id, actor, frozenset({str(Permission.METER_WRITE)}))


async def _book_money(
    work: UnitOfWork, ending: _Ending, target: Meter | None
) -> tuple[Settlement, Money]:
    """What the meter holds leaves it in the book: to the next meter, or to the purse. Also what was under
    way and never came. Gives how it was settled, and what moved."""
    assert ending.word.remaining is not None
    assert ending.word.purchase_no is not None
    last = Wallet(ending.word.purchase_no, ending.word.remaining)
    voided = await _decide(work, ending, last)
    held = await owed(work, kind=AccountKind.METER_WALLET, refs=[ending.meter.id])
    settled = settlement(held=held[ending.meter.id], remaining=ending.word.remaining)
    await _book_use(work, ending, settled)
    onward = ending.purse
    if target is not None and target.credit_mode == CreditMode.METER:
        onward = AccountKey(AccountKind.IN_TRANSIT, target.id)
    from_where = {AccountKind.METER_WALLET: settled.back, AccountKind.IN_TRANSIT: voided}
    postings = [
        Posting(ending.ledger_of(kind), amount) for kind, amount in from_where.items() if amount
    ]
    moved = settled.back + voided
    if moved:
        transfer = Transfer(
            ending.key("moved"), "METER_MONEY_MOVED", (*postings, Posting(onward, -moved))
        )
        await ledger.post(
            work, project_id=ending.takedown.project_id, transfer=transfer, at=ending.at
        )
    return settled, moved


async def _decide(work: UnitOfWork, ending: _Ending, last: Wallet) -> Money:
    """Vends that were under way, by the meter's own count: taken, or never. What was never taken."""
    voided = ZERO
    vend: Vend
    for vend in await lock_undecided(work, meter_id=ending.meter.id):
        if is_taken(purchase_no=vend.purchase_no, last_count=last.purchase_no):
            await control.mark_counted(work, vend_id=vend.id, last=last, at=ending.at)
            transfer = vend_settled(vend_id=vend.id, meter=ending.meter.id, amount=vend.amount)
            await ledger.post(work, project_id=vend.project_id, transfer=transfer, at=ending.at)
        else:
            await control.mark_voided(work, vend_id=vend.id, reason=VOIDED)
            voided += vend.amount
    return voided


async def _book_use(work: UnitOfWork, ending: _Ending, settled: Settlement) -> None:
    """What was used at the meter is income, out of the household's lots in their order (C4); what was
    used beyond its money stands in arrears (C7)."""
    project_id = ending.takedown.project_id
    revenue = AccountKey(AccountKind.REVENUE, project_id)
    if settled.used:
        key = ending.key("used")
        transfer = move(
            business_key=key,
            kind="USED_AT_METER",
            debit=ending.ledger_of(AccountKind.METER_WALLET),
            credit=revenue,
            amount=settled.used,
        )
        if await ledger.post(work, project_id=project_id, transfer=transfer, at=ending.at):
            await _use_lots(work, ending, key, settled.used)
    if settled.owed:
        transfer = move(
            business_key=ending.key("owed"),
            kind="OVERDRAWN_AT_METER",
            debit=AccountKey(AccountKind.ENERGY_ARREARS, ending.purse_ref),
            credit=revenue,
            amount=settled.owed,
        )
        await ledger.post(work, project_id=project_id, transfer=transfer, at=ending.at)


async def _use_lots(work: UnitOfWork, ending: _Ending, key: str, used: Money) -> None:
    ids = await ledger.account_ids(
        work, project_id=ending.takedown.project_id, keys=[ending.purse], at=ending.at
    )
    lots = await lots_of_purse(work, purse_id=ids[ending.purse])
    entry_id = await entry_of_key(work, business_key=key)
    assert entry_id is not None, "it was posted just now"
    await ledger.use_lots(work, entry_id=entry_id, uses=take_from_lots(lots, used))


async def _send(
    work: UnitOfWork, takedown: Takedown, served: MeterAssignment, amount: Money, at: datetime
) -> UUID:
    """The money goes to the next meter as its own numbered vend."""
    epoch, number = await metering.allocate_purchase_no(work, assignment_id=served.id)
    vend = NewVend(
        project_id=served.project_id,
        meter_id=served.meter_id,
        assignment_id=served.id,
        counter_epoch=epoch,
        purchase_no=number,
        amount=amount,
        source_id=takedown.id,
        source=VendSource.TRANSFER,
    )
    (vend_id,) = await control.queue_vends(work, vends=[vend], at=at)
    payload = {"meter_id": str(served.meter_id), "vend_id": str(vend_id)}
    await emit(work, topic="vend.due", key=str(vend_id), payload=payload, at=at)
    return vend_id
