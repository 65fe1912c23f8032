"""An operator makes, rotates and revokes a gateway's keys; the code is shown once and never again."""

from __future__ import annotations

import json

import pytest

from backend.audit.queries import AuditEntry, entries
from backend.kernel.db import unit_of_work
from backend.sandbox.embedded.services import EmbeddedServices
from backend.uplink.enrol import CLAIM_LIFE, GatewayEnrolment
from backend.uplink.errors import KeyRevoked

from ..sealed import desk_at, make_sealed
from ..world import START, World
from .edge import Api, Body, operator_token
from .test_page_cost import statements
from .things import Things, make_things

ANSWER = "__typename ... on Problem { code message }"
UPLINK = "uplink { state keyVersion enrolledAt claimExpiresAt rotationWanted revokedAt }"
MAKE = f"""mutation($id: ID!) {{ answer: makeGatewayClaim(gateway: $id) {{
  {ANSWER} ... on GatewayClaim {{ gateway code expiresAt }} }} }}"""
ROTATE = f"""mutation($id: ID!) {{ answer: rotateGatewayKeys(gateway: $id) {{
  {ANSWER} ... on GatewayKeys {{ gateway {UPLINK} }} }} }}"""
REVOKE = f"""mutation($id: ID!, $why: String!) {{ answer: revokeGatewayKeys(gateway: $id, reason: $why) {{
  {ANSWER} ... on InvalidInputProblem {{ field }} ... on GatewayKeys {{ gateway {UPLINK} }} }} }}"""
SHOW = f"query($id: ID!) {{ node(id: $id) {{ ... on Gateway {{ serial link {UPLINK} }} }} }}"
ALL = f"{{ projects {{ gateways {{ serial {UPLINK} }} }} }}"
NOW = START.isoformat()
NEW = {
    "state": "NEW",
    "keyVersion": None,
    "enrolledAt": None,
    "claimExpiresAt": None,
    "rotationWanted": False,
    "revokedAt": None,
}
ACTIVE = NEW | {"state": "ACTIVE", "keyVersion": 1, "enrolledAt": NOW}


async def do(api: Api, document: str, token: str, **variables: object) -> Body:
    """One mutation's answer."""
    answer: Body = (await api.data(document, variables, token=token))["answer"]
    return answer


async def uplink(api: Api, things: Things, token: str) -> Body:
    """The uplink of the gateway that has no keys in `things`."""
    data = await api.data(SHOW, {"id": things.SealedGateway}, token=token)
    found: Body = data["node"]["uplink"]
    return found


async def newest(world: World) -> AuditEntry:
    """The newest audit entry of the group."""
    async with unit_of_work(world.group_id) as work:
        (entry,) = await entries(work, before_seq=None, limit=1)
    return entry


async def test_a_claim_is_shown_once_and_enrols_the_gateway_that_it_was_made_for(
    api: Api, worlds: tuple[World, World], database: EmbeddedServices
) -> None:
    world, other = worlds
    things, theirs = await make_things(world), await make_things(other)
    token = await operator_token(world)
    assert await uplink(api, things, token) == NEW
    made = await do(api, MAKE, token, id=things.SealedGateway)
    expires = (START + CLAIM_LIFE).isoformat()
    assert (made["gateway"], made["expiresAt"]) == (things.SealedGateway, expires)
    entry = await newest(world)
    assert (entry.action, entry.actor.kind) == ("gateway:claim:make", "operator")
    assert made["code"] not in str(entry)
    shown = await uplink(api, things, token)
    assert shown == NEW | {"state": "CLAIMED", "claimExpiresAt": expires}
    assert made["code"] not in json.dumps(await api.data(ALL, token=token))

    box = GatewayEnrolment(code=made["code"], serial="SEALED-1")
    key, root = box.finish(await desk_at(database.app_dsn()).enrol(box.request, at=START))
    assert await desk_at("").root(key) == root
    assert await uplink(api, things, token) == ACTIVE
    assert await uplink(api, theirs, await operator_token(other)) == NEW


async def test_a_rotation_is_asked_for_and_a_revocation_is_final_until_it_enrols_anew(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, other = worlds
    things, theirs = await make_things(world), await make_things(other)
    token = await operator_token(world)
    used = await do(api, MAKE, token, id=things.KeyedGateway)
    assert (used["__typename"], used["code"]) == ("ConflictProblem", "CONFLICT")
    wanted = await do(api, ROTATE, token, id=things.KeyedGateway)
    assert wanted["uplink"] == ACTIVE | {"rotationWanted": True}
    assert (await newest(world)).action == "gateway:keys:rotate"
    silent = await do(api, REVOKE, token, id=things.KeyedGateway, why=" - ")
    assert (silent["__typename"], silent["field"]) == ("InvalidInputProblem", "reason")
    dead = await do(api, REVOKE, token, id=things.KeyedGateway, why="box was stolen")
    revoked = ACTIVE | {"state": "REVOKED", "keyVersion": None, "revokedAt": NOW}
    assert dead == {
        "__typename": "GatewayKeys",
        "gateway": things.KeyedGateway,
        "uplink": revoked,
    }
    entry = await newest(world)
    assert entry.action == "gateway:keys:revoke"
    assert entry.after == {"reason": "box was stolen", "revokedThrough": 1}
    refused = await do(api, ROTATE, token, id=things.KeyedGateway)
    assert refused["code"] == "CONFLICT"
    again = await do(api, MAKE, token, id=things.KeyedGateway)
    assert again["__typename"] == "GatewayClaim"
    foreign = await api.data(SHOW, {"id": theirs.KeyedGateway}, token=await operator_token(other))
    assert foreign["node"]["uplink"] == ACTIVE


async def test_two_writes_in_one_document_each_tell_what_is_true_after_them(
    api: Api, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    body = await api.data(
        """mutation($id: ID!) {
        a: rotateGatewayKeys(gateway: $id) { ... on GatewayKeys { uplink { state } } }
        b: revokeGatewayKeys(gateway: $id, reason: "stolen") { ... on GatewayKeys {
          uplink { state rotationWanted } } } }""",
        {"id": things.KeyedGateway},
        token=await operator_token(worlds[0]),
    )
    assert body["a"]["uplink"] == {"state": "ACTIVE"}
    assert body["b"]["uplink"] == {"state": "REVOKED", "rotationWanted": False}


@pytest.mark.parametrize("role", ["manager", "auditor"])
async def test_who_may_not_touch_keys_sees_their_state_and_changes_nothing(
    role: str, api: Api, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    token = await operator_token(worlds[0], role=role)
    for document, id_ in (
        (MAKE, things.SealedGateway),
        (ROTATE, things.KeyedGateway),
        (REVOKE, things.KeyedGateway),
    ):
        given = {"id": id_} | ({"why": "stolen"} if document == REVOKE else {})
        assert (await do(api, document, token, **given))["code"] == "FORBIDDEN"
    data = await api.data(SHOW, {"id": things.KeyedGateway}, token=token)
    assert data["node"]["uplink"] == ACTIVE
    assert await uplink(api, things, token) == NEW


async def test_a_gateway_with_another_link_has_no_sealed_uplink_and_takes_no_claim(
    api: Api, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    token = await operator_token(worlds[0])
    data = await api.data(SHOW, {"id": things.Gateway}, token=token)
    assert data["node"] == {"serial": "GW-100001", "link": "TCP", "uplink": None}
    for document in (MAKE, ROTATE, REVOKE):
        given = {"id": things.Gateway} | ({"why": "stolen"} if document == REVOKE else {})
        assert (await do(api, document, token, **given))["code"] == "CONFLICT"


async def test_the_uplinks_of_any_number_of_gateways_are_one_statement(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    token = await operator_token(world)
    for _ in range(3):  # until the connections of the pool that will serve it are open
        await api.data(ALL, token=token)
    costs = []
    for number in range(20):
        await make_sealed(world, serial=f"SEALED-N{number}")
        if number in (0, 19):
            with statements() as logged:
                data = await api.data(ALL, token=token)
            assert len(data["projects"][0]["gateways"]) == number + 2
            costs.append([text for text in logged if "enrolment_" in text])
    assert [len(cost) for cost in costs] == [1, 1]


async def test_a_refused_key_is_a_case_that_an_operator_works_off(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, other = worlds
    things = await make_things(world)
    token = await operator_token(world)
    desk = desk_at("")
    (row,) = [row for row in await desk.rings() if row.group_id == world.group_id]
    await desk.refused(row, KeyRevoked("stolen"), at=START)
    document = """query($p: ID!) { cases(project: $p) { edges { node { id kind subject
      detail { key value } } } } }"""
    listed = await api.data(document, {"p": things.Project}, token=token)
    (case,) = [
        edge["node"]
        for edge in listed["cases"]["edges"]
        if edge["node"]["kind"] == "UPLINK_KEY_REVOKED"
    ]
    assert case["subject"] == str(row.gateway_id)
    assert case["detail"] == [{"key": "gateway", "value": "KEYED-1"}]
    done = await api.data(
        """mutation($id: ID!) { answer: resolveCase(id: $id, action: NOTE, note: "box is back") {
        ... on Case { resolvedBy } } }""",
        {"id": case["id"]},
        token=token,
    )
    assert done["answer"]["resolvedBy"]
    theirs = await make_things(other)
    foreign = await api.data(document, {"p": theirs.Project}, token=await operator_token(other))
    assert "UPLINK_KEY_REVOKED" not in str(foreign)
