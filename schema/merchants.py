"""A project's merchant account at WeChat Pay: written, never read back."""

from __future__ import annotations

from typing import Annotated

import strawberry

from backend.journeys.merchant import WechatMerchant, set_wechat_pay
from backend.tenancy.rules import Permission

from .context import Info
from .problems import AnyProblem
from .rights import mutation
from .scalars import uuid_of

_LONG = frozenset({"private_key", "public_key"})


@strawberry.type(description="The project takes WeChat payments by this merchant account.")
class WechatPaySet:
    """What was set, without its secrets."""

    project: strawberry.ID
    mchid: str
    appid: str


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
        public_key_id: str,
        public_key: str,
    ) -> SetWechatPayResult:
        """Keep the merchant account, sealed; refused when its parts do not fit."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        merchant = WechatMerchant(
            mchid, appid, cert_serial_no, public_key_id, public_key, private_key, apiv3_key
        )
        await set_wechat_pay(
            info.context.ports, scope=scope, project_id=project_id, merchant=merchant
        )
        return WechatPaySet(project=project, mchid=mchid, appid=appid)
