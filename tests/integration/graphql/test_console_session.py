"""The console's session: its browser keeps it where no script can read it, and no other site can use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from backend.sandbox.embedded.services import EmbeddedServices

from ..world import World
from .edge import Api, Body, hear, knock, make_api, served, tell
from .test_session import PASSWORD, an_operator

SIGN_IN = """mutation($login: String!, $password: String!) {
  answer: login(login: $login, password: $password) { __typename ... on Problem { code } } }"""
SIGN_OUT = "mutation { answer: logout { __typename } }"
ME = "{ me { operator { login } } }"
OURS = {"x-shuidian-console": "1"}


@pytest.fixture
async def port(api: Api) -> AsyncIterator[int]:
    """The application on a socket."""
    async with served(api.app) as number:
        yield number


async def cookie_of(api: Api, world: World, password: str = PASSWORD, **headers: str) -> str:
    """What the browser is told to keep; all of it."""
    given = {"login": f"wang@{world.code}", "password": password}
    answer = await api.post(SIGN_IN, given, headers=headers)
    return str(answer.headers.get("set-cookie", ""))


async def whoever(api: Api, headers: Mapping[str, str]) -> str:
    """The login of who asks so, or why nobody does."""
    body: Body = (await api.post(ME, headers=headers)).json()
    if "errors" in body:
        return str(body["errors"][0]["extensions"]["code"])
    return str(body["data"]["me"]["operator"]["login"])


async def test_the_console_keeps_its_session_where_no_script_reads_it_until_it_signs_out(
    api: Api, worlds: tuple[World, World]
) -> None:
    await an_operator(worlds[0])
    told = await cookie_of(api, worlds[0], **OURS)
    kept, *rules = told.split("; ")
    assert {"HttpOnly", "Path=/graphql", "SameSite=strict", "Secure"} <= set(rules), told
    assert not [rule for rule in rules if rule.startswith(("Max-Age", "expires"))]
    assert await whoever(api, {**OURS, "cookie": kept}) == "wang"
    out = await api.post(SIGN_OUT, headers={**OURS, "cookie": kept})
    assert 'shuidian_console=""' in out.headers["set-cookie"]
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert await whoever(api, {**OURS, "cookie": kept}) == "UNAUTHENTICATED"


async def test_a_wrong_password_keeps_nothing_and_another_client_gets_no_cookie(
    api: Api, worlds: tuple[World, World]
) -> None:
    await an_operator(worlds[0])
    assert await cookie_of(api, worlds[0], "not the password 7", **OURS) == ""
    assert await cookie_of(api, worlds[0]) == ""


async def test_a_site_without_https_is_signed_in_to_as_well(
    worlds: tuple[World, World], database: EmbeddedServices
) -> None:
    await an_operator(worlds[0])
    ports = replace(worlds[0].ports, public_url="http://127.0.0.1:8000")
    told = await cookie_of(make_api(ports, dsn=database.app_dsn()), worlds[0], **OURS)
    assert "HttpOnly" in told
    assert "Secure" not in told


async def test_a_form_of_another_site_that_brings_the_cookie_is_nobody(
    api: Api, worlds: tuple[World, World]
) -> None:
    await an_operator(worlds[0])
    kept = (await cookie_of(api, worlds[0], **OURS)).split(";")[0]
    assert await whoever(api, {"cookie": kept}) == "UNAUTHENTICATED"


async def test_the_cookie_of_another_group_shows_that_groups_operator_and_a_made_up_one_nobody(
    api: Api, worlds: tuple[World, World]
) -> None:
    await an_operator(worlds[0])
    await an_operator(worlds[1])
    for world in worlds:
        kept = (await cookie_of(api, world, **OURS)).split(";")[0]
        body = (
            await api.post("{ me { group { code } } }", headers={**OURS, "cookie": kept})
        ).json()
        assert body["data"]["me"]["group"]["code"] == world.code
    made_up = {**OURS, "cookie": f"shuidian_console={worlds[0].code}.made-up"}
    assert await whoever(api, made_up) == "UNAUTHENTICATED"


async def test_a_socket_takes_the_cookie_from_our_own_page_only(
    api: Api, port: int, worlds: tuple[World, World]
) -> None:
    await an_operator(worlds[0])
    kept = (await cookie_of(api, worlds[0], **OURS)).split(";")[0]
    for cookie, welcome in ((kept, True), ("shuidian_console=made-up", False)):
        call = knock(port, origin=f"http://127.0.0.1:{port}")
        call.additional_headers = {"cookie": cookie}
        async with call as ws:
            await tell(ws, {"type": "connection_init", "payload": {"console": True}})
            if welcome:
                assert (await hear(ws))["type"] == "connection_ack"
                continue
            with pytest.raises(ConnectionClosed) as closed:
                await hear(ws)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4403
    call = knock(port, origin="https://evil.example")
    call.additional_headers = {"cookie": kept}
    with pytest.raises(InvalidStatus, match="403"):
        await call
