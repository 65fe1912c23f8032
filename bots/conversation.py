"""One customer's conversation: read what the dialogue needs, speak, do what it asks, remember.

The dialogue itself is pure (dialogue.py). Its state lives in Redis for a month; when Redis is away or
was flushed the customer starts fresh and loses a half-made choice, nothing else.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from backend.accounts.operations import ensure_customer
from backend.journeys.binding import confirm_binding, start_binding, unbind
from backend.journeys.pay_link import new_link
from backend.journeys.ports import Ports
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, DomainError, InvalidInput, NotFound, RateLimited
from bots import effects
from bots.dialogue import finish, step
from bots.effects import Effect, Outcome, Refusal
from bots.intents import Intent
from bots.reading import view_of_customer
from bots.state import State
from bots.view import View

log = logging.getLogger(__name__)
_MEMORY = timedelta(days=30)


class Conversation:
    """Answers customers of every official account."""

    def __init__(self, ports: Ports, redis: Redis) -> None:
        self._ports = ports
        self._redis = redis

    async def answer(self, *, group_id: int, app_id: str, openid: str, said: Intent | str) -> str:
        """The reply to `said` as one text. Raises nothing a customer could cause."""
        now = self._ports.clock.now()
        async with unit_of_work(group_id) as work:
            customer = await ensure_customer(
                work, channel="WECHAT", app_id=app_id, external_id=openid, at=now
            )
            view = await view_of_customer(work, customer_id=customer.id, at=now)
        memory = f"bot:{group_id}:{customer.id}"
        turn = step(state=await self._recall(memory), said=said, view=view, now=now)
        if turn.effect is not None:
            outcome = await self._do(group_id, customer.id, turn.effect, view)
            if isinstance(outcome, effects.BindingDone):
                async with unit_of_work(group_id) as work:
                    view = await view_of_customer(work, customer_id=customer.id, at=now)
            turn = finish(state=turn.state, effect=turn.effect, outcome=outcome, view=view, now=now)
        await self._remember(memory, turn.state)
        return "\n".join(turn.replies)

    async def _do(self, group_id: int, customer_id: UUID, effect: Effect, view: View) -> Outcome:
        match effect:
            case effects.StartBinding(account_no):
                return await self._start_binding(group_id, customer_id, account_no)
            case effects.ConfirmBinding(challenge_id, code):
                return await self._confirm_binding(group_id, customer_id, challenge_id, code)
            case effects.MakePayLink():
                return await self._pay_link(group_id, customer_id, effect)
            case effects.UnbindAccount(account_id):
                done = await unbind(
                    self._ports,
                    group_id=group_id,
                    customer_id=customer_id,
                    account_id=UUID(account_id),
                )
                return effects.Unbound() if done else effects.EffectFailed()

    async def _pay_link(
        self, group_id: int, customer_id: UUID, effect: effects.MakePayLink
    ) -> Outcome:
        meter_id = None if effect.meter_id is None else UUID(effect.meter_id)
        try:
            url = await new_link(
                self._ports,
                group_id=group_id,
                customer_id=customer_id,
                account_id=UUID(effect.account_id),
                amount=effect.amount,
                meter_id=meter_id,
            )
        except Conflict:
            return effects.EffectFailed(Refusal.SELLING_STOPPED)
        except NotFound:
            return effects.EffectFailed(Refusal.NOT_FOUND)
        return effects.PayLink(url)

    async def _start_binding(self, group_id: int, customer_id: UUID, account_no: str) -> Outcome:
        try:
            started = await start_binding(
                self._ports, group_id=group_id, customer_id=customer_id, account_no=account_no
            )
        except RateLimited:
            return effects.BindingRefused(Refusal.TOO_MANY)
        except InvalidInput:
            return effects.BindingRefused(Refusal.NOT_FOUND)
        return effects.BindingStarted(started.masked_phone, "", str(started.challenge_id))

    async def _confirm_binding(
        self, group_id: int, customer_id: UUID, challenge_id: str, code: str
    ) -> Outcome:
        try:
            account = await confirm_binding(
                self._ports,
                group_id=group_id,
                customer_id=customer_id,
                challenge_id=UUID(challenge_id),
                code=code,
            )
        except InvalidInput:
            return effects.BindingRefused(Refusal.WRONG_CODE)
        except RateLimited:
            return effects.BindingRefused(Refusal.TOO_MANY)
        except NotFound:
            return effects.BindingRefused(Refusal.EXPIRED)
        except DomainError as error:
            log.warning("binding failed", extra={"fields": {"code": error.code}})
            return effects.BindingRefused(Refusal.UNAVAILABLE)
        return effects.BindingDone(account.name)

    async def _recall(self, memory: str) -> State:
        try:
            stored = await self._redis.get(memory)
        except RedisError:
            log.warning("conversation memory is away")
            return State()
        return State.from_json(stored.decode() if isinstance(stored, bytes) else stored or "")

    async def _remember(self, memory: str, state: State) -> None:
        try:
            await self._redis.set(memory, state.to_json(), ex=_MEMORY)
        except RedisError:
            log.warning("conversation memory is away")
