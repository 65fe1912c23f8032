"""The nightly proof of every meter that holds money: count and wallet against the book (C11).

By the last reading of the day, without asking a meter. What use explains goes from METER_WALLET to REVENUE,
so the book follows the meter; what it does not explain stops selling to that meter and is a case. Lock
order: purses by id, then meter wallets by id; lots only under their purse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.accounts import queries as accounts
from backend.alerts.operations import NewCase, open_cases
from backend.control.proving import Said, Sold, prices_since, sold_against
from backend.kernel.clock import Period, business_day, day_period
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.money import ZERO, Money
from backend.ledger import operations as ledger
from backend.ledger.rules import AccountKey, AccountKind
from backend.ledger.wallet_use import WalletUse, post_wallet_use
from backend.metering import operations as metering
from backend.metering.history import readings_of_meters
from backend.metering.proving import Served, served_meters, still_served
from backend.metering.registers import Reading
from backend.metering.rules import MAX_DRIFT, register_gain
from backend.outbox.operations import emit
from backend.reconcile import proofs as rows
from backend.reconcile.proof_rules import (
    ANY_PRICE,
    BookWord,
    MeterWord,
    Prices,
    ProofVerdict,
    prove,
)
from backend.reconcile.proofs import Anchor, Proof
from backend.tenancy import queries as tenancy

from .drift import CASE, told
from .occupancy import Opened, take_over_all

TOPIC = "proof.due"
# The last readings of the day have arrived by then.
_FROM = time(1, 0)
_AT_ONCE = 100


async def plan_proofs(*, group_id: int, at: datetime) -> int:
    """Plan the proof of the day that is over, for each project by its own clock; how many are new."""
    planned = 0
    async with unit_of_work(group_id) as work:
        for project in await tenancy.all_projects(work):
            zone = ZoneInfo(project.time_zone)
            local = at.astimezone(zone)
            day = local.date() - timedelta(days=1)
            if local.time() < _FROM or day < business_day(project.created_at, zone):
                continue
            payload = {"project_id": str(project.id), "day": day.isoformat()}
            key = f"{project.id}:{day}"
            planned += await emit(work, topic=TOPIC, key=key, payload=payload, at=at)
    return planned


async def prove_project(*, group_id: int, project_id: UUID, day: date, at: datetime) -> int:
    """Prove every meter of a project that has no proof of that day yet; how many were proved."""
    async with unit_of_work(group_id) as work:
        project = await tenancy.project_by_id(work, project_id=project_id)
    whole = day_period(day, ZoneInfo(project.time_zone))
    assert whole.end is not None
    after, proved = None, 0
    while True:
        async with unit_of_work(group_id) as work:
            served = await served_meters(
                work, project_id=project_id, until=whole.end, after=after, limit=_AT_ONCE
            )
            if not served:
                return proved
            after = served[-1].meter_id
            proved += await _prove(work, project_id, served, day, whole, at)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of some meters before they are proved, by meter or (anchors) by assignment."""

    readings: Mapping[UUID, Reading]
    anchors: Mapping[UUID, Anchor]
    sold: Mapping[UUID, Sold]
    prices: Mapping[UUID, tuple[int, int]]
    held: Mapping[UUID, Money]

    def anchor(self, served: Served) -> Anchor:
        """Where the proof begins: at the last that stands, else at the opening (C14)."""
        found = self.anchors.get(served.assignment_id)
        if found is not None:
            return found
        # A meter that was overdrawn when it was hung: the book begins with nothing, above it.
        below = min(0, served.opening_remaining_hao or 0)
        return Anchor(served.started_at, served.opening_total, Money(-below))


async def _prove(
    work: UnitOfWork,
    project_id: UUID,
    served: Sequence[Served],
    day: date,
    whole: Period,
    at: datetime,
) -> int:
    done = await rows.proved_of_day(work, meter_ids=[one.meter_id for one in served], day=day)
    todo = [one for one in served if one.meter_id not in done]
    pairs = [(one.meter_id, one.assignment_id) for one in todo]
    anchors = await rows.anchors(work, pairs=pairs, before=day)
    held = await _hold(work, project_id, todo, anchors, at)
    # Somebody may have taken a meter down while we waited.
    live = await still_served(work, assignment_ids=[one.assignment_id for one in todo])
    todo = [one for one in todo if one.assignment_id in live]
    known = await _known(work, todo, anchors, held, whole)
    proofs = [_proof(one, known, project_id, day, at) for one in todo]
    proofs = await _book(work, todo, proofs, at)
    await rows.add_proofs(work, proofs=proofs)
    drifts = [proof for proof in proofs if proof.verdict is ProofVerdict.DRIFT]
    for proof in drifts:
        await metering.stop_selling(work, meter_id=proof.meter_id, at=at)
    cases = [NewCase(project_id, CASE, str(one.meter_id), told(one)) for one in drifts]
    await open_cases(work, cases=cases, at=at)
    return len(proofs)


async def _hold(
    work: UnitOfWork,
    project_id: UUID,
    served: Sequence[Served],
    anchors: Mapping[UUID, Anchor],
    at: datetime,
) -> dict[UUID, Money]:
    """Take turns on purses and wallets; what the book says each meter holds. What a meter held when it
    was hung is booked first, if that was not done then."""
    purses = await accounts.purses(work, account_ids=[one.account_id for one in served])
    # An account's own purse as well, where it shares another's: what a meter held when it was hung.
    refs = {*purses, *purses.values()}
    purse_keys = [AccountKey(AccountKind.PURSE, ref) for ref in refs]
    wallet_of = {one.meter_id: AccountKey(AccountKind.METER_WALLET, one.meter_id) for one in served}
    keys = [*purse_keys, *wallet_of.values()]
    ids = await ledger.account_ids(work, project_id=project_id, keys=keys, at=at)
    await ledger.hold(work, accounts=[ids[key] for key in purse_keys])
    opened = [
        Opened(one.assignment_id, one.account_id, one.meter_id, Money(one.opening_remaining_hao))
        for one in served
        if one.assignment_id not in anchors and one.opening_remaining_hao
    ]
    await take_over_all(work, project_id=project_id, opened=opened, at=at)
    found = await ledger.hold(work, accounts=[ids[key] for key in wallet_of.values()])
    return {meter_id: Money(-found[ids[key]]) for meter_id, key in wallet_of.items()}


async def _known(
    work: UnitOfWork,
    served: Sequence[Served],
    anchors: Mapping[UUID, Anchor],
    held: Mapping[UUID, Money],
    whole: Period,
) -> _Known:
    meter_ids = [one.meter_id for one in served]
    newest = await readings_of_meters(work, meter_ids=meter_ids, period=whole, limit=1)
    readings = {
        meter_id: found[0]
        for meter_id, found in newest.items()
        if found and found[0].purchase_no is not None and found[0].remaining_hao is not None
    }
    known = _Known(readings, anchors, {}, {}, held)
    said = [
        Said(
            meter_id=one.meter_id,
            counter_epoch=one.counter_epoch,
            opening_no=one.opening_purchase_no,
            count=readings[one.meter_id].purchase_no or 0,
            slack_from=readings[one.meter_id].at - MAX_DRIFT,
            slack_to=readings[one.meter_id].at + MAX_DRIFT,
        )
        for one in served
        if one.meter_id in readings
    ]
    since = [(one.meter_id, known.anchor(one).read_at) for one in served]
    return _Known(
        readings,
        anchors,
        await sold_against(work, said=said),
        await prices_since(work, since=since),
        held,
    )


def _proof(one: Served, known: _Known, project_id: UUID, day: date, at: datetime) -> Proof:
    reading, anchor = known.readings.get(one.meter_id), known.anchor(one)
    proof = Proof(
        id=rows.new_id(at),
        project_id=project_id,
        meter_id=one.meter_id,
        assignment_id=one.assignment_id,
        day=day,
        verdict=ProofVerdict.UNREAD,
        reason="the meter was not read that day, or told no money",
        proved_at=at,
    )
    if reading is None or reading.at < anchor.read_at:
        return proof
    assert reading.purchase_no is not None
    assert reading.remaining_hao is not None
    elapsed = reading.at - anchor.read_at
    sold = known.sold[one.meter_id]
    book = BookWord(
        counted=sold.counted,
        count_least=sold.least,
        count_most=sold.most,
        waiting=sold.waiting,
        held=known.held[one.meter_id] - sold.later,
        left=anchor.left,
    )
    word = MeterWord(
        count=reading.purchase_no,
        remaining=Money(reading.remaining_hao),
        used=register_gain(anchor.total, reading.total, kind=one.kind, elapsed=elapsed),
        power_w=reading.power_w or 0,
    )
    prices = known.prices.get(one.meter_id)
    found = prove(word, book, Prices(*prices) if prices else ANY_PRICE)
    return replace(
        proof,
        verdict=found.verdict,
        reason=found.reason,
        read_at=reading.at,
        total=reading.total,
        ledger_count=max(book.counted, book.count_least),
        meter_count=word.count,
        ledger=book.held,
        meter=word.remaining,
        used=word.used,
        use=found.use,
        least=found.least,
        most=found.most,
        posted=found.posted,
        left=found.left,
    )


async def _book(
    work: UnitOfWork, served: Sequence[Served], proofs: Sequence[Proof], at: datetime
) -> list[Proof]:
    """What was used at meters is income, out of the households' lots (C4); where those hold less, something
    is wrong with the book itself."""
    purses = await accounts.purses(work, account_ids=[one.account_id for one in served])
    uses = {
        proof.id: WalletUse(
            business_key=f"proof:{one.meter_id}:{proof.day}:used",
            purse_ref=purses[one.account_id],
            meter_id=one.meter_id,
            amount=proof.posted,
        )
        for one, proof in zip(served, proofs, strict=True)
        if proof.posted
    }
    if not uses:
        return list(proofs)
    project_id = proofs[0].project_id
    short = await post_wallet_use(work, project_id=project_id, uses=list(uses.values()), at=at)
    return [
        _lots_short(proof) if proof.id in uses and uses[proof.id].business_key in short else proof
        for proof in proofs
    ]


def _lots_short(proof: Proof) -> Proof:
    return replace(
        proof,
        verdict=ProofVerdict.DRIFT,
        reason=f"{proof.posted} yuan were used, more than the household's lots hold",
        posted=ZERO,
        left=proof.posted + (proof.left or ZERO),
    )
