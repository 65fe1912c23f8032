"""A project's UnionPay and ChinaPay accounts go in sealed, are audited, and never come out."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from backend.audit.queries import entries
from backend.bootstrap import build_ports
from backend.kernel.clock import SystemClock
from backend.kernel.db import unit_of_work
from backend.kernel.settings import Settings
from backend.sandbox.embedded.services import EmbeddedServices
from backend.sandbox.pay_keys import new_private_pem, public_pem_of
from backend.sandbox.unionpay_keys import Issued, issue
from schema.scalars import ref
from workers.models import meter_models

from ..world import World, make_project
from .edge import Api, Body, make_api, operator_token
from .things import WRONG_TYPE, nothing

UNIONPAY = """mutation($project: ID!, $merId: String!, $pfx: String!, $password: String!,
  $rootCertificate: String!, $middleCertificate: String!) {
  answer: setUnionpay(project: $project, merId: $merId, pfx: $pfx, password: $password,
    rootCertificate: $rootCertificate, middleCertificate: $middleCertificate) {
    __typename ... on UnionpaySet { project merId }
    ... on InvalidInputProblem { field } ... on Problem { code message } } }"""
CHINAPAY = """mutation($project: ID!, $merId: String!, $privateKey: String!, $publicKey: String!) {
  answer: setChinapay(project: $project, merId: $merId, privateKey: $privateKey,
    publicKey: $publicKey) {
    __typename ... on ChinapaySet { project merId }
    ... on InvalidInputProblem { field } ... on Problem { code message } } }"""


@pytest.fixture(scope="module")
def issued() -> Issued:
    """A certificate with its key: the merchant's, and an authority of its own."""
    return issue(name="somebody", at=SystemClock().now(), authority=True)


@pytest.fixture(scope="module")
def merchants(issued: Issued) -> dict[str, dict[str, str]]:
    """What the console's form holds, by mutation."""
    pfx = serialize_key_and_certificates(
        b"merchant", issued.key, issued.certificate, None, BestAvailableEncryption(b"pfx-password")
    )
    return {
        UNIONPAY: {
            "merId": "777290058110048",
            "pfx": base64.b64encode(pfx).decode(),
            "password": "pfx-password",
            "rootCertificate": issued.pem,
            "middleCertificate": issued.pem,
        },
        CHINAPAY: {
            "merId": "000001609120969",
            "privateKey": issued.key_pem,
            "publicKey": public_pem_of(new_private_pem()),
        },
    }


@pytest.fixture
def api(worlds: tuple[World, World], database: EmbeddedServices) -> Api:
    """The edge with the product's own adapters."""
    settings = Settings(
        environment="test",
        database_url=database.app_dsn(),
        redis_url="redis://127.0.0.1:1",
        public_url="http://127.0.0.1:1",
        secret_keys={1: b"k" * 32},
    )
    return make_api(
        build_ports(settings, clock=worlds[0].clock, meter_models=meter_models()),
        dsn=database.app_dsn(),
    )


async def stored(world: World) -> int:
    """How many accounts at the banks the group has."""
    async with unit_of_work(world.group_id) as work:
        count: int = await work.fetchval(
            "SELECT count(*) FROM tenancy_credential"
            " WHERE group_id = $1 AND kind IN ('UNIONPAY', 'CHINAPAY')",
            work.group_id,
        )
    return count


@pytest.mark.parametrize(("mutation", "kind"), [(UNIONPAY, "UNIONPAY"), (CHINAPAY, "CHINAPAY")])
async def test_an_account_is_kept_sealed_and_audited_without_its_secrets(
    api: Api,
    worlds: tuple[World, World],
    merchants: dict[str, dict[str, str]],
    issued: Issued,
    mutation: str,
    kind: str,
) -> None:
    world, merchant = worlds[0], merchants[mutation]
    project = ref("Project", world.project.id)
    token = await operator_token(world)
    answer: Body = (await api.data(mutation, {**merchant, "project": project}, token=token))[
        "answer"
    ]
    assert (answer["project"], answer["merId"]) == (project, merchant["merId"]), answer
    async with unit_of_work(world.group_id) as work:
        (newest, *_) = await entries(work, before_seq=None, limit=1)
        row = await work.fetchrow(
            "SELECT public, sealed FROM tenancy_credential WHERE group_id = $1 AND kind = $2",
            work.group_id,
            kind,
        )
    assert newest.action == "credential:self:set"
    assert row is not None
    kept = str(dict(row["public"])).encode() + bytes(row["sealed"]) + str(newest).encode()
    for secret in (issued.key_pem.splitlines()[1], "pfx-password"):
        assert secret.encode() not in kept


@pytest.mark.parametrize(
    ("mutation", "changed", "field"),
    [
        (UNIONPAY, {"password": "wrong"}, "pfx"),
        (UNIONPAY, {"pfx": "no base64"}, "pfx"),
        (UNIONPAY, {"merId": "1"}, "mer_id"),
        (UNIONPAY, {"merId": " "}, "mchid"),
        (UNIONPAY, {"rootCertificate": "no certificate"}, "root_pem"),
        (UNIONPAY, {"middleCertificate": "no certificate"}, "middle_pem"),
        (UNIONPAY, {"pfx": "A" * 16_001}, "pfx"),
        (CHINAPAY, {"merId": "1"}, "mer_id"),
        (CHINAPAY, {"privateKey": "no key"}, "private_key_pem"),
        (CHINAPAY, {"publicKey": "no key"}, "public_key_pem"),
    ],
)
async def test_a_part_that_does_not_fit_is_named_and_nothing_is_kept(
    api: Api,
    worlds: tuple[World, World],
    merchants: dict[str, dict[str, str]],
    mutation: str,
    changed: dict[str, str],
    field: str,
) -> None:
    given = {"project": ref("Project", worlds[0].project.id)} | merchants[mutation] | changed
    answer = (await api.data(mutation, given, token=await operator_token(worlds[0])))["answer"]
    assert (answer["__typename"], answer["field"]) == ("InvalidInputProblem", field)
    assert await stored(worlds[0]) == 0


@pytest.mark.parametrize("mutation", [UNIONPAY, CHINAPAY])
async def test_the_project_is_a_door_like_every_other_and_needs_the_permission(
    api: Api, worlds: tuple[World, World], merchants: dict[str, dict[str, str]], mutation: str
) -> None:
    world, other = worlds
    ungranted = await make_project(world)
    mine, *others = (ref("Project", one.project.id) for one in (world, other, ungranted))
    token = await operator_token(world, project_id=world.project.id)
    manager = await operator_token(world, role="manager")

    async def told(project: object, bearer: str = token) -> str:
        given = {"project": project} | merchants[mutation]
        answer = (await api.data(mutation, given, token=bearer))["answer"]
        return str(answer.get("code", answer["__typename"]))

    asked = [*others, nothing().Project, "%%", WRONG_TYPE]
    assert {await told(project) for project in asked} == {"NOT_FOUND"}
    assert await told(mine, manager) == "FORBIDDEN"
    assert await stored(world) + await stored(other) == 0
