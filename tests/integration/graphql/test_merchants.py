"""A project's merchant account goes in sealed and never comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backend.audit.queries import entries
from backend.kernel.db import unit_of_work
from backend.sandbox.embedded.services import EmbeddedServices
from backend.sandbox.pay_keys import new_private_pem, public_pem_of
from backend.tenancy.queries import merchant_kinds
from schema.scalars import ref

from ..world import World, make_project
from .edge import Body, operator_token
from .things import WRONG_TYPE, make_things, nothing
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
    project = ref("Project", worlds[0].project.id)
    answer = await till.set_up(project, await operator_token(worlds[0]))
    assert answer == {
        "__typename": "WechatPaySet",
        "project": project,
        "mchid": "1900000001",
        "appid": "wx0000000000000001",
        "subMchid": "",
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
        ({"publicKeyId": ""}, "public_key_id"),
        ({"publicKey": "", "platformCertificates": True}, "public_key_pem"),
        ({"publicKeyId": "", "publicKey": ""}, "public_key_id"),
        ({"subAppid": "wx0000000000000109"}, "sub_mchid"),
        ({"subMchid": "1900000001"}, "sub_mchid"),
        ({"subMchid": "no number"}, "sub_mchid"),
    ],
)
async def test_a_part_that_does_not_fit_is_named_and_nothing_is_kept(
    changed: dict[str, str | bool], field: str, till: Till, worlds: tuple[World, World]
) -> None:
    project = ref("Project", worlds[0].project.id)
    answer = await till.set_up(project, await operator_token(worlds[0]), **changed)
    assert (answer["__typename"], answer["field"]) == ("InvalidInputProblem", field)
    assert await stored(worlds[0]) == 0


async def test_a_sub_merchants_account_is_kept_under_its_own_number_with_the_providers_keys(
    till: Till, worlds: tuple[World, World]
) -> None:
    project, token = ref("Project", worlds[0].project.id), await operator_token(worlds[0])
    changes = {"subMchid": "1900000109", "subAppid": "wx0000000000000109"}
    certificates: dict[str, str | bool] = {
        "publicKeyId": "",
        "publicKey": "",
        "platformCertificates": True,
    }
    answer = await till.set_up(project, token, **changes, **certificates)
    assert (answer["mchid"], answer["subMchid"]) == ("1900000001", "1900000109")
    async with unit_of_work(worlds[0].group_id) as work:
        (newest, *_) = await entries(work, before_seq=None, limit=1)
        row = await work.fetchrow(
            "SELECT public FROM tenancy_credential WHERE group_id = $1 AND key = '1900000109'",
            work.group_id,
        )
    assert (newest.action, newest.subject) == ("credential:self:set", "WECHAT_PAY/1900000109")
    assert row is not None
    assert dict(row["public"]) == {
        "app_id": "wx0000000000000109",
        "sp_mchid": "1900000001",
        "sp_app_id": "wx0000000000000001",
        "cert_serial_no": "5157F09E",
        "platform_certificates": "yes",
    }
    assert await stored(worlds[0]) == 0


async def test_the_project_of_a_merchant_account_is_a_door_like_every_other(
    till: Till, worlds: tuple[World, World]
) -> None:
    world, other = worlds
    ungranted = await make_project(world)
    mine, *others = (ref("Project", one.project.id) for one in (world, other, ungranted))
    token = await operator_token(world, project_id=world.project.id)
    asked = [*others, nothing().Project, "%%", WRONG_TYPE]
    answers = [await till.set_up(project, token) for project in asked]
    assert {answer["code"] for answer in answers} == {"NOT_FOUND"}
    assert len({str(answer) for answer in answers}) == 1
    logged_out = await till.api.data(SET, {**till.merchant, "project": mine})
    assert logged_out["answer"]["code"] == "UNAUTHENTICATED"
    assert await stored(world) + await stored(other) == 0
    assert (await till.set_up(mine, token))["__typename"] == "WechatPaySet"


async def test_a_manager_may_not_touch_credentials(till: Till, worlds: tuple[World, World]) -> None:
    project = ref("Project", worlds[0].project.id)
    token = await operator_token(worlds[0], role="manager")
    answer = await till.set_up(project, token, privateKey=new_private_pem())
    assert answer["code"] == "FORBIDDEN"
    assert await stored(worlds[0]) == 0


SET_ALIPAY = """mutation($project: ID!, $privateKey: String!, $alipayPublicKey: String!,
  $sellerId: String = "2088000000000101", $appId: String = "2021000000000101") {
  answer: setAlipay(project: $project, sellerId: $sellerId, appId: $appId,
    privateKey: $privateKey, alipayPublicKey: $alipayPublicKey) {
    __typename ... on AlipaySet { project sellerId appId }
    ... on InvalidInputProblem { field } ... on Problem { code message } } }"""


async def set_alipay(till: Till, token: str | None, project: str, **changes: str) -> Body:
    """The mutation's answer; the keys are made for this call."""
    private, platform = new_private_pem(), public_pem_of(new_private_pem())
    given = {"project": project, "privateKey": private, "alipayPublicKey": platform} | changes
    answer: Body = (await till.api.data(SET_ALIPAY, given, token=token))["answer"]
    return answer


async def alipay_accounts(world: World) -> int:
    """How many Alipay accounts the group has."""
    async with unit_of_work(world.group_id) as work:
        count: int = await work.fetchval(
            "SELECT count(*) FROM tenancy_credential WHERE group_id = $1 AND kind = 'ALIPAY'",
            work.group_id,
        )
    return count


async def test_an_alipay_account_stands_beside_wechats_sealed_audited_and_named_by_its_faults(
    till: Till, worlds: tuple[World, World]
) -> None:
    world, things = worlds[0], await make_things(worlds[0])
    token = await operator_token(world)
    for changed, field in (
        ({"sellerId": "1900000001"}, "seller_id"),
        ({"appId": "wx1"}, "app_id"),
        ({"privateKey": "no key"}, "private_key"),
        ({"alipayPublicKey": "no key"}, "alipay_public_key"),
    ):
        answer = await set_alipay(till, token, things.Project, **changed)
        assert (answer["__typename"], answer["field"]) == ("InvalidInputProblem", field)
    assert await alipay_accounts(world) == 0
    secret = new_private_pem()
    answer = await set_alipay(till, token, things.Project, privateKey=secret)
    assert answer == {
        "__typename": "AlipaySet",
        "project": things.Project,
        "sellerId": "2088000000000101",
        "appId": "2021000000000101",
    }
    async with unit_of_work(world.group_id) as work:
        (newest, *_) = await entries(work, before_seq=None, limit=1)
        kinds = await merchant_kinds(work, project_id=world.project.id)
    assert (newest.action, newest.subject) == ("credential:self:set", "ALIPAY/2088000000000101")
    assert secret not in str(newest)
    assert kinds == ["ALIPAY", "WECHAT_PAY"]


async def test_the_project_of_an_alipay_account_is_a_door_and_needs_the_permission(
    till: Till, worlds: tuple[World, World]
) -> None:
    mine, foreign = (ref("Project", world.project.id) for world in worlds)
    token = await operator_token(worlds[0], project_id=worlds[0].project.id)
    for wrong in (foreign, nothing().Project, WRONG_TYPE, "%%"):
        assert (await set_alipay(till, token, wrong))["code"] == "NOT_FOUND"
    assert (await set_alipay(till, None, mine))["code"] == "UNAUTHENTICATED"
    manager = await operator_token(worlds[0], role="manager")
    assert (await set_alipay(till, manager, mine))["code"] == "FORBIDDEN"
    assert await alipay_accounts(worlds[0]) + await alipay_accounts(worlds[1]) == 0
