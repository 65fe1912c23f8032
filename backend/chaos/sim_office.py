"""The office of the simulation: two operators who give money back, sit at a desk, correct and close.

Whoever's request dies with the process asks again with the same key, as a person whose page showed nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from uuid import UUID

from backend.journeys.cash_desk import close_shift, hand_over, open_shift, pay_out
from backend.journeys.cashier import take_money
from backend.journeys.closing import close_account, resume_closing
from backend.journeys.correction import correct_topup
from backend.journeys.refund import approve_refund, refuse_refund, request_refund
from backend.journeys.takedown import Ask
from backend.kernel.errors import DomainError
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.topups.rules import Channel
from workers.models import meter_models

from .sim_stage import Stage
from .sim_world import SimGroup

_CHANGE = Money.parse("5000")
_PAID = "SELECT id FROM topups_order WHERE state = 'PAID' ORDER BY order_no"
_PAID_OF = (
    "SELECT id, amount_fen FROM topups_order WHERE state = 'PAID' AND account_id = ANY($1)"
    " ORDER BY order_no"
)
_ASKED = "SELECT id FROM topups_refund WHERE state = 'REQUESTED' ORDER BY refund_no"
_TO_FETCH = (
    "SELECT id, channel FROM topups_refund WHERE state = 'APPROVED' AND credential_id IS NULL"
    " ORDER BY refund_no"
)
_TAKEN = "SELECT count(*) FROM topups_order WHERE idempotency_key = $1 AND state = 'PAID'"
_SHIFT = "SELECT id FROM topups_shift WHERE closed_at IS NULL"
_SITS = "SELECT operator_id FROM topups_shift WHERE closed_at IS NULL"
_DRAWER = (
    "SELECT coalesce(sum(p.amount_hao), 0)::bigint FROM ledger_posting p"
    " JOIN ledger_account a ON a.group_id = p.group_id AND a.id = p.account_id"
    " WHERE a.kind = 'CASH_DESK' AND a.ref = $1"
)
_STUCK = (
    "SELECT c.id FROM accounts_closing c JOIN alerts_case a ON a.group_id = c.group_id"
    " AND a.subject = c.id::text WHERE a.kind = 'CLOSING_STUCK' AND a.resolved_at IS NULL"
    " AND c.finished_at IS NULL ORDER BY c.id"
)


@dataclass(frozen=True)
class RefundWish:
    """A refund that an operator wants to ask for."""

    group: SimGroup
    order_id: UUID
    amount: Money
    key: str


@dataclass(frozen=True)
class CashWish:
    """Money that somebody holds in the hand at the desk; a card's slip, if it is one."""

    group: SimGroup
    account_id: UUID
    amount: Money
    slip: str | None
    key: str


class Office:
    """What operators do. `taken`: fen by key that a desk took for good."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._models = meter_models()
        self._refunds: list[RefundWish] = []
        self._cash: list[CashWish] = []
        self._closings: dict[int, str] = {}
        self.taken: dict[str, int] = {}

    async def ask_refund(self) -> str:
        """Ask for all or a part of any paid top-up, or again after a failure."""
        stage, draw = self._stage, self._stage.draw
        if not self._refunds or draw.random() < 0.5:
            group = stage.group()
            whose = group.accounts if draw.random() < 0.2 else group.clouds
            order = stage.any_of(await stage.rows(group, _PAID_OF, list(whose)))
            if order is None:
                return "nothing paid"
            fen = order["amount_fen"]
            part = fen if draw.random() < 0.2 else draw.randrange(1, fen // 2)
            wish = RefundWish(group, order["id"], Money.of_fen(part), stage.key("refund"))
            self._refunds.append(wish)
        said = await self._ask(draw.choice(self._refunds))
        return f"{said}, {await self.decide()}" if draw.random() < 0.3 else said

    async def _ask(self, wish: RefundWish) -> str:
        said = await outcome_of(
            request_refund(
                scope=wish.group.asks,
                order_id=wish.order_id,
                amount=wish.amount,
                reason="moved out",
                idempotency_key=wish.key,
                models=self._models,
                at=self._stage.clock.now(),
            )
        )
        self._refunds.remove(wish)
        return f"{wish.amount} {said}"

    async def decide(self) -> str:
        """A second operator agrees to a refund, or not; or takes back one that nobody has fetched."""
        group, draw = self._stage.group(), self._stage.draw
        to_fetch = self._stage.any_of(await self._stage.rows(group, _TO_FETCH))
        if to_fetch is not None and draw.random() < 0.3:
            return await self._decide(group, to_fetch["id"], agrees=False)
        asked = self._stage.any_of(await self._stage.rows(group, _ASKED))
        if asked is None:
            return "nothing asked"
        return await self._decide(group, asked["id"], agrees=draw.random() < 0.7)

    async def _decide(self, group: SimGroup, refund_id: UUID, *, agrees: bool) -> str:
        at = self._stage.clock.now()
        if agrees:
            return await outcome_of(approve_refund(scope=group.agrees, refund_id=refund_id, at=at))
        return "no " + await outcome_of(
            refuse_refund(scope=group.agrees, refund_id=refund_id, note="not his money", at=at)
        )

    async def desk(self) -> str:
        """Somebody comes to the desk, or the shift ends."""
        stage = self._stage
        group, chance = stage.group(), stage.draw.random()
        shift_id = await stage.value(group, _SHIFT)
        if shift_id is None:
            return await self._open(group)
        if chance < 0.15:
            return await self._count(group, shift_id)
        if chance < 0.4:
            return await self._hand_over(group, shift_id)
        to_fetch = await stage.rows(group, _TO_FETCH)
        if to_fetch and chance < 0.65:
            return await self._pay_out(group, stage.draw.choice(to_fetch))
        if not self._cash or stage.draw.random() < 0.7:
            slip = stage.key("SLIP").replace("-", "") if stage.draw.random() < 0.4 else None
            fen = 1_000 + stage.draw.randrange(3_000)
            account_id = stage.draw.choice(group.accounts)
            key = stage.key("desk-money")
            self._cash.append(CashWish(group, account_id, Money.of_fen(fen), slip, key))
        return await self._take(stage.draw.choice(self._cash))

    async def _open(self, group: SimGroup) -> str:
        project_id, at = group.project_id, self._stage.clock.now()
        return "open " + await outcome_of(
            open_shift(
                scope=group.asks, project_id=project_id, desk="一号窗口", change=_CHANGE, at=at
            )
        )

    async def _count(self, group: SimGroup, shift_id: UUID) -> str:
        """Count the drawer, now and then a yuan wrong."""
        counted, at = await self._counted(group, shift_id), self._stage.clock.now()
        return f"count {counted} " + await outcome_of(
            close_shift(scope=group.asks, shift_id=shift_id, counted=counted, note="", at=at)
        )

    async def _counted(self, group: SimGroup, shift_id: UUID) -> Money:
        holds = Money(await self._stage.value(group, _DRAWER, shift_id))
        return Money.of_fen(holds.fen + self._stage.draw.choice((0, 0, 0, 100, -100)))

    async def _hand_over(self, group: SimGroup, shift_id: UUID) -> str:
        """Count it, and the other operator goes on at the same desk."""
        sits = await self._sits(group)
        other = group.agrees if sits.actor == group.asks.actor else group.asks
        counted, at = await self._counted(group, shift_id), self._stage.clock.now()
        return f"hand over {counted} " + await outcome_of(
            hand_over(
                scope=sits,
                shift_id=shift_id,
                counted=counted,
                to=UUID(other.actor.id),
                note="",
                at=at,
            )
        )

    async def _sits(self, group: SimGroup) -> Scope:
        """Who sits at the desk, or would."""
        operator_id = await self._stage.value(group, _SITS)
        return group.agrees if operator_id == group.agrees.actor.id else group.asks

    async def _take(self, wish: CashWish) -> str:
        said = await outcome_of(
            take_money(
                scope=await self._sits(wish.group),
                account_id=wish.account_id,
                amount=wish.amount,
                channel=Channel.CASH if wish.slip is None else Channel.CARD,
                slip_no=wish.slip,
                idempotency_key=wish.key,
                at=self._stage.clock.now(),
            )
        )
        if said == "CONFLICT" and await self._stage.value(wish.group, _SHIFT) is None:
            return "no shift"  # the money is still in the hand
        self._cash.remove(wish)
        # A repeat may be refused (the account is being closed by now) though the first try took the money.
        if said == "done" or await self._stage.value(wish.group, _TAKEN, wish.key):
            self.taken[wish.key] = wish.amount.fen
        return f"take {said}"

    async def _pay_out(self, group: SimGroup, refund: dict[str, object]) -> str:
        slip = self._stage.key("BACK").replace("-", "") if refund["channel"] == "CARD" else None
        refund_id, at = refund["id"], self._stage.clock.now()
        assert isinstance(refund_id, UUID)
        return "pay out " + await outcome_of(
            pay_out(scope=await self._sits(group), refund_id=refund_id, slip_no=slip, at=at)
        )

    async def correct(self) -> str:
        """A top-up was of the wrong room."""
        stage = self._stage
        group = stage.group()
        order = stage.any_of(await stage.rows(group, _PAID))
        if order is None:
            return "nothing paid"
        return await outcome_of(
            correct_topup(
                scope=group.agrees,
                order_id=order["id"],
                account_id=stage.draw.choice(group.accounts),
                reason="the wrong room",
                models=self._models,
                at=stage.clock.now(),
            )
        )

    async def close(self) -> str:
        """The last account of a group moves out, once."""
        group = self._stage.group()
        if group.id in self._closings and self._closings[group.id] == "done":
            return "closed before"
        key = self._closings.setdefault(group.id, self._stage.key("closing"))
        at = self._stage.clock.now()
        ask = Ask(group.asks.actor, "they move out", key, self._models, at)
        said = await outcome_of(
            close_account(scope=group.asks, account_id=group.clouds[-1], cut=False, ask=ask)
        )
        self._closings[group.id] = "done" if said == "done" else key
        return said

    async def finish(self) -> bool:
        """In peace: do whatever waits for a person; False when nothing did."""
        busy = bool(self._refunds or self._cash)
        while self._refunds:
            await self._ask(self._refunds[0])
        for group in self._stage.groups:
            at = self._stage.clock.now()
            if await self._stage.value(group, _SHIFT) is None:
                await self._open(group)
            for wish in [wish for wish in self._cash if wish.group is group]:
                await self._take(wish)
            for asked in await self._stage.rows(group, _ASKED):
                busy = True
                await self._decide(group, asked["id"], agrees=True)
                # A refund that cannot be agreed to any more is refused.
                if asked in await self._stage.rows(group, _ASKED):
                    await self._decide(group, asked["id"], agrees=False)
            for refund in await self._stage.rows(group, _TO_FETCH):
                busy = True
                await self._pay_out(group, refund)
            for stuck in await self._stage.rows(group, _STUCK):
                busy = True
                await outcome_of(resume_closing(scope=group.asks, closing_id=stuck["id"], at=at))
        return busy


async def outcome_of(doing: Awaitable[object]) -> str:
    """`done`, or the code of what was refused."""
    try:
        await doing
    except DomainError as error:
        return error.code
    return "done"
