"""A customer binds an account by a code sent to the registered phone; no enumeration (channels.md 6.5)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from uuid import UUID

from backend.accounts import operations, queries
from backend.accounts.models import Account
from backend.accounts.rules import CODE_TRIES, check_account_no, mask_phone, may_send_code
from backend.alerts.operations import queue_delivery
from backend.alerts.ports import MessageChannel
from backend.alerts.texts import text
from backend.kernel.db import unit_of_work
from backend.kernel.errors import InvalidInput, NotFound, RateLimited
from backend.kernel.scope import Actor
from backend.kernel.secrets import digest

from .ports import Ports

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class BindingStarted:
    """A code is on its way, if there is such an account. When there is none, `masked_phone` is a
    decoy, always the same for that number, so that nobody can find out which numbers exist."""

    challenge_id: UUID
    masked_phone: str


async def start_binding(
    ports: Ports, *, group_id: int, customer_id: UUID, account_no: str
) -> BindingStarted:
    """Send a six-digit code to the account's registered phone.

    Raises InvalidInput (not an account number), RateLimited (five codes an account a day, ten a
    customer: limits against SMS bombing).
    """
    check_account_no(account_no)
    at = ports.clock.now()
    code = f"{secrets.randbelow(1_000_000):06d}"
    async with unit_of_work(group_id) as work:
        await operations.hold_code_limits(work, account_no=account_no, customer_id=customer_id)
        to_account, to_customer = await queries.codes_sent(
            work, account_no=account_no, customer_id=customer_id, at=at
        )
        if not may_send_code(sent_to_account=to_account, sent_to_customer=to_customer):
            raise RateLimited("too many codes today; try again tomorrow", retry_after_s=_DAY_S)
        account = await queries.open_account_by_no(work, no=account_no)
        challenge = await operations.start_challenge(
            work,
            customer_id=customer_id,
            account_no=account_no,
            account_id=account.id if account else None,
            code_digest=digest(code),
            at=at,
        )
        if account is not None:
            await queue_delivery(
                work,
                channel=MessageChannel.SMS,
                event="bind_code",
                key=f"bind-{challenge.id.hex}",
                customer_id=customer_id,
                content={
                    "address": account.phone,
                    "text": text("bind_code", code=code),
                    "param_code": code,
                },
                at=at,
            )
    shown = account.phone if account else _decoy_phone(ports, group_id, account_no)
    return BindingStarted(challenge.id, mask_phone(shown))


def _decoy_phone(ports: Ports, group_id: int, account_no: str) -> str:
    number = int.from_bytes(ports.box.fingerprint(f"decoy/{group_id}/{account_no}")[:8], "big")
    return f"1{3 + number % 7}{number // 7 % 10**9:09d}"


async def confirm_binding(
    ports: Ports, *, group_id: int, customer_id: UUID, challenge_id: UUID, code: str
) -> Account:
    """Bind when the code is right. A wrong try is counted even though the answer is an error.

    Raises InvalidInput (wrong code), RateLimited (five tries), NotFound (no such or stale challenge).
    """
    at = ports.clock.now()
    async with unit_of_work(group_id) as work:
        challenge = await operations.count_try(
            work, challenge_id=challenge_id, customer_id=customer_id
        )
        if challenge is None or challenge.expires_at <= at:
            outcome: Account | Exception = NotFound(
                "the code is no longer valid; ask for a new one"
            )
        elif challenge.tries > CODE_TRIES:
            outcome = RateLimited("too many tries with this code", retry_after_s=60)
        elif challenge.account_id is None or not secrets.compare_digest(
            challenge.code_digest, digest(code)
        ):
            outcome = InvalidInput("the code is wrong", field="code")
        else:
            outcome = await queries.account_by_id(work, account_id=challenge.account_id)
            actor = Actor("customer", str(customer_id), "customer")
            await operations.bind(
                work,
                actor=actor,
                customer_id=customer_id,
                account=outcome,
                challenge_id=challenge_id,
                at=at,
            )
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def unbind(ports: Ports, *, group_id: int, customer_id: UUID, account_id: UUID) -> bool:
    """End the customer's binding to an account; False when there was none. Raises NotFound."""
    at = ports.clock.now()
    async with unit_of_work(group_id) as work:
        account = await queries.account_by_id(work, account_id=account_id)
        actor = Actor("customer", str(customer_id), "customer")
        return await operations.unbind(
            work, actor=actor, customer_id=customer_id, account=account, at=at
        )
