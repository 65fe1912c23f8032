"""The bill of a merchant account against the book, each day (C6).

Fetched outside any transaction, stored, compared. A payment that only the channel has is settled like
a notice of it (the third caller of `settle`); what stays different becomes an item of the day and a case.
Doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from backend.alerts.operations import NewCase, close_cases, open_cases
from backend.kernel.clock import business_day
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import DomainError
from backend.kernel.ids import made_at
from backend.kernel.money import Money
from backend.outbox.operations import emit, reopen_if_done
from backend.reconcile import bills
from backend.reconcile.models import BillDay, BillItem, DayState
from backend.reconcile.rules import (
    BillClass,
    GivenBack,
    Matching,
    Paid,
    Theirs,
    border_of,
    days_due,
    is_overdue,
    match,
    window,
)
from backend.tenancy import queries as tenancy
from backend.tenancy.queries import Credential
from backend.topups.billed import booked_orders, booked_refunds, numbers_to_ask
from backend.topups.ports import AsksEachNumber, BillLine, Payment, PaymentState

from .late_settled import CASE as NOT_BILLED
from .ports import Ports
from .refund_sending import ring
from .settle import settle

TOPIC = "bill.due"
CASE = "BILL_DIFFERS"
MISSING = "BILL_MISSING"
# Orders that nobody paid are asked for so long: a channel without a bill may take payments late.
_ASKED_BACK = timedelta(days=3)
# A refund that the channel has done and our worker is about to hear of.
_LOOK_AGAIN = timedelta(hours=1)


async def plan_bills(*, group_id: int, at: datetime) -> int:
    """Plan the fetching of every bill that is out by now; ring again for what was left. How many new."""
    planned = 0
    async with unit_of_work(group_id) as work:
        for account in await tenancy.merchant_accounts(work):
            for day in days_due(since=made_at(account.id), at=at):
                day_id = await bills.plan_day(
                    work,
                    project_id=account.project_id,
                    credential_id=account.id,
                    day=day,
                    at=at,
                )
                if day_id is not None:
                    payload = {"day_id": str(day_id)}
                    await emit(work, topic=TOPIC, key=str(day_id), payload=payload, at=at)
                    planned += 1
        for day_id in await bills.days_unfinished(work):
            await reopen_if_done(work, topic=TOPIC, key=str(day_id), due_at=at)
    return planned


async def reconcile_day(ports: Ports, *, group_id: int, day_id: UUID) -> datetime | None:
    """Fetch, store and compare the bill of a day, as far as that is not done; when to look again.

    Raises Unavailable, ChannelRefused: the bill has not come, try again; when it is late that is a case.
    """
    async with unit_of_work(group_id) as work:
        day = await bills.day_by_id(work, day_id=day_id)
        if day is None or day.state is DayState.CLOSED:
            return None
        credential = await tenancy.credential_by_id(
            work, box=ports.box, credential_id=day.credential_id
        )
    if day.state is DayState.WAITING:
        await _fetch(ports, group_id, day, credential)
    if day.state is not DayState.MATCHED:
        await _settle_theirs(ports, group_id, credential, day_id)
    await _compare(group_id, day_id, ports.clock.now())
    async with unit_of_work(group_id) as work:
        others = await bills.days_waiting_for(work, day=day)
        waits = any(_may_pass(item) for item in await bills.open_items(work, day_id=day_id))
    for other in others:
        await _compare(group_id, other, ports.clock.now())
    now = ports.clock.now()
    return now + _LOOK_AGAIN if waits and not is_overdue(day.day, at=now) else None


async def _fetch(ports: Ports, group_id: int, day: BillDay, credential: Credential) -> None:
    try:
        lines = await _lines(ports, group_id, day, credential)
    except DomainError as error:
        await _not_come(group_id, day, error.message, ports.clock.now())
        raise
    at = ports.clock.now()
    async with unit_of_work(group_id) as work:
        held = await bills.lock_day(work, day_id=day.id)
        if held is not None and held.state is DayState.WAITING:
            await bills.store_lines(work, day=held, lines=[_theirs(line) for line in lines], at=at)
            note = "the bill has come"
            await close_cases(work, kind=MISSING, subjects=[str(day.id)], note=note, at=at)
            named = [line.order_no for line in lines if not line.refund_no]
            note = "a later bill has the payment"
            await close_cases(work, kind=NOT_BILLED, subjects=named, note=note, at=at)


async def _lines(
    ports: Ports, group_id: int, day: BillDay, credential: Credential
) -> list[BillLine]:
    """The channel's bill of the day; from a channel without one, what it says to each number of ours, which
    finds all but money for orders that we never made."""
    channel = ports.payment_channel(group_id, credential)
    if not isinstance(channel, AsksEachNumber):
        return await channel.bill(day.day)
    asked = window(day.day)
    async with unit_of_work(group_id) as work:
        orders, refunds = await numbers_to_ask(
            work, credential_id=credential.id, period=asked, since=asked.start - _ASKED_BACK
        )
    lines = await channel.lines_of(order_nos=orders, refund_nos=refunds)
    return [line for line in lines if business_day(line.at) == day.day]


async def _not_come(group_id: int, day: BillDay, why: str, at: datetime) -> None:
    async with unit_of_work(group_id) as work:
        await bills.note_error(work, day_id=day.id, error=why)
        if is_overdue(day.day, at=at):
            detail = {"day": day.day.isoformat(), "reason": why}
            case = NewCase(day.project_id, MISSING, str(day.id), detail)
            await open_cases(work, cases=[case], at=at)


async def _compare(group_id: int, day_id: UUID, at: datetime) -> None:
    """Compare a stored bill with the book as it is now: a case for each new difference, an end for each
    that went away; a day in which nothing ever differed is closed."""
    async with unit_of_work(group_id) as work:
        day = await bills.lock_day(work, day_id=day_id)
        if day is None or day.state in (DayState.WAITING, DayState.CLOSED):
            return
        before = {item.id for item in await bills.open_items(work, day_id=day_id)}
        matching = await _matching(work, day)
        await bills.store_matching(work, day=day, matching=matching, at=at)
        await bills.mark_matched(work, day_id=day_id, at=at)
        still = await bills.open_items(work, day_id=day_id)
        gone = before - {item.id for item in still}
        await close_cases(
            work, kind=CASE, subjects=[str(id_) for id_ in gone], note=bills.AGREE_NOW, at=at
        )
        # What was found before the day was ever compared to the end has no case yet.
        known = before if day.state is DayState.MATCHED else set[UUID]()
        cases = [
            NewCase(day.project_id, CASE, str(item.id), told(day, item))
            for item in still
            if item.id not in known
        ]
        await open_cases(work, cases=cases, at=at)
        for item in still:
            if _may_pass(item):
                await ring(work, refund_no=item.refund_no, at=at)
        if not await bills.items_page(work, day_id=day_id, before=None, limit=1):
            note = "bill and book agree"
            await bills.close(work, day_id=day_id, by="system", note=note, at=at)


async def _matching(work: UnitOfWork, day: BillDay) -> Matching:
    lines = await bills.lines_of_day(work, day_id=day.id)
    channel = await tenancy.merchant_kind(work, credential_id=day.credential_id)
    border = border_of(channel)
    asked = window(day.day, border)
    orders = await booked_orders(
        work,
        credential_id=day.credential_id,
        order_nos={line.order_no for line in lines if not line.refund_no},
        period=asked,
    )
    refunds = await booked_refunds(
        work,
        credential_id=day.credential_id,
        refund_nos={line.refund_no for line in lines if line.refund_no},
        period=asked,
    )
    paid_on, given_back_on = await bills.billed_on_others(
        work,
        day=day,
        order_nos={order.order_no for order in orders},
        refund_nos={refund.refund_no for refund in refunds},
    )
    named = {line.order_no for line in lines if not line.refund_no}
    named_refunds = {line.refund_no for line in lines}

    def free(number: str, names: set[str] | set[str | None], other: object) -> bool:
        """Whether a booking is this bill's to bring: on no other, or this one names it first."""
        return other is None or (number in names and str(other) > day.day.isoformat())

    return match(
        day.day,
        lines=lines,
        paid=[
            Paid(order.order_no, order.transaction_id, order.amount_fen, order.paid_at)
            for order in orders
            if free(
                order.order_no, named, paid_on.get((order.order_no, order.transaction_id or ""))
            )
        ],
        given_back=[
            GivenBack(refund.refund_no, refund.order_no, refund.amount_fen, refund.done_at)
            for refund in refunds
            if free(refund.refund_no, named_refunds, given_back_on.get(refund.refund_no))
        ],
        border=border,
    )


async def _settle_theirs(ports: Ports, group_id: int, credential: Credential, day_id: UUID) -> None:
    """Settle what only the channel has. The items are written first: an auditor sees that the bill told
    of a payment, and when our book had it."""
    async with unit_of_work(group_id) as work:
        day = await bills.lock_day(work, day_id=day_id)
        if day is None or day.state is not DayState.FETCHED:
            return
        matching = await _matching(work, day)
        await bills.store_matching(work, day=day, matching=matching, at=ports.clock.now())
        lines = await bills.lines_of_day(work, day_id=day_id)
    back = {line.order_no for line in lines if line.refund_no}
    at = {(line.order_no, line.transaction_id): line.at for line in lines if not line.refund_no}
    for finding in matching.findings:
        if finding.kind is BillClass.ONLY_THEIRS:
            payment = Payment(
                order_no=finding.order_no,
                state=PaymentState.REFUNDED if finding.order_no in back else PaymentState.PAID,
                merchant_id=credential.key,
                app_id=credential.public.get("app_id", ""),
                amount_fen=finding.theirs_fen or 0,
                currency="CNY",
                transaction_id=finding.transaction_id,
                paid_at=at[finding.order_no, finding.transaction_id],
                provider_id=credential.public.get("sp_mchid", ""),
                provider_app_id=credential.public.get("sp_app_id", ""),
            )
            await settle(
                ports,
                group_id=group_id,
                credential_id=credential.id,
                payment=payment,
                source="bill",
            )


def _may_pass(item: BillItem) -> bool:
    """A refund that the channel has and our book has not yet: its worker may be about to hear of it."""
    return item.kind is BillClass.REFUND_DIFFERS and item.ours_fen is None


def told(day: BillDay, item: BillItem) -> Mapping[str, str]:
    """An item in figures, for its case and the audit."""
    numbers = {
        "day": day.day.isoformat(),
        "class": str(item.kind),
        "reason": item.reason,
        "order": item.order_no,
        "transaction": item.transaction_id,
        "refundNo": item.refund_no,
        "ours": "" if item.ours_fen is None else str(Money.of_fen(item.ours_fen)),
        "theirs": "" if item.theirs_fen is None else str(Money.of_fen(item.theirs_fen)),
    }
    return {name: text for name, text in numbers.items() if text}


def _theirs(line: BillLine) -> Theirs:
    return Theirs(
        order_no=line.order_no,
        transaction_id=line.transaction_id,
        amount_fen=line.amount_fen,
        refund_no=line.refund_no,
        refund_fen=line.refund_fen,
        at=line.at,
    )
