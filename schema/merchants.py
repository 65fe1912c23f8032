"""Accounts at providers (WeChat Pay, Alipay, official account, SMS): written, never read back."""

from __future__ import annotations

from typing import Annotated

import strawberry

from backend.journeys.provider_accounts import (
    AlipayMerchant,
    OfficialAccount,
    SmsAccount,
    WechatMerchant,
    set_alipay,
    set_official_account,
    set_sms_account,
    set_wechat_pay,
)
from backend.tenancy.rules import Permission

from .context import Info
from .problems import AnyProblem
from .rights import mutation
from .scalars import uuid_of

_LONG = frozenset(
    {"private_key", "public_key", "alipay_public_key", "app_cert", "alipay_cert", "root_cert"}
)


@strawberry.type(description="The project takes WeChat payments by this merchant account.")
class WechatPaySet:
    """What was set, without its secrets."""

    project: strawberry.ID
    mchid: str
    appid: str
    sub_mchid: str = strawberry.field(
        description="For whom the service provider `mchid` collects; empty for an own merchant."
    )


@strawberry.type(description="The project takes Alipay payments by this app for this seller.")
class AlipaySet:
    """What was set, without its secrets."""

    project: strawberry.ID
    seller_id: str
    app_id: str


@strawberry.type(description="The group's official account; type `callbackUrl` into its console.")
class WechatAccountSet:
    """What was set, without its secrets."""

    app_id: str
    callback_url: str


@strawberry.type(description="The group sends SMS by this account.")
class SmsAccountSet:
    """What was set, without its secrets."""

    access_key_id: str
    sign_name: str


SetWechatAccountResult = Annotated[
    WechatAccountSet | AnyProblem, strawberry.union("SetWechatAccountResult")
]
SetSmsAccountResult = Annotated[SmsAccountSet | AnyProblem, strawberry.union("SetSmsAccountResult")]
SetAlipayResult = Annotated[AlipaySet | AnyProblem, strawberry.union("SetAlipayResult")]
SetWechatPayResult = Annotated[WechatPaySet | AnyProblem, strawberry.union("SetWechatPayResult")]


@strawberry.type
class MerchantMutations:
    """Writes."""

    @mutation(Permission.CREDENTIAL_WRITE, long=_LONG)
    async def set_wechat_pay(
        self,
        info: Info,
        project: strawberry.ID,
        mchid: str,
        appid: str,
        cert_serial_no: str,
        private_key: str,
        apiv3_key: str,
        public_key_id: str = "",
        public_key: str = "",
        platform_certificates: bool = False,
        sub_mchid: str = "",
        sub_appid: str = "",
    ) -> SetWechatPayResult:
        """Keep the merchant account, sealed; refused when its parts do not fit. The platform is believed
        by its public key, by its certificates (older merchants), or by both during a move. With a
        `subMchid` all else is the service provider's that collects for it."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        merchant = WechatMerchant(
            *(mchid, appid, cert_serial_no, private_key, apiv3_key, public_key_id, public_key),
            *(platform_certificates, sub_mchid, sub_appid),
        )
        await set_wechat_pay(
            info.context.ports, scope=scope, project_id=project_id, merchant=merchant
        )
        return WechatPaySet(project=project, mchid=mchid, appid=appid, sub_mchid=sub_mchid)

    @mutation(Permission.CREDENTIAL_WRITE, long=_LONG)
    async def set_alipay(
        self,
        info: Info,
        project: strawberry.ID,
        seller_id: str,
        app_id: str,
        private_key: str,
        alipay_public_key: str = "",
        app_cert: str = "",
        alipay_cert: str = "",
        root_cert: str = "",
        app_auth_token: str = "",
    ) -> SetAlipayResult:
        """Keep the Alipay account, sealed: Alipay's public key (key mode) or the three certificates;
        refused when its parts do not fit."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        merchant = AlipayMerchant(
            *(seller_id, app_id, private_key, alipay_public_key),
            *(app_cert, alipay_cert, root_cert, app_auth_token),
        )
        await set_alipay(info.context.ports, scope=scope, project_id=project_id, merchant=merchant)
        return AlipaySet(project=project, seller_id=seller_id, app_id=app_id)

    @mutation(Permission.CREDENTIAL_WRITE, of_group=True)
    async def set_wechat_account(
        self, info: Info, app_id: str, secret: str, token: str, aes_key: str
    ) -> SetWechatAccountResult:
        """Keep the group's official account, sealed."""
        url = await set_official_account(
            info.context.ports,
            scope=info.context.caller(),
            account=OfficialAccount(app_id, secret, token, aes_key),
        )
        return WechatAccountSet(app_id=app_id, callback_url=url)

    @mutation(Permission.CREDENTIAL_WRITE, of_group=True)
    async def set_sms_account(
        self,
        info: Info,
        access_key_id: str,
        access_key_secret: str,
        sign_name: str,
        bind_template: str,
    ) -> SetSmsAccountResult:
        """Keep the group's SMS account, sealed."""
        account = SmsAccount(access_key_id, access_key_secret, sign_name, bind_template)
        await set_sms_account(info.context.ports, scope=info.context.caller(), account=account)
        return SmsAccountSet(access_key_id=access_key_id, sign_name=sign_name)
