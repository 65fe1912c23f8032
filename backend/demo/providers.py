"""Make the demo's accounts known at the stand-ins: merchants, official accounts, SMS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from .messages import SMS_TEXTS
from .plan import DemoGroup
from .secrets_file import DemoSecrets


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """The channel's public key for one merchant, as its console would show it; Alipay's has no id.
    UnionPay signs under certificates: its root is the key, and `middle` stands between."""

    public_key_id: str
    public_key: str
    middle: str = ""


async def register(
    *, groups: Sequence[DemoGroup], sandbox_url: str, public_url: str, secrets: DemoSecrets
) -> dict[str, PlatformKey]:
    """Register everything; returns the platform's key by merchant. Raises httpx.HTTPError."""
    platform: dict[str, PlatformKey] = {}
    async with httpx.AsyncClient(base_url=sandbox_url, timeout=10) as client:

        async def tell(path: str, body: dict[str, object]) -> dict[str, str]:
            answer = await client.post(path, json=body)
            answer.raise_for_status()
            told: dict[str, str] = answer.json()
            return told

        for group in groups:
            callback = f"{public_url}/callbacks/wechat/{group.code}/{group.app_id}"
            app = secrets.app_secrets[group.app_id]
            await tell(
                "/wechat/control/apps",
                {"appid": group.app_id, "callback_url": callback, **app},
            )
            for site in group.sites:
                keys = secrets.merchants[site.mchid]
                told = await tell(
                    "/wechat-pay/control/merchants",
                    {
                        "mchid": site.mchid,
                        "appid": group.app_id,
                        "cert_serial_no": keys.cert_serial_no,
                        "merchant_public_key": keys.public_key_pem,
                        "apiv3_key": keys.apiv3_key,
                    },
                )
                platform[site.mchid] = PlatformKey(**told)
                if site.alipay is not None:
                    # One key of the demo signs for both of a site's merchant accounts.
                    told = await tell(
                        "/alipay/control/merchants",
                        {
                            "app_id": site.alipay.app_id,
                            "seller_id": site.alipay.seller_id,
                            "app_public_key": keys.public_key_pem,
                        },
                    )
                    platform[site.alipay.seller_id] = PlatformKey("", told["alipay_public_key"])
                if site.unionpay in secrets.banks:
                    told = await tell(
                        "/unionpay/control/merchants",
                        {
                            "mer_id": site.unionpay,
                            "certificate": secrets.banks[site.unionpay].certificate,
                        },
                    )
                    platform[site.unionpay] = PlatformKey("", told["root"], told["middle"])
                for home in site.homes:
                    await tell(
                        "/wechat/control/users",
                        {"appid": group.app_id, "openid": home.openid, "subscribed": True},
                    )
        await tell(
            "/sms/control/accounts",
            {
                "access_key_id": secrets.sms["access_key_id"],
                "access_key_secret": secrets.sms["secret"],
            },
        )
        text = "验证码 ${code}，5 分钟内有效。您正在绑定电表账户，请勿告诉他人。"
        await tell("/sms/control/templates", {"code": "SMS_DEMO_BIND", "text": text})
        for code, told_by in SMS_TEXTS.values():
            await tell("/sms/control/templates", {"code": code, "text": told_by})
    return platform
