"""An operator signs in: same answer and same time whether the group, the login or the password is wrong."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from backend.audit.operations import record
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Unauthenticated
from backend.kernel.ids import token
from backend.kernel.scope import Actor, Scope
from backend.kernel.secrets import digest
from backend.tenancy import operations, queries
from backend.tenancy.rules import split_login

# OWASP minimum for argon2id: 19 MiB, two passes, one lane (reference figure: 35 ms here).
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_AT_ONCE = asyncio.Semaphore(4)
_NOBODY = _HASHER.hash("nobody's password, to spend the same time")
_REFUSED = "the login or the password is wrong"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session: the token is shown once and kept only as its digest."""

    token: str
    scope: Scope


def hash_password(password: str) -> str:
    """An argon2id hash; takes tens of milliseconds of CPU, so call it in a thread."""
    return _HASHER.hash(password)


def new_password() -> str:
    """A random password that meets the strength rule: 96 bits, letters and digits."""
    return f"{secrets.token_urlsafe(12)}-a7"


async def sign_in(*, login: str, password: str, address: str, at: datetime) -> SignedIn:
    """Check `name@group` and password. Raises Unauthenticated, RateLimited, InvalidInput."""
    name, code = split_login(login)
    group_id = await queries.group_of_code(code)
    operator = None
    if group_id is not None:
        async with unit_of_work(group_id) as work:
            operator = await operations.count_login_try(work, login=name, at=at)
    right = await _verify(operator.password_hash if operator else _NOBODY, password)
    if group_id is None or operator is None or operator.disabled_at is not None:
        raise Unauthenticated(_REFUSED)
    async with unit_of_work(group_id) as work:
        actor = Actor("operator", str(operator.id), operator.login, address)
        if not right:
            await record(
                work, actor=actor, action="session:self:refuse", subject=operator.login, at=at
            )
        else:
            session = f"{code}.{token()}"
            await operations.open_session(
                work,
                operator_id=operator.id,
                login=operator.login,
                token_digest=digest(session),
                at=at,
            )
            await record(
                work, actor=actor, action="session:self:open", subject=operator.login, at=at
            )
            scope = await queries.scope_of(work, operator_id=operator.id, address=address)
    if not right:
        raise Unauthenticated(_REFUSED)
    assert scope is not None
    return SignedIn(session, scope)


async def _verify(hashed: str, password: str) -> bool:
    async with _AT_ONCE:
        try:
            return await asyncio.to_thread(_HASHER.verify, hashed, password)
        except (VerifyMismatchError, InvalidHashError):
            return False


async def scope_of_token(*, session: str, address: str, at: datetime) -> Scope | None:
    """The rights behind a session token, read afresh; None when it is not a live session."""
    code, dot, _ = session.partition(".")
    group_id = await queries.group_of_code(code) if dot else None
    if group_id is None:
        return None
    async with unit_of_work(group_id) as work:
        operator_id = await operations.touch_session(work, token_digest=digest(session), at=at)
        if operator_id is None:
            return None
        return await queries.scope_of(work, operator_id=operator_id, address=address)


async def sign_out(*, scope: Scope, session: str, at: datetime) -> None:
    """End a session."""
    async with unit_of_work(scope.group_id) as work:
        await operations.close_session(work, token_digest=digest(session))
        await record(
            work, actor=scope.actor, action="session:self:close", subject=scope.actor.name, at=at
        )


async def scope_of_live_session(*, session: str, address: str, at: datetime) -> Scope | None:
    """Like `scope_of_token`, for a page that only listens: it does not keep the session from idling."""
    code, dot, _ = session.partition(".")
    group_id = await queries.group_of_code(code) if dot else None
    if group_id is None:
        return None
    async with unit_of_work(group_id) as work:
        operator_id = await queries.live_session(work, token_digest=digest(session), at=at)
        if operator_id is None:
            return None
        return await queries.scope_of(work, operator_id=operator_id, address=address)
