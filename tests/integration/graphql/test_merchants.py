"""A project's merchant account goes in sealed and never comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backend.audit.queries import entries
from backend.kernel.db import unit_of_work
from backend.sandbox.embedded.services import EmbeddedServices
from backend.sandbox.pay_keys import new_private_pem

from ..world import World, make_project
from .edge import operator_token
from .things import WRONG_TYPE, make_things, malformed, nothing
from .till import SET, Till, open_till


@pytest.fixture
async def till(worlds: tuple[World, World], database: EmbeddedServices) -> AsyncIterator[Till]:
    """The stand-in and the edge before it."""
    async with open_till(worlds[0], dsn=database.app_dsn()) as opened:
        yield opened


async def stored(world: World) -> int:
    """How many merchant accounts the group has."""
    async with unit_of_work(world.group_id) as work:
        count: int = await work.fetchval(
            "SELECT count(*) FROM tenancy_credential WHERE group_id = $1 AND key = '1900000001'",
            work.group_id,
        )
    return count


async def test_a_merchant_account_is_kept_sealed_and_audited_without_its_secrets(
    till: Till, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    answer = await till.set_up(things, await operator_token(worlds[0]))
    assert answer == {
        "__typename": "WechatPaySet",
        "project": things.Project,
        "mchid": "1900000001",
        "appid": "wx0000000000000001",
    }
    async with unit_of_work(worlds[0].group_id) as work:
        (newest, *_) = await entries(work, before_seq=None, limit=1)
        row = await work.fetchrow(
            "SELECT public, sealed FROM tenancy_credential WHERE group_id = $1 AND key = $2",
            work.group_id,
            "1900000001",
        )
    assert newest.action == "credential:self:set"
    assert row is not None
    kept = str(dict(row["public"])).encode() + bytes(row["sealed"]) + str(newest).encode()
    for secret in (till.merchant["apiv3Key"], till.merchant["privateKey"]):
        assert secret.encode() not in kept


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"apiv3Key": "short"}, "apiv3_key"),
        ({"privateKey": "not a key"}, "private_key_pem"),
        ({"publicKey": "not a key"}, "public_key_pem"),
        ({"mchid": ""}, "mchid"),
        ({"certSerialNo": "lower-case"}, "cert_serial_no"),
    ],
)
async def test_a_part_that_does_not_fit_is_named_and_nothing_is_kept(
    changed: dict[str, str], field: str, till: Till, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    answer = await till.set_up(things, await operator_token(worlds[0]), **changed)
    assert (answer["__typename"], answer["field"]) == ("InvalidInputProblem", field)
    assert await stored(worlds[0]) == 0


async def test_the_project_of_a_merchant_account_is_a_door_like_every_other(
    till: Till, worlds: tuple[World, World]
) -> None:
    world, other = worlds
    mine, foreign = await make_things(world), await make_things(other)
    ungranted = await make_things(await make_project(world), prefix="2")
    token = await operator_token(world, project_id=world.project.id)
    asked = [foreign, ungranted, nothing(), malformed(mine, "%%"), malformed(mine, WRONG_TYPE)]
    answers = [await till.set_up(things, token) for things in asked]
    assert {answer["code"] for answer in answers} == {"NOT_FOUND"}
    assert len({str(answer) for answer in answers}) == 1
    logged_out = await till.api.data(SET, {"project": mine.Project} | till.merchant)
    assert logged_out["answer"]["code"] == "UNAUTHENTICATED"
    assert await stored(world) + await stored(other) == 0
    assert (await till.set_up(mine, token))["__typename"] == "WechatPaySet"


async def test_a_manager_may_not_touch_credentials(till: Till, worlds: tuple[World, World]) -> None:
    things = await make_things(worlds[0])
    token = await operator_token(worlds[0], role="manager")
    answer = await till.set_up(things, token, privateKey=new_private_pem())
    assert answer["code"] == "FORBIDDEN"
    assert await stored(worlds[0]) == 0
