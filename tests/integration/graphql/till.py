"""A project whose merchant account is registered at the stand-in: real signatures, real sockets."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx

from backend.bootstrap import build_ports
from backend.kernel.clock import SystemClock
from backend.kernel.settings import Settings
from backend.sandbox.app import sandbox_app
from backend.sandbox.pay_keys import new_private_pem, public_pem_of
from workers.models import meter_models

from ..world import BOX, World
from .edge import Api, Body, make_api, served

SET = """mutation($project: ID!, $mchid: String!, $appid: String!, $certSerialNo: String!,
  $privateKey: String!, $apiv3Key: String!, $publicKeyId: String!, $publicKey: String!,
  $platformCertificates: Boolean = false, $subMchid: String = "", $subAppid: String = "") {
  answer: setWechatPay(project: $project, mchid: $mchid, appid: $appid,
    certSerialNo: $certSerialNo, privateKey: $privateKey, apiv3Key: $apiv3Key,
    publicKeyId: $publicKeyId, publicKey: $publicKey, platformCertificates: $platformCertificates,
    subMchid: $subMchid, subAppid: $subAppid) {
    __typename ... on WechatPaySet { project mchid appid subMchid }
    ... on InvalidInputProblem { field } ... on Problem { code message } } }"""


@dataclass
class Till:
    """The edge with the real payment adapter, and the merchant's keys."""

    api: Api
    merchant: dict[str, str]
    sandbox_url: str

    async def set_up(self, project: str, token: str, **changes: str | bool) -> Body:
        """Set the project's merchant account by the mutation."""
        variables = {"project": project} | self.merchant | changes
        answer: Body = (await self.api.data(SET, variables, token=token))["answer"]
        return answer


@asynccontextmanager
async def open_till(world: World, *, dsn: str) -> AsyncIterator[Till]:
    """Serve the stand-in, register a merchant there and compose the product's own ports."""
    # The merchant's SDK signs with the machine's time and the stand-in looks at it.
    system = SystemClock()
    world.clock.instant = system.now()
    async with served(sandbox_app(clock=system)) as port:
        url, pem = f"http://127.0.0.1:{port}/wechat-pay", new_private_pem()
        merchant = {
            "mchid": "1900000001",
            "appid": "wx0000000000000001",
            "certSerialNo": "5157F09E",
            "apiv3Key": secrets.token_hex(16),
        }
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                f"{url}/control/merchants",
                json={
                    "mchid": merchant["mchid"],
                    "appid": merchant["appid"],
                    "cert_serial_no": merchant["certSerialNo"],
                    "apiv3_key": merchant["apiv3Key"],
                    "merchant_public_key": public_pem_of(pem),
                },
            )
        told = answer.json()
        settings = Settings(
            environment="test",
            database_url=dsn,
            redis_url="redis://127.0.0.1:1",
            public_url="http://127.0.0.1:1",
            secret_keys={1: secrets.token_bytes(32)},
            provider_urls={"WECHAT_PAY": url},
        )
        ports = replace(
            build_ports(settings, clock=world.clock, meter_models=meter_models()), box=BOX
        )
        keys = {
            "privateKey": pem,
            "publicKeyId": told["public_key_id"],
            "publicKey": told["public_key"],
        }
        yield Till(make_api(ports, dsn=dsn), merchant | keys, url)
