"""Hostile requests cost little and learn nothing (O16; trust.md findings 6 and 7)."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from backend.sandbox.embedded.services import EmbeddedServices
from schema import objects
from schema.guard import MAX_BODY_BYTES

from ..world import World
from .edge import Api, make_api, operator_token
from .things import make_things

JSON = {"content-type": "application/json"}
INTROSPECTION = "{ __schema { types { name } } }"


def _spreading(levels: int) -> str:
    fragments = [f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels)]
    return "{ ...f0 } " + " ".join(fragments) + f" fragment f{levels} on Query {{ __typename }}"


async def test_json_a_hundred_thousand_levels_deep_is_refused_with_400(api: Api) -> None:
    for body in (b"[" * 100_000, b'{"query":"{__typename}","variables":' + b'{"a":' * 50_000):
        answer = await api.send("POST", body, headers=JSON)
        assert answer.status_code == 400


async def test_a_body_of_30_megabytes_is_refused_with_413_before_it_is_read(api: Api) -> None:
    told = await api.send("POST", b"{}", headers=JSON | {"content-length": str(30_000_000)})
    assert told.status_code == 413
    sent = await api.send("POST", b" " * 30_000_000, headers=JSON)
    assert sent.status_code == 413


async def test_a_body_without_a_told_length_is_read_to_the_limit_only(api: Api) -> None:
    handed = 0

    async def receive() -> dict[str, Any]:
        nonlocal handed
        handed += 65_536
        return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await api.app(scope, receive, send)
    assert said[0]["status"] == 413
    assert handed <= MAX_BODY_BYTES + 2 * 65_536


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ("{" + " ".join(f"a{n}: __typename" for n in range(16)) + "}", "aliases"),
        ("{" + " ".join(f"a{n}: __typename" for n in range(3000)) + "}", "characters"),
        ("{" + "projects{" * 80 + "id" + "}" * 80 + "}", "nests deeper"),
        ("{projects{accounts{edges{node{" + "a{" * 8 + "b" + "}" * 8 + "}}}}}", "levels"),
        ("{ __typename " + "@include(if: true) " * 11 + "}", "directives"),
        ("{" + "__typename " * 1001 + "}", "token"),
        (_spreading(40), "fields"),
        ("{ ...missing }", "missing"),
        ("{ ...a } fragment a on Query { ...a }", "itself"),
    ],
    ids=[
        "aliases",
        "length",
        "nesting",
        "depth",
        "directives",
        "tokens",
        "spreads",
        "missing fragment",
        "cycle",
    ],
)
async def test_a_document_too_large_in_any_way_is_refused(
    document: str, word: str, api: Api, worlds: tuple[World, World]
) -> None:
    body = await api.ask(document, token=await operator_token(worlds[0]))
    assert "data" not in body
    assert word in body["errors"][0]["message"]


async def test_a_document_at_the_limits_is_answered(api: Api, worlds: tuple[World, World]) -> None:
    await make_things(worlds[0])
    aliases = " ".join(f"a{n}: __typename" for n in range(15))
    document = (
        f"{{ {aliases} projects {{ accounts {{ edges {{ node {{ topUps {{ edges {{ node {{ id"
        " } } } } } } } }"
    )
    body = await api.ask(document, token=await operator_token(worlds[0]))
    assert "errors" not in body


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_only_post_is_answered(method: str, api: Api) -> None:
    answer = await api.send(
        method, headers={"accept": "text/html"}, path="/graphql?query=%7B__typename%7D"
    )
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "body", [b"", b"5", b"[]", b'[{"query":"{__typename}"}]', b'"x"', b"null", b"{", b"\xff\xfe"]
)
async def test_what_is_not_one_json_object_is_a_400(body: bytes, api: Api) -> None:
    assert (await api.send("POST", body, headers=JSON)).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"query": 5},
        {"query": "{__typename}", "variables": [1]},
        {"query": "{__typename}", "operationName": {}},
        {"query": "{__typename}", "extensions": 1},
        {},
    ],
)
async def test_a_request_of_a_wrong_shape_is_a_400(body: dict[str, Any], api: Api) -> None:
    answer = await api.send("POST", json.dumps(body).encode(), headers=JSON)
    assert answer.status_code == 400


async def test_a_form_is_not_taken_so_no_other_site_can_post_for_a_visitor(api: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await api.send("POST", b'{"query":"{__typename}"}', headers={"content-type": kind})
        assert answer.status_code == 400


async def test_nul_in_a_text_is_refused_and_not_a_fault(
    api: Api, worlds: tuple[World, World]
) -> None:
    document = "query($no: String!) { account(no: $no) { id } }"
    token = await operator_token(worlds[0])
    answer = await api.post(document, {"no": "\x00"}, token=token)
    assert answer.status_code == 400
    inside = await api.post('{ account(no: "\\u0000") { id } }', token=token)
    assert inside.status_code == 400


async def test_introspection_in_production_is_for_operators_only(
    api: Api, worlds: tuple[World, World]
) -> None:
    refused = await api.ask(INTROSPECTION)
    assert "data" not in refused
    assert "introspection" in refused["errors"][0]["message"].lower()
    allowed = await api.ask(INTROSPECTION, token=await operator_token(worlds[0]))
    assert allowed["data"]["__schema"]["types"]
    again = await api.ask(INTROSPECTION)
    assert again == refused, "a cached answer must not open the door"


async def test_the_development_page_is_there_outside_production_only(
    api: Api, worlds: tuple[World, World], database: EmbeddedServices
) -> None:
    page = {"accept": "text/html"}
    assert (await api.send("GET", headers=page)).status_code == 405
    open_api = make_api(worlds[0].ports, dsn=database.app_dsn(), production=False)
    shown = await open_api.send("GET", headers=page)
    assert shown.status_code == 200
    assert "graphiql" in shown.text.lower()
    assert (await open_api.ask(INTROSPECTION))["data"]["__schema"]


@pytest.mark.parametrize(
    "document",
    [
        "{ projets { id } }",
        "{ projects { ids } }",
        "{ project(idd: 1) { id } }",
        "query($a: Mony) { __typename }",
        'mutation { resolveCase(id: "a", action: NOTES, note: "abcd") { __typename } }',
        "{ node(id: 1) { ... on Acount { id } } }",
    ],
)
async def test_a_misspelt_name_gets_no_suggestion(document: str, api: Api) -> None:
    body = await api.ask(document)
    assert body["errors"]
    assert "Did you mean" not in str(body)


async def test_a_fault_shows_nothing_of_itself_and_the_log_nothing_of_the_document(
    api: Api,
    worlds: tuple[World, World],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: object) -> Any:
        raise ZeroDivisionError("column secret_thing of relation tenancy_group")

    monkeypatch.setitem(objects.DOORS, "Case", broken)
    things = await make_things(worlds[0])
    with caplog.at_level(logging.INFO):
        answer = await api.post(
            "query MyVerySpecialName($id: ID!) { node(id: $id) { id } }",
            {"id": things.Case},
            token=await operator_token(worlds[0]),
            headers={"x-request-id": "req-12345678"},
        )
    body = answer.json()
    assert body["data"] is None
    (error,) = body["errors"]
    assert error["message"] == "Unexpected error."
    assert error["extensions"] == {"code": "INTERNAL", "requestId": "req-12345678"}
    assert answer.headers["x-request-id"] == "req-12345678"
    assert "secret_thing" not in answer.text
    assert "ZeroDivisionError" in caplog.text, "the fault itself must be in the log"
    assert "MyVerySpecialName" not in caplog.text


async def test_a_hostile_document_is_not_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await api.ask("{ marker_of_a_hostile_document { x } }")
        await api.ask("{ marker_of_a_hostile_document ")
        await api.ask("{ me { operator { id } } }")
    assert "marker_of_a_hostile_document" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_client_of_graphql_over_http_gets_its_media_type_and_400_for_a_bad_document(
    api: Api, worlds: tuple[World, World]
) -> None:
    accept = {"accept": "application/graphql-response+json"}
    good = await api.post("{ __typename }", headers=accept)
    assert good.status_code == 200
    assert good.headers["content-type"].startswith("application/graphql-response+json")
    for document in ("{ nothing }", "{ __typename"):
        bad = await api.post(document, headers=accept)
        assert bad.status_code == 400
        assert "data" not in bad.json(), "the request itself was refused: there is no data"
    plain = await api.post("{ nothing }")
    assert plain.status_code == 200
    refused = await api.post("{ me { operator { id } } }", headers=accept)
    assert refused.status_code == 200
