"""The only place that picks adapters. Returns frozen Ports; nothing is looked up later by name.

An SDK is imported where its adapter is made: a worker has in memory those of the accounts it serves, and
one that only collects readings has none of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import redis

from backend.alerts.ports import MessageChannel, Notifier
from backend.integrations.published_keys import refuse_published
from backend.integrations.registry import Registry
from backend.integrations.webhook_sender import WebhookSender
from backend.journeys.ports import Ports, VisitorLogin
from backend.kernel.clock import Clock
from backend.kernel.secrets import SecretBox
from backend.kernel.settings import Settings
from backend.metering.rules import MeterModel
from backend.tenancy.queries import Credential
from backend.topups.ports import PaymentChannel
from backend.topups.rules import Channel

if TYPE_CHECKING:
    from backend.integrations.alipay_config import AlipayConfig
    from backend.integrations.aliyun_sms import AliyunSmsConfig
    from backend.integrations.chinapay_config import ChinapayConfig
    from backend.integrations.unionpay_config import UnionpayConfig
    from backend.integrations.wechat_account import WechatAccountConfig
    from backend.integrations.wechat_message import WechatMessenger
    from backend.integrations.wechat_pay_config import WechatPayConfig

# Where each channel's notices come in; tenant and channel stand in the path (channels.md section 8).
NOTICE_PATHS = {
    Channel.WECHAT_PAY: "/callbacks/wechat-pay/{group_id:int}/{credential_id:uuid}",
    Channel.ALIPAY: "/callbacks/alipay/{group_id:int}/{credential_id:uuid}",
    Channel.UNIONPAY: "/callbacks/unionpay/{group_id:int}/{credential_id:uuid}",
    Channel.CHINAPAY: "/callbacks/chinapay/{group_id:int}/{credential_id:uuid}",
}

Made = TypeVar("Made")


class _Kept:
    """Adapters by credential and content: made once, made anew when the credential changes. In
    production keys that public documents print are refused, at every provider."""

    def __init__(self, *, production: bool) -> None:
        self._production = production
        self._made: dict[tuple[object, ...], object] = {}

    def get(self, credential: Credential, make: Callable[[], Made], *, use: str = "") -> Made:
        """The adapter of this credential as it is now, for one use of it. Raises InvalidInput."""
        content = json.dumps([dict(credential.public), dict(credential.secret)], sort_keys=True)
        key = (use, credential.id, hashlib.sha256(content.encode()).digest())
        if key not in self._made:
            if self._production:
                refuse_published({**credential.public, **credential.secret})
            self._made[key] = make()
        made: Made = self._made[key]  # type: ignore[assignment] # same key, same maker
        return made


@dataclass(frozen=True, slots=True)
class _Where:
    """Where a merchant account's channel is (None: its own address), and where it finds us."""

    notify_url: str
    base_url: str | None
    allow_http: bool

    def arguments(self) -> dict[str, Any]:
        """These as every channel's configuration takes them."""
        given = {"notify_url": self.notify_url, "allow_http": self.allow_http}
        return given | ({"base_url": self.base_url} if self.base_url else {})


def build_ports(
    settings: Settings,
    *,
    clock: Clock,
    meter_models: Mapping[str, MeterModel],
) -> Ports:
    """The adapters of this process, by settings. Provider addresses come from settings only. The models
    have no default: a process that knows none can neither switch a meter nor send it prices."""
    urls = settings.provider_urls
    allow_http = not settings.production
    shared = redis.Redis.from_url(settings.redis_url)
    kept = _Kept(production=settings.production)

    notifiers: Registry[Callable[[Credential], Notifier]] = Registry()

    def wechat(credential: Credential) -> WechatMessenger:
        from backend.integrations.wechat_account import RedisTokenStore
        from backend.integrations.wechat_message import WechatMessenger

        account, tokens = wechat_account(credential, settings), RedisTokenStore(shared)
        return kept.get(credential, lambda: WechatMessenger(account, token_store=tokens))

    def sms(credential: Credential) -> Notifier:
        from backend.integrations.aliyun_sms import AliyunSms

        config = _sms_config(credential, urls.get("SMS"), allow_http=allow_http)
        return kept.get(credential, lambda: AliyunSms(config))

    # A message registers no order: the address for notices is not used.
    where = _Where(settings.public_url, urls.get(Channel.ALIPAY), allow_http)

    def alipay(credential: Credential) -> Notifier:
        from backend.integrations.alipay_message import AlipayMessenger

        config = _alipay_config(credential, where)
        return kept.get(credential, lambda: AlipayMessenger(config, clock=clock), use="messages")

    notifiers.register(name=MessageChannel.WECHAT, adapter=wechat)
    notifiers.register(name=MessageChannel.ALIPAY, adapter=alipay)
    notifiers.register(name=MessageChannel.SMS, adapter=sms)

    return Ports(
        clock=clock,
        box=SecretBox(settings.secret_keys),
        public_url=settings.public_url,
        payment_channel=_payment_channels(settings, clock=clock, kept=kept),
        notifier=lambda channel, credential: notifiers.get(channel)(credential),
        visitor_login=_visitor_logins(settings, clock=clock, kept=kept),
        menu_publisher=wechat,
        webhook_sender=WebhookSender(local=allow_http),
        local=allow_http,
        meter_models=meter_models,
    )


def _visitor_logins(
    settings: Settings, *, clock: Clock, kept: _Kept
) -> Callable[[Credential], VisitorLogin]:
    """Who finds out whom a page has before it: of an official account, or of an Alipay account's app."""
    # A login registers no order: the address for notices is not used.
    where = _Where(
        settings.public_url, settings.provider_urls.get(Channel.ALIPAY), not settings.production
    )

    def login(credential: Credential) -> VisitorLogin:
        if credential.kind != Channel.ALIPAY:
            from backend.integrations.wechat_oauth import WechatLogin

            return WechatLogin(wechat_account(credential, settings))
        from backend.integrations.alipay_oauth import AlipayLogin

        return kept.get(
            credential,
            lambda: AlipayLogin(_alipay_config(credential, where), clock=clock),
            use="login",
        )

    return login


def _payment_channels(
    settings: Settings, *, clock: Clock, kept: _Kept
) -> Callable[[int, Credential], PaymentChannel]:
    """The adapter of a merchant account, by the account's kind."""
    channels: Registry[Callable[[Credential, _Where], PaymentChannel]] = Registry()
    files = settings.provider_urls.get("UNIONPAY_FILES")

    def wechat_pay(credential: Credential, where: _Where) -> PaymentChannel:
        from backend.integrations.wechat_pay import WechatPayChannel

        return WechatPayChannel(_wechat_pay_config(credential, where), clock=clock)

    def alipay(credential: Credential, where: _Where) -> PaymentChannel:
        from backend.integrations.alipay import AlipayChannel

        return AlipayChannel(_alipay_config(credential, where), clock=clock)

    def unionpay(credential: Credential, where: _Where) -> PaymentChannel:
        from backend.integrations.unionpay import UnionpayChannel

        return UnionpayChannel(_unionpay_config(credential, where, files), clock=clock)

    def chinapay(credential: Credential, where: _Where) -> PaymentChannel:
        from backend.integrations.chinapay import ChinapayChannel

        return ChinapayChannel(_chinapay_config(credential, where), clock=clock)

    channels.register(name=Channel.WECHAT_PAY, adapter=wechat_pay)
    channels.register(name=Channel.ALIPAY, adapter=alipay)
    channels.register(name=Channel.UNIONPAY, adapter=unionpay)
    channels.register(name=Channel.CHINAPAY, adapter=chinapay)

    def payment_channel(group_id: int, credential: Credential) -> PaymentChannel:
        make = channels.get(credential.kind)
        path = NOTICE_PATHS[Channel(credential.kind)].replace("{group_id:int}", str(group_id))
        where = _Where(
            notify_url=settings.public_url
            + path.replace("{credential_id:uuid}", str(credential.id)),
            base_url=settings.provider_urls.get(credential.kind),
            allow_http=not settings.production,
        )
        return kept.get(credential, lambda: make(credential, where))

    return payment_channel


def _wechat_pay_config(credential: Credential, where: _Where) -> WechatPayConfig:
    from backend.integrations.wechat_pay_config import WechatPayConfig

    public = credential.public
    merchant, app = credential.key, public["app_id"]
    # The account is kept under the number of the one whose money it is; a service provider signs for it.
    sub_mchid, sub_appid = (merchant, app) if "sp_mchid" in public else ("", "")
    return WechatPayConfig(
        mchid=public.get("sp_mchid", merchant),
        appid=public.get("sp_app_id", app),
        cert_serial_no=public["cert_serial_no"],
        public_key_id=public.get("public_key_id", ""),
        public_key_pem=public.get("public_key_pem", ""),
        certificates=public.get("platform_certificates") == "yes",
        sub_mchid=sub_mchid,
        sub_appid=sub_appid,
        private_key_pem=credential.secret["private_key_pem"],
        apiv3_key=credential.secret["apiv3_key"],
        **where.arguments(),
    )


def _alipay_config(credential: Credential, where: _Where) -> AlipayConfig:
    from backend.integrations.alipay_config import AlipayConfig, Certificates

    public = credential.public
    certificates = None
    if public.get("app_cert"):
        certificates = Certificates(public["app_cert"], public["alipay_cert"], public["root_cert"])
    return AlipayConfig(
        app_id=public["app_id"],
        seller_id=credential.key,
        private_key=credential.secret["private_key"],
        alipay_public_key=public.get("alipay_public_key", ""),
        certificates=certificates,
        app_auth_token=credential.secret.get("app_auth_token", ""),
        **where.arguments() | ({"oauth_base_url": where.base_url} if where.base_url else {}),
    )


def _unionpay_config(credential: Credential, where: _Where, files: str | None) -> UnionpayConfig:
    from backend.integrations.unionpay_config import UnionpayConfig

    return UnionpayConfig(
        mer_id=credential.key,
        certificate_pem=credential.public["certificate_pem"],
        root_pem=credential.public["root_pem"],
        middle_pem=credential.public["middle_pem"],
        private_key_pem=credential.secret["private_key_pem"],
        **where.arguments() | ({"file_url": files} if files else {}),
    )


def _chinapay_config(credential: Credential, where: _Where) -> ChinapayConfig:
    from backend.integrations.chinapay_config import ChinapayConfig

    return ChinapayConfig(
        mer_id=credential.key,
        public_key_pem=credential.public["public_key_pem"],
        private_key_pem=credential.secret["private_key_pem"],
        **where.arguments(),
    )


def wechat_account(credential: Credential, settings: Settings) -> WechatAccountConfig:
    """The official account behind a credential."""
    from backend.integrations.wechat_account import WechatAccountConfig

    url = settings.provider_urls.get("WECHAT")
    return WechatAccountConfig(
        appid=credential.key,
        secret=credential.secret["secret"],
        allow_http=not settings.production,
        **({"base_url": url, "oauth_base_url": url} if url else {}),
    )


def _sms_config(credential: Credential, url: str | None, *, allow_http: bool) -> AliyunSmsConfig:
    from backend.integrations.aliyun_sms import AliyunSmsConfig, SmsTemplate

    templates = {
        event: SmsTemplate(
            code=mapping["code"],
            params=tuple(mapping.get("params", ())),
            once=bool(mapping.get("once", False)),
        )
        for event, mapping in json.loads(credential.public["templates"]).items()
    }
    return AliyunSmsConfig(
        access_key_id=credential.key,
        sign_name=credential.public["sign_name"],
        templates=templates,
        access_key_secret=credential.secret["access_key_secret"],
        allow_http=allow_http,
        **({"base_url": url} if url else {}),
    )
