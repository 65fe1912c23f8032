"""Signing in and out at the edge, and what a session may do afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from backend.audit.queries import entries
from backend.journeys.sign_in import hash_password
from backend.kernel.db import unit_of_work
from backend.tenancy import operations as tenancy

from ..world import World
from .edge import Api, operator_token

LOGIN = """mutation($login: String!, $password: String!) {
  answer: login(login: $login, password: $password) {
    __typename ... on SignedIn { token } ... on RateLimitedProblem { retryAfterS }
    ... on Problem { code message } } }"""
ME = """{ me { operator { login name } group { code name } groupPermissions
  projects { project { code } permissions } } }"""
PASSWORD = "correct horse 7"


async def an_operator(world: World, *, login: str = "wang") -> None:
    """An operator with a password and the role of an auditor in the project."""
    async with unit_of_work(world.group_id) as work:
        at = world.clock.now()
        operator = await tenancy.add_operator(
            work,
            scope=world.scope,
            login=login,
            name="王",
            password_hash=hash_password(PASSWORD),
            at=at,
        )
        await tenancy.grant(
            work,
            scope=world.scope,
            operator_id=operator.id,
            role="auditor",
            project_id=world.project.id,
            at=at,
        )


async def sign_in(api: Api, login: str, password: str = PASSWORD) -> dict[str, Any]:
    """The answer of the login mutation."""
    answer: dict[str, Any] = (await api.data(LOGIN, {"login": login, "password": password}))[
        "answer"
    ]
    return answer


async def test_an_operator_signs_in_sees_who_they_are_and_signs_out(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await an_operator(world)
    token = (await sign_in(api, f"wang@{world.code}"))["token"]
    me = (await api.data(ME, token=token))["me"]
    assert me["operator"] == {"login": "wang", "name": "王"}
    assert me["group"] == {"code": world.code, "name": f"Group {world.code}"}
    assert me["groupPermissions"] == []
    (project,) = me["projects"]
    assert project["project"] == {"code": "main"}
    assert set(project["permissions"]) == {
        "PROJECT_READ",
        "ACCOUNT_READ",
        "METER_READ",
        "TOPUP_READ",
        "CASE_READ",
        "AUDIT_READ",
        "TARIFF_READ",
        "RECONCILE_READ",
        "ALARM_READ",
        "MESSAGE_READ",
    }
    out = "mutation { answer: logout { __typename ... on SignedOut { ok } } }"
    assert (await api.data(out, token=token))["answer"] == {"__typename": "SignedOut", "ok": True}
    body = await api.ask(ME, token=token)
    assert body["data"] is None
    assert body["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    again = await api.data("mutation { answer: logout { __typename } }", token=token)
    assert again["answer"]["__typename"] == "UnauthenticatedProblem"


async def test_who_signed_in_from_where_is_in_the_audit(
    api: Api, worlds: tuple[World, World]
) -> None:
    await an_operator(worlds[0])
    await sign_in(api, f"wang@{worlds[0].code}")
    async with unit_of_work(worlds[0].group_id) as work:
        (newest,) = await entries(work, before_seq=None, limit=1)
    assert newest.action == "session:self:open"
    assert newest.actor.address == "203.0.113.9"


async def test_wrong_group_login_and_password_are_answered_alike(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await an_operator(world)
    answers = [
        await sign_in(api, f"wang@{world.code}", "wrong password 1"),
        await sign_in(api, f"nobody@{world.code}"),
        await sign_in(api, f"wang@{worlds[1].code}"),
        await sign_in(api, "wang@nosuchgroup"),
    ]
    assert {answer["__typename"] for answer in answers} == {"UnauthenticatedProblem"}
    assert len({str(answer) for answer in answers}) == 1


async def test_the_sixth_guess_has_to_wait_and_is_told_how_long(
    api: Api, worlds: tuple[World, World]
) -> None:
    await an_operator(worlds[0])
    for _ in range(5):
        await sign_in(api, f"wang@{worlds[0].code}", "wrong password 1")
    answer = await sign_in(api, f"wang@{worlds[0].code}")
    assert answer["__typename"] == "RateLimitedProblem"
    assert 0 < answer["retryAfterS"] <= 901


async def test_an_idle_session_ends_after_half_an_hour_and_use_keeps_it(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, token = worlds[0], await operator_token(worlds[0])
    for _ in range(3):
        world.clock.advance(timedelta(minutes=29))
        assert (await api.data(ME, token=token))["me"]["group"]["code"] == world.code
    world.clock.advance(timedelta(minutes=31))
    assert (await api.ask(ME, token=token))["errors"]


async def test_a_stale_token_does_not_keep_one_from_signing_in(
    api: Api, worlds: tuple[World, World]
) -> None:
    await an_operator(worlds[0])
    variables = {"login": f"wang@{worlds[0].code}", "password": PASSWORD}
    data = await api.data(LOGIN, variables, token=f"{worlds[0].code}.stale")
    assert data["answer"]["__typename"] == "SignedIn"


async def test_a_session_of_one_group_is_nothing_in_another(
    api: Api, worlds: tuple[World, World]
) -> None:
    token = await operator_token(worlds[0])
    moved = f"{worlds[1].code}.{token.partition('.')[2]}"
    assert (await api.ask(ME, token=moved))["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
