"""The stand-ins on a socket, a merchant registered with them, and keys made for this run."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.integrations.wechat_account import WechatAccountConfig
from backend.integrations.wechat_pay import WechatPayChannel
from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.kernel.clock import SystemClock
from backend.kernel.ids import order_no
from backend.sandbox.alipay import alipay_app
from backend.sandbox.app import sandbox_app
from backend.sandbox.bank_book import BankBook
from backend.sandbox.chinapay import chinapay_app
from backend.sandbox.pay_keys import new_private_pem, public_pem_of
from backend.sandbox.unionpay import unionpay_app
from backend.sandbox.unionpay_keys import Issued, issue, make_chain
from backend.topups.ports import PayMethod, PrepayRequest

from .alipay_till import AlipayTill, register_app
from .bank_tills import ChinapayTill, UnionpayTill, chinapay_till, unionpay_till
from .offices import Office
from .serving import Shop, control, serving

CLOCK = SystemClock()
MINE = {"mchid": "1900000001", "appid": "wx0000000000000001", "cert_serial_no": "5157F09E"}


@pytest.fixture(scope="session")
def merchant_pem() -> str:
    """A merchant's private key."""
    return new_private_pem()


@pytest.fixture(scope="session")
def other_pem() -> str:
    """The private key of somebody else."""
    return new_private_pem()


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The memory of stand-ins that have their keys: making those takes longer than a test."""
    folder = tmp_path_factory.mktemp("begun")
    sandbox_app(clock=CLOCK, pay_store=str(folder / "pay.sqlite"))
    return folder


@pytest.fixture
def sandbox(begun: Path, tmp_path: Path) -> Iterator[str]:
    """The address of stand-ins that know nobody; a notice that is not taken comes again at once."""
    store = shutil.copytree(begun, tmp_path / "sandbox") / "pay.sqlite"
    app = sandbox_app(clock=CLOCK, pay_store=str(store), notice_retries_s=(0.05, 0.05))
    with serving(app) as url:
        yield url


@dataclass(frozen=True)
class Till:
    """A merchant with its channel at the stand-in and the shop that hears the notices."""

    url: str
    config: WechatPayConfig
    channel: WechatPayChannel
    shop: Shop

    def control(self, name: str, body: dict[str, Any], /) -> Any:
        """POST to a control endpoint of the WeChat Pay stand-in."""
        return control(f"{self.url}/control/{name}", body)

    def pay(self, order: str, /, **more: Any) -> Any:
        """The payer pays."""
        return self.control("pay", {"out_trade_no": order, **more})

    def another(self, **changes: Any) -> WechatPayChannel:
        """A channel with a changed configuration."""
        return WechatPayChannel(replace(self.config, **changes), clock=CLOCK)


@pytest.fixture
def till(sandbox: str, merchant_pem: str) -> Iterator[Till]:
    """A registered merchant."""
    shop = Shop()
    with serving(shop.app) as shop_url:
        url = f"{sandbox}/wechat-pay"
        yield register(url=url, pem=merchant_pem, shop=shop, shop_url=shop_url)


def register(*, url: str, pem: str, shop: Shop, shop_url: str, **more: Any) -> Till:
    """Register merchant 1900000001 at the stand-in, with `more` of what it may be told."""
    key = secrets.token_hex(16)
    answer = control(
        f"{url}/control/merchants",
        {**MINE, **more, "apiv3_key": key, "merchant_public_key": public_pem_of(pem)},
    )
    config = WechatPayConfig(
        mchid=MINE["mchid"],
        appid=MINE["appid"],
        cert_serial_no=MINE["cert_serial_no"],
        apiv3_key=key,
        private_key_pem=pem,
        public_key_id=answer["public_key_id"],
        public_key_pem=answer["public_key"],
        notify_url=f"{shop_url}/notice",
        base_url=url,
        allow_http=True,
    )
    return Till(url, config, WechatPayChannel(config, clock=CLOCK), shop)


def an_order(method: PayMethod = PayMethod.NATIVE, *, fen: int = 5000) -> PrepayRequest:
    """A fresh order of 50 yuan."""
    now = CLOCK.now()
    return PrepayRequest(
        order_no=order_no(now),
        amount_fen=fen,
        description="预付费电费, 1号楼",
        expires_at=now + timedelta(minutes=30),
        method=method,
        payer_id="o-zhang" if method is PayMethod.JSAPI else None,
        client_ip="203.0.113.7" if method is PayMethod.H5 else "",
    )


@pytest.fixture
def office(sandbox: str) -> Office:
    """A registered account whose callback nobody answers."""
    url = f"{sandbox}/wechat"
    config = WechatAccountConfig(
        appid="wx0000000000000001",
        secret=secrets.token_hex(16),
        base_url=url,
        oauth_base_url=url,
        allow_http=True,
    )
    office = Office(url, config)
    office.control(
        "apps",
        appid=config.appid,
        secret=config.secret,
        token="callback",
        aes_key=secrets.token_hex(22)[:43],
        callback_url="http://127.0.0.1:9/wx",
    )
    return office


@pytest.fixture(scope="session")
def merchant() -> Issued:
    """A UnionPay merchant's certificate with its key."""
    return issue(name="041@Z2026@777290058110048:SIGN@00000003", at=CLOCK.now())


@pytest.fixture(scope="session")
def chain() -> dict[str, str]:
    """UnionPay's certificates: making them takes a while."""
    return make_chain(at=CLOCK.now())


@pytest.fixture
def unionpay(chain: dict[str, str], tmp_path: Path, merchant: Issued) -> Iterator[UnionpayTill]:
    """A merchant registered at a fresh UnionPay stand-in."""
    store, shop = str(tmp_path / "unionpay.sqlite"), Shop()
    BankBook(store).keys(lambda: chain)
    app = unionpay_app(clock=CLOCK, store=store, retries_s=(0.05, 0.05))
    with serving(shop.app) as shop_url, serving(app) as url:
        yield unionpay_till(url=url, merchant=merchant, shop=shop, shop_url=shop_url)


@pytest.fixture(scope="session")
def platform_pem() -> str:
    """ChinaPay's private key."""
    return new_private_pem()


@pytest.fixture
def chinapay(merchant_pem: str, platform_pem: str, tmp_path: Path) -> Iterator[ChinapayTill]:
    """A merchant registered at a fresh ChinaPay stand-in."""
    store, shop = str(tmp_path / "chinapay.sqlite"), Shop()
    BankBook(store).keys(lambda: {"platform.key": platform_pem})
    app = chinapay_app(clock=CLOCK, store=store, retries_s=(0.05, 0.05))
    with serving(shop.app) as shop_url, serving(app) as url:
        yield chinapay_till(url=url, pem=merchant_pem, shop=shop, shop_url=shop_url)


@pytest.fixture
def alipay(
    request: pytest.FixtureRequest, begun: Path, tmp_path: Path, merchant_pem: str
) -> Iterator[AlipayTill]:
    """A registered app at a fresh stand-in, in key mode unless a test asks for others (MODES)."""
    mode = getattr(request, "param", "key")
    store, shop = tmp_path / "alipay.sqlite", Shop(answer="success")
    shutil.copy(begun / "alipay.sqlite", store)
    stand_in = alipay_app(clock=CLOCK, store=str(store), retries_s=(0.05, 0.05))
    with serving(stand_in) as url, serving(shop.app) as shop_url:
        yield register_app(
            url=url,
            pem=merchant_pem,
            shop=shop,
            shop_url=shop_url,
            certificates=mode == "certificates",
            token="201901BBtoken" if mode == "provider" else "",
        )
