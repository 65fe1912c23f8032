"""Merchant accounts of the simulation, each on the book of its stand-in.

Books, notices and bills are the stand-ins'; notices are verified and bills are read by the product's own
adapters, which never call anybody here.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backend.integrations.alipay import AlipayChannel
from backend.integrations.alipay_config import AlipayConfig
from backend.integrations.chinapay import ChinapayChannel
from backend.integrations.chinapay_config import ChinapayConfig
from backend.integrations.unionpay import UnionpayChannel
from backend.integrations.unionpay_config import UnionpayConfig
from backend.integrations.wechat_pay import WechatPayChannel
from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.kernel.clock import CHINA, SetClock
from backend.sandbox.alipay_keys import Alipay
from backend.sandbox.pay_keys import Platform, new_private_pem, public_pem_of
from backend.sandbox.unionpay_keys import Issued, issue, make_chain
from backend.topups.ports import BillLine, Payment, PrepayRequest
from backend.topups.rules import Way

NOWHERE = "http://127.0.0.1:1"
MCHID, APPID, SERIAL = "1900009999", "wx0000000000000sim", "5157F09EFDC096DE"
ALIPAY_APP, SELLER = "2021000000000001", "2088000000000001"
MER_ID, CHINAPAY_MER = "777290058110048", "000000000000048"
_MADE = datetime(2026, 1, 1, tzinfo=CHINA)

Message = tuple[dict[str, str], bytes]


@dataclass(frozen=True, slots=True)
class Slip:
    """An order at a channel: `ended` when it takes no payment any more."""

    number: str
    fen: int
    paid: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class Back:
    """A refund at a channel."""

    number: str
    fen: int
    done: bool


class Till(Protocol):
    """One merchant account's book at its channel, for one group. `key` and `public`: as credentials have
    them."""

    key: str
    public: Mapping[str, str]

    @property
    def way(self) -> Way:
        """How it is paid."""
        ...

    def put(self, request: PrepayRequest, at: datetime, /) -> None:
        """Know an order."""
        ...

    def slips(self, at: datetime, /) -> list[Slip]:
        """All orders, oldest first."""
        ...

    def slip(self, number: str, at: datetime, /) -> Slip | None:
        """One order."""
        ...

    def pay(self, number: str, at: datetime, /) -> None:
        """The payer pays."""
        ...

    def close(self, number: str, /) -> None:
        """Take no payment any more (where the channel has such a call)."""
        ...

    def word(self, number: str, /) -> Payment:
        """What the channel says of an order."""
        ...

    def notice(self, number: str, at: datetime, /) -> Message:
        """Headers and body of the genuine notice that an order is paid, paid or not."""
        ...

    def give_back(self, number: str, refund: Back, at: datetime, /) -> None:
        """Know a refund of an order, or that it is done."""
        ...

    def backs(self, number: str | None = None, /) -> list[Back]:
        """All refunds, or those of an order."""
        ...

    def refund_notice(self, number: str, refund: Back, at: datetime, /) -> Message | None:
        """The notice of a refund, where the channel tells of refunds."""
        ...

    def bill(self, day: date, /) -> list[BillLine]:
        """The daily bill as the product reads it."""
        ...


def new_key() -> RSAPrivateKey:
    """A key of a platform."""
    return generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys made once a run, and the product's adapters that verify by them."""

    platform: Platform = field(default_factory=lambda: Platform(new_private_pem()))
    private_pem: str = field(default_factory=new_private_pem, repr=False)
    apiv3_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    chain: Mapping[str, str] = field(default_factory=lambda: make_chain(at=_MADE), repr=False)
    chinapay: RSAPrivateKey = field(default_factory=new_key, repr=False)
    signer: Issued = field(init=False, repr=False)
    public_pem: str = field(init=False)
    alipay: Alipay = field(default_factory=lambda: Alipay(new_private_pem(), at=_MADE))

    def __post_init__(self) -> None:
        chain = self.chain
        signer = Issued(key_pem=chain["signer.key"], certificate_pem=chain["signer"])
        object.__setattr__(self, "signer", signer)  # loading a key takes 50 ms: once a run
        object.__setattr__(self, "public_pem", public_pem_of(self.private_pem))

    def wechat_adapter(self, clock: SetClock) -> WechatPayChannel:
        """WeChat Pay's."""
        return WechatPayChannel(
            WechatPayConfig(
                mchid=MCHID,
                appid=APPID,
                cert_serial_no=SERIAL,
                public_key_id=self.platform.public_key_id,
                public_key_pem=self.platform.public_pem,
                notify_url=f"{NOWHERE}/notice",
                private_key_pem=self.private_pem,
                apiv3_key=self.apiv3_key,
                base_url=NOWHERE,
                allow_http=True,
            ),
            clock=clock,
        )

    def alipay_adapter(self, clock: SetClock) -> AlipayChannel:
        """Alipay's."""
        return AlipayChannel(
            AlipayConfig(
                app_id=ALIPAY_APP,
                seller_id=SELLER,
                notify_url=f"{NOWHERE}/notice",
                private_key=self.private_pem,
                alipay_public_key=self.alipay.public_pem,
                base_url=NOWHERE,
                allow_http=True,
            ),
            clock=clock,
        )

    def chinapay_adapter(self, clock: SetClock) -> ChinapayChannel:
        """ChinaPay's."""
        half = self.chinapay.public_key()
        pem = half.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return ChinapayChannel(
            ChinapayConfig(
                mer_id=CHINAPAY_MER,
                public_key_pem=pem.decode(),
                notify_url=f"{NOWHERE}/notice",
                private_key_pem=self.private_pem,
                base_url=NOWHERE,
                allow_http=True,
            ),
            clock=clock,
        )

    def unionpay_adapter(self, clock: SetClock) -> UnionpayChannel:
        """UnionPay's."""
        own = issue(name="merchant", at=_MADE)
        return UnionpayChannel(
            UnionpayConfig(
                mer_id=MER_ID,
                certificate_pem=own.pem,
                root_pem=self.chain["root"],
                middle_pem=self.chain["middle"],
                notify_url=f"{NOWHERE}/notice",
                private_key_pem=own.key_pem,
                base_url=NOWHERE,
                file_url=NOWHERE,
                allow_http=True,
            ),
            clock=clock,
        )
