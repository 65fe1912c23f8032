"""A gateway's registration is set through the edge: as text or hexadecimal, never shown back."""

from __future__ import annotations

import secrets

import pytest

from backend.kernel.db import unit_of_work
from backend.metering.dial_in import dial_in_by_registration
from backend.metering.rules import GatewayLink
from schema.scalars import ref

from ..dialled import make_dialling
from ..world import BOX, World
from .doors import PROBLEM
from .edge import Api, operator_token

SET = f"""mutation($id: ID!, $r: String!, $w: BytesAs = TEXT, $p: Boolean = false, $h: String, $s: String) {{
  answer: setGatewayDialIn(
    gateway: $id, registration: $r, writtenAs: $w, prefix: $p, heartbeat: $h, secret: $s
  ) {{ ... on Gateway {{ serial link online }} ... on InvalidInputProblem {{ field }} {PROBLEM} }} }}"""


async def test_a_dtu_is_set_as_text_or_as_hexadecimal(
    api: Api, worlds: tuple[World, World], unique: str
) -> None:
    world = worlds[0]
    gateway, token = await make_dialling(world), await operator_token(world)
    for written_as, registration, heartbeat in (
        ("TEXT", unique, "ping"),
        ("HEX", unique.encode().hex(" "), "70696E67"),
    ):
        given: dict[str, object] = {"r": registration, "w": written_as, "p": True, "h": heartbeat}
        told = await api.data(SET, {"id": ref("Gateway", gateway.id), **given}, token=token)
        assert told["answer"]["serial"] == "DTU-1"
        assert told["answer"]["link"] == "DTU"
        found = await dial_in_by_registration(
            link=GatewayLink.DTU, candidates=[unique.encode()], whole=True, box=BOX
        )
        assert found is not None
        assert (found.dial_in.heartbeat, found.dial_in.prefix) == (b"ping", True)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"r": "zz", "w": "HEX"}, "writtenAs"),
        ({"r": "12"}, "registration"),
        ({"r": "1234", "s": "x"}, "secret"),
        ({"r": "1" * 201}, "registration"),
    ],
)
async def test_what_does_not_fit_is_named(
    api: Api, worlds: tuple[World, World], given: dict[str, str], field: str
) -> None:
    gateway, token = await make_dialling(worlds[0]), await operator_token(worlds[0])
    told = await api.data(SET, {"id": ref("Gateway", gateway.id), **given}, token=token)
    assert (told["answer"]["code"], told["answer"]["field"]) == ("INVALID_INPUT", field)


async def test_a_registration_that_is_in_use_is_a_conflict_also_across_groups(
    api: Api, worlds: tuple[World, World], unique: str
) -> None:
    answers = []
    for world in worlds:
        gateway, token = await make_dialling(world), await operator_token(world)
        told = await api.data(SET, {"id": ref("Gateway", gateway.id), "r": unique}, token=token)
        answers.append(told["answer"]["__typename"])
    assert answers == ["Gateway", "ConflictProblem"]


async def test_an_acrel_gateways_secret_goes_in_sealed_and_no_field_shows_it(
    api: Api, worlds: tuple[World, World], unique: str
) -> None:
    world, secret = worlds[0], secrets.token_hex(8)
    gateway = await make_dialling(world, link=GatewayLink.ACREL_GATEWAY)
    token = await operator_token(world)
    given = {"id": ref("Gateway", gateway.id), "r": unique, "s": secret}
    told = await api.data(SET, given, token=token)
    assert secret not in str(told)
    async with unit_of_work(world.group_id) as work:
        row = await work.fetchrow(
            "SELECT * FROM metering_dial_in WHERE group_id = $1", work.group_id
        )
    assert row is not None
    assert secret.encode() not in bytes(row["secret"])
