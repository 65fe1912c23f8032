"""An operator signs in: one answer for every wrong try, and a throttle that nothing forgets (C30)."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import pytest

from backend.audit.queries import entries
from backend.journeys.sign_in import hash_password, scope_of_token, sign_in, sign_out
from backend.kernel.db import Database, unit_of_work
from backend.kernel.errors import DomainError, RateLimited, Unauthenticated
from backend.kernel.secrets import digest
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.operations import add_operator, grant
from backend.tenancy.rules import MAX_FAILED_LOGINS, SESSION_IDLE, SESSION_LIFE, THROTTLE

from .catalogue import Connection
from .world import START, World

PASSWORD = "right horse " + secrets.token_hex(8)
HASHED = hash_password(PASSWORD)
ADDRESS = "203.0.113.7"


@pytest.fixture
async def offices(worlds: tuple[World, World]) -> tuple[World, World]:
    """Both groups have an operator `ling` with the same password."""
    for world in worlds:
        async with unit_of_work(world.group_id) as work:
            operator = await add_operator(
                work,
                scope=world.scope,
                login="ling",
                name="Ling",
                password_hash=HASHED,
                at=START,
            )
            await grant(
                work,
                scope=world.scope,
                operator_id=operator.id,
                role="manager",
                project_id=world.project.id,
                at=START,
            )
    return worlds


async def attempt(login: str, password: str, *, seconds: float = 0) -> str:
    """`ok`, or the code and words of the refusal."""
    try:
        await sign_in(
            login=login,
            password=password,
            address=ADDRESS,
            at=START + timedelta(seconds=seconds),
        )
    except DomainError as error:
        return f"{error.code}: {error.message}"
    return "ok"


async def test_a_session_holds_the_rights_of_its_operator_in_its_group(
    offices: tuple[World, World],
) -> None:
    ours, theirs = offices
    signed = await sign_in(login=f"Ling@{ours.code}", password=PASSWORD, address=ADDRESS, at=START)
    scope = await scope_of_token(session=signed.token, address=ADDRESS, at=START)
    assert scope == signed.scope
    assert scope is not None
    assert scope.group_id == ours.group_id
    assert scope.may("account:write", ours.project.id)
    assert not scope.may("account:write", theirs.project.id)
    assert not scope.may("operator:write", ours.project.id)
    stolen = signed.token.replace(ours.code, theirs.code, 1)
    assert await scope_of_token(session=stolen, address=ADDRESS, at=START) is None
    async with unit_of_work(ours.group_id) as work:
        (newest,) = await entries(work, before_seq=None, limit=1)
    assert (newest.action, newest.actor.address) == ("session:self:open", ADDRESS)


async def test_the_answer_is_the_same_whatever_was_wrong(
    offices: tuple[World, World], owner: Connection
) -> None:
    ours, theirs = offices
    answers = {
        await attempt("ling@nosuchgroup", PASSWORD),
        await attempt(f"nobody@{ours.code}", PASSWORD),
        await attempt(f"ling@{ours.code}", "wrong horse 1234"),
        await attempt(f"ling@{ours.code}", ""),
    }
    await _disable(owner, theirs)
    answers |= {
        await attempt(f"ling@{theirs.code}", PASSWORD),
        await attempt(f"ling@{theirs.code}", "wrong horse 1234"),
    }
    assert answers == {"UNAUTHENTICATED: the login or the password is wrong"}


async def test_a_wrong_password_is_in_the_audit(offices: tuple[World, World]) -> None:
    ours, theirs = offices
    await attempt(f"ling@{ours.code}", "wrong horse 1234")
    for world, refused in ((ours, 1), (theirs, 0)):
        async with unit_of_work(world.group_id) as work:
            newest = await entries(work, before_seq=None, limit=50)
        assert [e.action for e in newest].count("session:self:refuse") == refused


async def test_five_wrong_tries_lock_the_login_for_fifteen_minutes(
    offices: tuple[World, World],
) -> None:
    ours, theirs = offices
    login = f"ling@{ours.code}"
    for number in range(MAX_FAILED_LOGINS):
        assert (await attempt(login, "wrong horse 1234", seconds=number)).startswith("UNAUTH")
    window = THROTTLE.total_seconds()
    for seconds in (5, window - 1):
        assert (await attempt(login, PASSWORD, seconds=seconds)).startswith("RATE_LIMITED")
    with pytest.raises(RateLimited) as refused:
        await sign_in(
            login=login, password=PASSWORD, address=ADDRESS, at=START + timedelta(seconds=5)
        )
    assert refused.value.retry_after_s == window - 5 + 1
    assert await attempt(f"ling@{theirs.code}", PASSWORD, seconds=5) == "ok"
    assert await attempt(login, PASSWORD, seconds=window) == "ok"


async def test_the_throttle_does_not_tell_which_logins_exist(
    offices: tuple[World, World],
) -> None:
    ours, _ = offices
    answers = [
        [
            (await attempt(f"{name}@{ours.code}", "wrong horse 1234", seconds=n)).split(":")[0]
            for n in range(MAX_FAILED_LOGINS + 1)
        ]
        for name in ("ling", "nobody-has-this")
    ]
    assert answers[0] == answers[1]
    assert answers[0][-1] == "RATE_LIMITED"


async def test_the_throttle_survives_a_restart_of_the_process(
    offices: tuple[World, World], services: EmbeddedServices
) -> None:
    ours, _theirs = offices
    for _ in range(MAX_FAILED_LOGINS):
        await attempt(f"ling@{ours.code}", "wrong horse 1234")
    await Database.close()
    await Database.open(services.app_dsn())
    assert (await attempt(f"ling@{ours.code}", PASSWORD)).startswith("RATE_LIMITED")


async def test_thirty_guesses_at_once_are_thirty_tries(offices: tuple[World, World]) -> None:
    """Else an attacker guesses as many passwords as fit between reading and writing the count."""
    ours, _theirs = offices
    login = f"ling@{ours.code}"
    answers = await asyncio.gather(*(attempt(login, "wrong horse 1234") for _ in range(30)))
    assert sum(answer.startswith("UNAUTH") for answer in answers) == MAX_FAILED_LOGINS
    assert sum(answer.startswith("RATE_LIMITED") for answer in answers) == 25
    assert (await attempt(login, PASSWORD)).startswith("RATE_LIMITED")


async def test_a_right_password_forgets_the_wrong_tries_before_it(
    offices: tuple[World, World],
) -> None:
    ours, _theirs = offices
    login = f"ling@{ours.code}"
    for _ in range(3):
        for _ in range(MAX_FAILED_LOGINS - 1):
            await attempt(login, "wrong horse 1234")
        assert await attempt(login, PASSWORD) == "ok"


async def test_a_disabled_operator_neither_signs_in_nor_goes_on(
    offices: tuple[World, World], owner: Connection
) -> None:
    ours, _theirs = offices
    signed = await sign_in(login=f"ling@{ours.code}", password=PASSWORD, address="", at=START)
    await _disable(owner, ours)
    assert await scope_of_token(session=signed.token, address="", at=START) is None
    with pytest.raises(Unauthenticated):
        await sign_in(login=f"ling@{ours.code}", password=PASSWORD, address="", at=START)


async def test_a_session_ends_by_idleness_by_age_and_by_signing_out(
    offices: tuple[World, World],
) -> None:
    ours, _theirs = offices

    async def live(token: str, after: timedelta) -> bool:
        return await scope_of_token(session=token, address="", at=START + after) is not None

    idle, old, out = [
        await sign_in(login=f"ling@{ours.code}", password=PASSWORD, address="", at=START)
        for _ in range(3)
    ]
    assert await live(idle.token, SESSION_IDLE - timedelta(seconds=1))
    assert not await live(idle.token, 2 * SESSION_IDLE)
    step = SESSION_IDLE - timedelta(minutes=1)
    after = step
    while after < SESSION_LIFE:
        assert await live(old.token, after)
        after += step
    assert not await live(old.token, after)
    await sign_out(scope=out.scope, session=out.token, at=START)
    assert not await live(out.token, timedelta(0))
    for nonsense in ("", ".", "x", f"{ours.code}.", f"{ours.code}.guess", "nosuchgroup.token"):
        assert not await live(nonsense, timedelta(0))


async def test_the_database_keeps_no_token_and_no_password(
    offices: tuple[World, World], owner: Connection
) -> None:
    ours, _theirs = offices
    signed = await sign_in(login=f"ling@{ours.code}", password=PASSWORD, address="", at=START)
    sessions = await owner.fetch("SELECT * FROM tenancy_session WHERE group_id = $1", ours.group_id)
    assert [row["token_digest"] for row in sessions] == [digest(signed.token)]
    stored = await owner.fetchval(
        "SELECT password_hash FROM tenancy_operator WHERE group_id = $1", ours.group_id
    )
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def _disable(owner: Connection, world: World) -> None:
    await owner.execute("SELECT set_config('app.group_id', $1, false)", str(world.group_id))
    await owner.execute("UPDATE tenancy_operator SET disabled_at = $1", START)
