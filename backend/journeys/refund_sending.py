"""A refund on its way: asked for at the channel until it is done or failed (C4).

A channel's "accepted" is no end. A failure gives purse and lot their money back by a reversing entry;
what cannot be known becomes a case, and nothing is given back on a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.alerts.operations import close_cases, open_case
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import InvalidInput, Unavailable
from backend.kernel.metrics import REFUNDS
from backend.kernel.scope import Actor
from backend.ledger import operations as ledger
from backend.ledger.rules import AccountKey, AccountKind, move
from backend.outbox.operations import postpone, reopen_if_done
from backend.tenancy import queries as tenancy
from backend.topups import refunds as rows
from backend.topups.ports import ChannelRefused, RefundRequest
from backend.topups.refund_rules import (
    FINAL,
    UNDER_WAY_FOR,
    UNREACHED_FOR,
    Outcome,
    RefundState,
    ask_again,
    judge_refusal,
    judge_word,
)
from backend.topups.refunds import Refund

from .news import tell_refunded
from .ports import Ports
from .refund import TOPIC, audit_refund, due_account, give_back, key_of

_WORKER = Actor("system", "worker", "refund worker")


async def pursue(ports: Ports, *, group_id: int, refund_id: UUID) -> datetime | None:
    """Ask the channel for a refund, or what became of it; returns when to ask again.

    The same number again moves no money twice (channels.md section 2.3). Raises Unavailable: nothing
    is known, ask again.
    """
    async with unit_of_work(group_id) as work:
        refund = await rows.lock_refund(work, refund_id=refund_id)
        if refund is None or refund.state not in (RefundState.APPROVED, RefundState.SENT):
            return None
        if refund.source.credential_id is None:
            return None  # paid out at a desk, by a person
        refund = await rows.mark_asking(work, refund_id=refund_id, at=ports.clock.now())
        assert refund.source.credential_id is not None
        credential = await tenancy.credential_by_id(
            work, box=ports.box, credential_id=refund.source.credential_id
        )
    request = RefundRequest(
        order_no=refund.source.order_no,
        refund_no=refund.refund_no,
        amount_fen=refund.amount.fen,
        total_fen=refund.source.total_fen,
        reason=refund.reason,
        first_asked_at=refund.sent_at,
    )
    assert refund.sent_at is not None
    try:
        word = await ports.payment_channel(group_id, credential).refund(request)
        since = ports.clock.now() - refund.sent_at
        outcome, why = judge_word(word=word, since=since), f"the channel says {word}"
    except ChannelRefused as refused:
        outcome = judge_refusal(code=refused.code_at_channel, asked=refund.asked)
        why = f"the channel refuses: {refused.message}"
    except InvalidInput as wrong:  # not asked at all: the adapter knows that it cannot be asked for
        outcome = judge_refusal(code=wrong.code, asked=refund.asked)
        why = f"it cannot be asked for: {wrong.message}"
    except Unavailable as error:
        await _unreached(group_id, refund, error.message, ports.clock.now())
        raise
    return await _conclude(group_id, refund_id, outcome, why, ports.clock.now())


async def ring(work: UnitOfWork, *, refund_no: str, at: datetime) -> bool:
    """The channel told of a refund by itself: ask it now, whatever it told; False for none of ours."""
    refund = await rows.refund_of_number(work, refund_no=refund_no)
    if refund is None:
        return False
    if refund.state not in FINAL:
        await postpone(work, topic=TOPIC, key=str(refund.id), due_at=at)
    return True


async def tend_refunds(work: UnitOfWork, *, at: datetime) -> None:
    """Ring again for refunds whose event is gone; what nobody fetches at a desk becomes a case."""
    for refund in await rows.refunds_on_their_way(work):
        if not refund.at_counter:
            await reopen_if_done(work, topic=TOPIC, key=str(refund.id), due_at=at)
        elif refund.approved_at is not None and at - refund.approved_at >= UNDER_WAY_FOR:
            await _stuck(work, refund, "nobody has fetched it at the desk", at)


async def _unreached(group_id: int, refund: Refund, why: str, at: datetime) -> None:
    async with unit_of_work(group_id) as work:
        now = await rows.lock_refund(work, refund_id=refund.id)
        if now is None or now.state is not RefundState.SENT:
            return  # another worker heard how it ended
        await rows.mark_waiting(work, refund_id=refund.id, why=why)
        if refund.sent_at is not None and at - refund.sent_at >= UNREACHED_FOR:
            await _stuck(work, refund, why, at)


async def _conclude(
    group_id: int, refund_id: UUID, outcome: Outcome, why: str, at: datetime
) -> datetime | None:
    async with unit_of_work(group_id) as work:
        refund = await rows.lock_refund(work, refund_id=refund_id)
        if refund is None or refund.state is not RefundState.SENT:
            return None  # another worker concluded it, or a person did
        if outcome is Outcome.DONE:
            await finish_done(work, refund=refund, why=why, actor=_WORKER, at=at)
            return None
        if outcome is Outcome.FAILED:
            await finish_failed(work, refund=refund, why=why, actor=_WORKER, at=at)
            return None
        await rows.mark_waiting(work, refund_id=refund.id, why=why)
        if outcome is Outcome.HELP:
            await _stuck(work, refund, why, at)
        assert refund.sent_at is not None, "it was asked for"
        return ask_again(at=at, since=at - refund.sent_at)


async def finish_done(
    work: UnitOfWork, *, refund: Refund, why: str, actor: Actor, at: datetime
) -> Refund:
    """The payer has the money: it left the channel's account. The refund's row is locked."""
    assert refund.source.credential_id is not None, "a desk pays out by itself"
    transfer = move(
        business_key=key_of(refund, "done"),
        kind="REFUND_DONE",
        debit=due_account(refund),
        credit=AccountKey(AccountKind.CHANNEL, refund.source.credential_id),
        amount=refund.amount,
    )
    await ledger.post(work, project_id=refund.project_id, transfer=transfer, at=at)
    return await _finish(work, refund, RefundState.DONE, why, actor, at)


async def finish_failed(
    work: UnitOfWork, *, refund: Refund, why: str, actor: Actor, at: datetime
) -> Refund:
    """No money left: purse and lot get theirs back, and a person is told. The row is locked."""
    await give_back(work, refund, at)
    await open_case(
        work,
        project_id=refund.project_id,
        kind="REFUND_FAILED",
        subject=refund.refund_no,
        detail=_told(refund, why),
        at=at,
    )
    return await _finish(work, refund, RefundState.FAILED, why, actor, at)


async def _finish(
    work: UnitOfWork, refund: Refund, state: RefundState, why: str, actor: Actor, at: datetime
) -> Refund:
    ended = await rows.mark_finished(work, refund_id=refund.id, state=state, outcome=why, at=at)
    note = f"the refund is {state}: {why}"
    await close_cases(work, kind="REFUND_STUCK", subjects=[refund.refund_no], note=note, at=at)
    if state is RefundState.DONE:
        await tell_refunded(work, refund=ended, at=at)
    await audit_refund(work, ended, actor, "end", at)
    REFUNDS.labels(step=state.value.lower()).inc()
    return ended


async def _stuck(work: UnitOfWork, refund: Refund, why: str, at: datetime) -> None:
    await open_case(
        work,
        project_id=refund.project_id,
        kind="REFUND_STUCK",
        subject=refund.refund_no,
        detail=_told(refund, why),
        at=at,
    )


def _told(refund: Refund, why: str) -> Mapping[str, str]:
    return {
        "reason": why,
        "refund": str(refund.id),
        "order": refund.source.order_no,
        "amount": str(refund.amount),
    }
