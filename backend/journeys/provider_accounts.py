"""Accounts at providers: a project's merchant account (A2), a group's official account and SMS account.

Each is checked before it is kept, sealed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from backend.alerts.ports import MessageChannel
from backend.kernel.db import unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.tenancy import operations, queries
from backend.topups.rules import Channel

from .ports import Ports

_APP_ID = re.compile(r"[A-Za-z0-9]{6,64}")
_TOKEN = re.compile(r"[A-Za-z0-9]{3,32}")


@dataclass(frozen=True, slots=True)
class WechatMerchant:
    """What WeChat Pay gives a merchant; PEM texts are PKCS#8 and SubjectPublicKeyInfo.

    `mchid`, `app_id` and the keys are of the merchant, or of the service provider (服务商) that collects
    for `sub_mchid`, whose own app is `sub_app_id` ("": openids are of the provider's app)."""

    mchid: str
    app_id: str
    cert_serial_no: str
    private_key_pem: str = field(repr=False)
    apiv3_key: str = field(repr=False)
    public_key_id: str = ""
    public_key_pem: str = ""
    platform_certificates: bool = False
    sub_mchid: str = ""
    sub_app_id: str = ""


async def set_wechat_pay(
    ports: Ports, *, scope: Scope, project_id: UUID, merchant: WechatMerchant
) -> UUID:
    """Seal and keep the merchant account of a project; returns the credential's id.

    Raises NotFound, Forbidden, InvalidInput (the adapter cannot work with it; nothing is kept).
    """
    if merchant.sub_app_id and not merchant.sub_mchid:
        raise InvalidInput("a sub app stands only with its sub-merchant", field="sub_mchid")
    owner = {"app_id": merchant.app_id}
    if merchant.sub_mchid:
        # Money and its orders are the sub-merchant's: the account stands under that number.
        owner = {"app_id": merchant.sub_app_id}
        owner |= {"sp_mchid": merchant.mchid, "sp_app_id": merchant.app_id}
    platform = {
        "public_key_id": merchant.public_key_id,
        "public_key_pem": merchant.public_key_pem,
        "platform_certificates": "yes" if merchant.platform_certificates else "",
    }
    return await keep_merchant(
        ports,
        scope=scope,
        channel=Channel.WECHAT_PAY,
        key=merchant.sub_mchid or merchant.mchid,
        project_id=project_id,
        public={
            **owner,
            "cert_serial_no": merchant.cert_serial_no,
            **{name: value for name, value in platform.items() if value},
        },
        secret={
            "private_key_pem": merchant.private_key_pem,
            "apiv3_key": merchant.apiv3_key,
        },
    )


@dataclass(frozen=True, slots=True)
class AlipayMerchant:
    """What Alipay gives an app that collects for a seller (PID): its public key (key mode), or three
    certificates. `app_auth_token`: the app is a service provider's."""

    seller_id: str
    app_id: str
    private_key: str = field(repr=False)
    alipay_public_key: str = ""
    app_cert: str = ""
    alipay_cert: str = ""
    root_cert: str = ""
    app_auth_token: str = field(default="", repr=False)


async def set_alipay(
    ports: Ports, *, scope: Scope, project_id: UUID, merchant: AlipayMerchant
) -> UUID:
    """Seal and keep the Alipay account of a project; returns the credential's id.

    Raises NotFound, Forbidden, InvalidInput (the adapter cannot work with it; nothing is kept).
    """
    names = ("alipay_public_key", "app_cert", "alipay_cert", "root_cert")
    token = {"app_auth_token": merchant.app_auth_token} if merchant.app_auth_token else {}
    return await keep_merchant(
        ports,
        scope=scope,
        channel=Channel.ALIPAY,
        key=merchant.seller_id,
        project_id=project_id,
        public={
            "app_id": merchant.app_id,
            **{name: value for name in names if (value := getattr(merchant, name))},
        },
        secret={"private_key": merchant.private_key, **token},
    )


async def keep_merchant(
    ports: Ports,
    *,
    scope: Scope,
    channel: Channel,
    key: str,
    project_id: UUID,
    public: Mapping[str, str],
    secret: Mapping[str, str],
) -> UUID:
    """Seal and keep a project's account at `channel` under the merchant's number there (`key`).

    Raises NotFound, Forbidden, InvalidInput (the adapter cannot work with it; nothing is kept).
    """
    if not key.strip():
        raise InvalidInput(f"{channel}: the merchant's number is needed", field="mchid")
    async with unit_of_work(scope.group_id) as work:
        await queries.project(work, scope=scope, project_id=project_id)
        credential_id = await operations.save_credential(
            work,
            scope=scope,
            box=ports.box,
            kind=channel,
            key=key,
            project_id=project_id,
            public=public,
            secret=secret,
            at=ports.clock.now(),
        )
        kept = await queries.credential_by_id(work, box=ports.box, credential_id=credential_id)
        # Built here so that a key that does not fit is refused now, not when the first tenant pays.
        ports.payment_channel(scope.group_id, kept)
    return credential_id


@dataclass(frozen=True, slots=True)
class OfficialAccount:
    """A WeChat official account (服务号) as its owner's console shows it."""

    app_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    aes_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SmsAccount:
    """An Aliyun SMS account: key, signature name, and the code of the template for binding codes."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    sign_name: str
    bind_template: str


async def set_official_account(ports: Ports, *, scope: Scope, account: OfficialAccount) -> str:
    """Keep the group's official account; returns the callback address to type into its console.

    Raises Forbidden, InvalidInput that names the field and never shows its value.
    """
    for name, good in (
        ("appId", _APP_ID.fullmatch(account.app_id)),
        ("secret", len(account.secret) >= 16),
        ("token", _TOKEN.fullmatch(account.token)),
        ("aesKey", _is_aes_key(account.aes_key)),
    ):
        if not good:
            raise InvalidInput(f"the official account's {name} is malformed", field=name)
    await _keep(
        ports,
        scope=scope,
        kind="WECHAT_OFFICIAL",
        key=account.app_id,
        public={},
        secret={
            "secret": account.secret,
            "token": account.token,
            "aes_key": account.aes_key,
        },
    )
    async with unit_of_work(scope.group_id) as work:
        code, _ = await queries.group_name(work)
    return f"{ports.public_url}/callbacks/wechat/{code}/{account.app_id}"


async def set_sms_account(ports: Ports, *, scope: Scope, account: SmsAccount) -> None:
    """Keep the group's SMS account. Raises Forbidden, InvalidInput."""
    if not account.bind_template.strip():
        raise InvalidInput("the template for binding codes is needed", field="bindTemplate")
    template = {"code": account.bind_template, "params": ["code"], "once": True}
    await _keep(
        ports,
        scope=scope,
        kind="ALIYUN_SMS",
        key=account.access_key_id,
        public={
            "sign_name": account.sign_name,
            "templates": json.dumps({"bind_code": template}),
        },
        secret={"access_key_secret": account.access_key_secret},
    )


async def _keep(
    ports: Ports,
    *,
    scope: Scope,
    kind: str,
    key: str,
    public: Mapping[str, str],
    secret: Mapping[str, str],
) -> None:
    if not key.strip():
        raise InvalidInput("the account's id is needed")
    channel = MessageChannel.WECHAT if kind == "WECHAT_OFFICIAL" else MessageChannel.SMS
    async with unit_of_work(scope.group_id) as work:
        credential_id = await operations.save_credential(
            work,
            scope=scope,
            box=ports.box,
            kind=kind,
            key=key,
            project_id=None,
            public=public,
            secret=secret,
            at=ports.clock.now(),
        )
        kept = await queries.credential_by_id(work, box=ports.box, credential_id=credential_id)
        ports.notifier(channel, kept)  # built here: what cannot work is refused now


def _is_aes_key(text: str) -> bool:
    try:
        return len(text) == 43 and len(base64.b64decode(text + "=", validate=True)) == 32
    except binascii.Error:
        return False
