"""Bugs that people write, planted into the product for one test: each must be found by the simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from backend.charges import operations as charges
from backend.control.rules import VendFacts, VendStep, Wallet
from backend.integrations.bank_form import fen_in
from backend.journeys import cash_desk, charge, refund, takedown_booking
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.money import Money
from backend.ledger import operations as ledger
from backend.ledger.lots import lot_state
from backend.ledger.rules import AccountKey, AccountKind, move
from backend.topups.ports import RefundRequest
from backend.topups.refunds import Refund
from workers.drivers.modbus import ModbusDriver
from workers.virtual import state as meter_state


def meter_credits_twice(patch: pytest.MonkeyPatch) -> None:
    """A meter takes a sale for double its amount."""
    honest = meter_state.take_sale

    def twice(state: Any, *, amount_fen: int, purchase_count: int, count_off: int = 0) -> Any:
        return honest(
            state, amount_fen=2 * amount_fen, purchase_count=purchase_count, count_off=count_off
        )

    patch.setattr("workers.virtual.prepaid.take_sale", twice)


def naive_worker(patch: pytest.MonkeyPatch) -> None:
    """It takes the meter's count for its own number, believes what it wrote a moment ago and else sends
    again (trust.md section 1, finding 1: a balanced ledger, over-credited meters)."""
    honest = ModbusDriver.credit

    def naive(facts: VendFacts, meter: Wallet) -> tuple[VendStep, str]:
        full = None if facts.before is None else facts.before.remaining + facts.amount
        if (
            full is not None
            and meter.remaining >= full
            and facts.since_before < timedelta(seconds=1)
        ):
            return VendStep.VERIFIED, "just written"
        return VendStep.SEND, "not by this try"

    async def credit(driver: ModbusDriver, *, amount: Money, purchase_count: int) -> None:
        read = await driver.wallet()
        await honest(driver, amount=amount, purchase_count=read.purchase_count + 1)

    patch.setattr(ModbusDriver, "credit", credit)
    patch.setattr("workers.control.decide_vend", naive)


def refund_by_a_new_number(patch: pytest.MonkeyPatch) -> None:
    """Each try asks the channel under a number of its own: an answer that was lost is a second refund."""
    tries = 0

    def anew(**asked: Any) -> RefundRequest:
        nonlocal tries
        tries += 1
        request = RefundRequest(**asked)
        return replace(request, refund_no=f"{request.refund_no[:24]}{tries:06d}")

    patch.setattr("backend.journeys.refund_sending.RefundRequest", anew)


def lot_not_given_back(patch: pytest.MonkeyPatch) -> None:
    """A refund that failed brings its money to the purse, and forgets the lot that it came from."""

    async def forgetful(work: UnitOfWork, failed: Refund, at: datetime) -> None:
        assert failed.source.lot_source is not None
        lot = await lot_state(work, source=failed.source.lot_source)
        assert lot is not None
        back = move(
            business_key=refund.key_of(failed, "returned"),
            kind="REFUND_RETURNED",
            debit=refund.due_account(failed),
            credit=AccountKey(AccountKind.PURSE, lot.purse_ref),
            amount=failed.amount,
        )
        await ledger.post(work, project_id=failed.project_id, transfer=back, at=at)

    patch.setattr("backend.journeys.refund.give_back", forgetful)
    patch.setattr("backend.journeys.refund_sending.give_back", forgetful)


def charge_kept_by_two_commits(patch: pytest.MonkeyPatch) -> None:
    """A charge is posted by one commit and how far it went kept by a second: a crash between them charges
    the same use twice."""
    honest, move_positions = charge.charge_meters, charges.move_positions
    waiting: list[Any] = []

    async def later(work: UnitOfWork, *, positions: list[Any]) -> None:
        waiting.extend(positions)

    async def in_two(*, group_id: int, since: Mapping[UUID, datetime], at: datetime) -> int:
        waiting.clear()
        made = await honest(group_id=group_id, since=since, at=at)
        async with unit_of_work(group_id) as work:
            await move_positions(work, positions=list(waiting))
        return made

    patch.setattr(charges, "move_positions", later)
    patch.setattr("workers.charge.charge_meters", in_two)
    patch.setattr("backend.journeys.charge_missed.charge_meters", in_two)


def drawer_handed_as_it_was_opened(patch: pytest.MonkeyPatch) -> None:
    """Who hands over a drawer gives on the change that it began with, not what was counted."""
    honest = cash_desk._carry

    async def as_opened(
        work: UnitOfWork,
        shift: Any,
        part: str,
        source: AccountKey,
        target: AccountKey,
        amount: Money,
        at: datetime,
    ) -> None:
        given = shift.float_ if part == "handed" else amount
        await honest(work, shift, part, source, target, given, at)

    patch.setattr(cash_desk, "_carry", as_opened)


def room_not_changed(patch: pytest.MonkeyPatch) -> None:
    """A household moves, its meter changes, and it is still written down in the old room."""

    async def nowhere(work: UnitOfWork, *, account_id: UUID, area_id: UUID) -> None:
        return None

    patch.setattr("backend.journeys.takedown_booking.accounts.move_to_area", nowhere)


def new_meter_given_twice(patch: pytest.MonkeyPatch) -> None:
    """The new meter is sold twice what the old one held."""
    honest = takedown_booking._send

    async def twice(
        work: UnitOfWork, takedown: Any, served: Any, amount: Money, at: datetime
    ) -> UUID:
        return await honest(work, takedown, served, amount + amount, at)

    patch.setattr(takedown_booking, "_send", twice)


def chinapay_in_yuan(patch: pytest.MonkeyPatch) -> None:
    """ChinaPay's amount is read as yuan where it is fen."""
    patch.setattr(
        "backend.integrations.chinapay.fen_in", lambda fields, name: 100 * fen_in(fields, name)
    )


BUGS = {
    "a meter that credits twice what it was sold": meter_credits_twice,
    "a worker that takes the meter's count for its own number": naive_worker,
    "a refund that is asked for by a new number at each try": refund_by_a_new_number,
    "a lot that is not given back when its refund fails": lot_not_given_back,
    "a charge that is kept by two commits": charge_kept_by_two_commits,
    "a drawer handed over as it was opened": drawer_handed_as_it_was_opened,
    "a household that moved and is where it was": room_not_changed,
    "a new meter that is given its money twice": new_meter_given_twice,
    "an amount of ChinaPay that is read as yuan": chinapay_in_yuan,
}
