"""Platform certificates of WeChat Pay: fetched, replaced while we run, refused when nobody has them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.integrations.wechat_pay import WechatPayChannel
from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.integrations.wechat_pay_keys import (
    PAUSE,
    RENEW_AFTER,
    Certificate,
    PlatformKeys,
    open_certificates,
)
from backend.kernel.clock import SetClock, business_day
from backend.sandbox.pay_keys import public_pem_of, sealed
from backend.sandbox.unionpay_keys import Issued
from backend.sandbox.wechat_pay import wechat_pay_app
from backend.topups.ports import (
    ChannelUnavailable,
    NoticeRejected,
    Payment,
    PaymentState,
    PayMethod,
    RefundRequest,
    RefundState,
)

from .conftest import CLOCK, Till, an_order, register
from .serving import Shop, serving


@pytest.fixture(scope="module")
def stand_in() -> Iterator[tuple[str, Shop, str]]:
    """One stand-in and one shop for this file: certificates are slow to make."""
    shop = Shop()
    app = wechat_pay_app(clock=CLOCK, retries_s=(0.05,))
    with serving(app) as url, serving(shop.app) as shop_url:
        yield url, shop, shop_url


@pytest.fixture
def old(stand_in: tuple[str, Shop, str], merchant_pem: str) -> Till:
    """A merchant with certificates, whose process has just started."""
    url, shop, shop_url = stand_in
    till = register(url=url, pem=merchant_pem, shop=shop, shop_url=shop_url, certificates=True)
    config = replace(till.config, public_key_id="", public_key_pem="", certificates=True)
    return Till(url, config, WechatPayChannel(config, clock=CLOCK), shop)


def later(config: WechatPayConfig, **passed: float) -> tuple[WechatPayChannel, SetClock]:
    """The merchant's channel with a clock that a test moves."""
    clock = SetClock(CLOCK.now() + timedelta(**passed))
    return WechatPayChannel(config, clock=clock), clock


async def paid_order(till: Till) -> str:
    """An order that the payer paid; its notice came last."""
    order = an_order()
    await till.channel.prepay(order)
    till.pay(order.order_no)
    return order.order_no


def told(channel: WechatPayChannel, notice: tuple[dict[str, str], bytes]) -> str:
    """The order a notice says is paid."""
    payment = channel.read_notice(*notice, CLOCK.now())
    assert isinstance(payment, Payment)
    return payment.order_no


async def test_a_merchant_with_certificates_does_all_that_one_with_the_public_key_does(
    old: Till,
) -> None:
    page = (await old.channel.prepay(an_order(PayMethod.JSAPI))).page
    assert page["package"].startswith("prepay_id=")
    number = await paid_order(old)
    assert told(old.channel, old.shop.notices[-1]) == number
    assert (await old.channel.query(number)).state is PaymentState.PAID
    refund = RefundRequest(number, "R" + number, 2000, 5000, "退费")
    assert await old.channel.refund(refund) is RefundState.DONE
    unpaid = an_order()
    await old.channel.prepay(unpaid)
    await old.channel.close(unpaid.order_no)
    assert (await old.channel.query(unpaid.order_no)).state is PaymentState.CLOSED
    lines = await old.channel.bill(business_day(CLOCK.now()))
    assert (number, 5000, 0) in {(one.order_no, one.amount_fen, one.refund_fen) for one in lines}


async def test_a_notice_is_verified_by_a_process_that_has_asked_for_nothing_yet(old: Till) -> None:
    number = await paid_order(old)
    fresh, _ = later(old.config)
    assert told(fresh, old.shop.notices[-1]) == number


async def test_certificates_are_replaced_while_the_process_runs(old: Till) -> None:
    number = await paid_order(old)
    before = old.shop.notices[-1]
    channel, clock = later(old.config)
    assert told(channel, before) == number
    serial = old.control("certificates", {})["serial_no"]
    clock.advance(PAUSE)
    number = await paid_order(replace(old, channel=channel))
    assert old.shop.notices[-1][0]["wechatpay-serial"] == serial
    assert told(channel, old.shop.notices[-1]) == number
    assert (await channel.query(number)).state is PaymentState.PAID
    # The old one is listed still, so what it signed is believed; then it is taken off the list.
    assert told(channel, before)
    old.control("certificates", {"drop_old": True})
    clock.advance(RENEW_AFTER)
    with pytest.raises(NoticeRejected, match="serial"):
        channel.read_notice(*before, CLOCK.now())


async def test_a_serial_that_nobody_has_is_refused_in_answers_and_in_notices(old: Till) -> None:
    number = await paid_order(old)
    channel, clock = later(old.config)
    assert (await channel.query(number)).state is PaymentState.PAID
    clock.advance(PAUSE)
    old.control("faults", {"unlisted_serial": 1})
    with pytest.raises(ChannelUnavailable, match="serial"):
        await channel.query(number)
    assert (await channel.query(number)).state is PaymentState.PAID
    headers, body = old.shop.notices[-1]
    with pytest.raises(NoticeRejected, match="serial"):
        channel.read_notice(headers | {"wechatpay-serial": "0A" * 20}, body, CLOCK.now())


async def test_a_stranger_cannot_make_us_ask_again_and_again(
    old: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paid_order(old)
    headers, body = old.shop.notices[-1]
    channel, clock = later(old.config)
    asked: list[str] = []
    real = channel._wire._exchange

    def counted(path: str, method: str, sent: str) -> object:
        asked.append(path)
        return real(path, method, sent)

    monkeypatch.setattr(channel._wire, "_exchange", counted)
    for number in range(5):
        forged = headers | {"wechatpay-serial": f"{number:040X}"}
        with pytest.raises(NoticeRejected):
            channel.read_notice(forged, body, CLOCK.now())
    assert asked == ["/v3/certificates"]
    for nonsense in ("zz", "../../x", "A" * 500, "PUB_KEY_ID_0"):
        clock.advance(PAUSE)
        with pytest.raises(NoticeRejected, match="serial"):
            channel.read_notice(headers | {"wechatpay-serial": nonsense}, body, CLOCK.now())
    assert asked == ["/v3/certificates"]


async def test_certificates_that_another_key_sealed_are_no_certificates(old: Till) -> None:
    order = an_order()
    old.control("faults", {"bad_certificate_seal": 1})
    with pytest.raises(ChannelUnavailable, match="APIv3"):
        await old.channel.prepay(order)
    # The next try is a question of its own after the pause.
    channel, _ = later(old.config)
    assert (await channel.prepay(order)).page
    wrong = old.another(apiv3_key="0" * 32)
    with pytest.raises(ChannelUnavailable, match="APIv3"):
        await wrong.query(order.order_no)
    with pytest.raises(NoticeRejected, match="now"):
        old.another(base_url="http://127.0.0.1:9").read_notice(
            *(await paid_notice(old)), CLOCK.now()
        )


async def paid_notice(till: Till) -> tuple[dict[str, str], bytes]:
    """A notice of a payment made by a channel that works."""
    await paid_order(replace(till, channel=later(till.config)[0]))
    return till.shop.notices[-1]


async def test_a_list_of_certificates_that_nobody_signed_is_not_used(old: Till) -> None:
    await paid_order(old)
    old.control("faults", {"unsigned_answer": 1})
    with pytest.raises(NoticeRejected, match="certificates could not be verified"):
        later(old.config)[0].read_notice(*old.shop.notices[-1], CLOCK.now())
    assert told(later(old.config)[0], old.shop.notices[-1])


def test_a_certificate_under_the_serial_of_another_is_not_taken(merchant: Issued) -> None:
    key, serial = "k" * 32, f"{merchant.certificate.serial_number:X}"
    seal = sealed(merchant.pem.encode(), apiv3_key=key, aad="certificate")

    def listed(name: str, **changes: str) -> bytes:
        shown = {"serial_no": name, "encrypt_certificate": seal | changes}
        return json.dumps({"data": [shown]}).encode()

    assert set(open_certificates(listed(serial), apiv3_key=key)) == {serial}
    for wrong in (
        listed("ABCDEF0123"),
        listed("zz"),
        listed(serial, algorithm="AES"),
        listed(serial, associated_data="transaction"),
        b'{"data": []}',
        b"[]",
        b'{"data": [1]}',
    ):
        with pytest.raises(ValueError, match="certificate"):
            open_certificates(wrong, apiv3_key=key)


async def test_a_merchant_without_certificates_is_told_what_it_has_instead(
    stand_in: tuple[str, Shop, str], merchant_pem: str
) -> None:
    url, shop, shop_url = stand_in
    newer = register(url=url, pem=merchant_pem, shop=shop, shop_url=shop_url)
    wrong = newer.another(public_key_id="", public_key_pem="", certificates=True)
    with pytest.raises(ChannelUnavailable, match="public key"):
        await wrong.query(an_order().order_no)
    assert (await newer.channel.query(an_order().order_no)).state is PaymentState.UNPAID


async def test_both_serials_are_believed_while_a_merchant_moves_to_the_public_key(
    stand_in: tuple[str, Shop, str], merchant_pem: str, other_pem: str
) -> None:
    url, shop, shop_url = stand_in
    moving = register(url=url, pem=merchant_pem, shop=shop, shop_url=shop_url, certificates=True)
    both = moving.another(certificates=True)
    number = await paid_order(replace(moving, channel=both))
    # The answers come under the key that we name, the notices still under a certificate.
    assert not shop.notices[-1][0]["wechatpay-serial"].startswith("PUB_KEY_ID_")
    assert told(both, shop.notices[-1]) == number
    with pytest.raises(NoticeRejected, match="serial"):
        moving.channel.read_notice(*shop.notices[-1], CLOCK.now())
    deceived = moving.another(certificates=True, public_key_pem=public_pem_of(other_pem))
    with pytest.raises(ChannelUnavailable, match="verified"):
        await deceived.query(number)


class Platform:
    """Certificates that a test lists, and how often they were asked for."""

    def __init__(self, merchant: Issued) -> None:
        self.issued = merchant
        self.listed: dict[str, Certificate] = {}
        self.asked = 0
        self.away = False
        self._lock = threading.Lock()

    def list(self, serial: str, *, days: float) -> None:
        """List a certificate that runs out in `days`."""
        now = CLOCK.now()
        key = self.issued.key.public_key()
        self.listed[serial] = Certificate(key, now - timedelta(days=1), now + timedelta(days=days))

    def fetch(self) -> Mapping[str, Certificate]:
        """What a download gives."""
        with self._lock:
            self.asked += 1
        if self.away:
            raise ChannelUnavailable("away")
        return dict(self.listed)


@pytest.fixture
def platform(merchant: Issued) -> Platform:
    """One certificate, long to run."""
    platform = Platform(merchant)
    platform.list("AAAAAAAA", days=100)
    return platform


def test_a_certificate_that_ran_out_is_refused_though_it_is_known(platform: Platform) -> None:
    clock = SetClock(CLOCK.now())
    keys = PlatformKeys(fixed={}, fetch=platform.fetch, clock=clock)
    assert keys.of("AAAAAAAA") is not None
    platform.away = True
    clock.advance(timedelta(days=99))
    assert keys.of("AAAAAAAA") is not None  # the platform is away, what is known stays in use
    clock.advance(timedelta(days=2))
    with pytest.raises(ChannelUnavailable):
        keys.of("AAAAAAAA")


def test_certificates_are_asked_for_twice_a_day_and_by_one_thread(platform: Platform) -> None:
    clock = SetClock(CLOCK.now())
    keys = PlatformKeys(fixed={}, fetch=platform.fetch, clock=clock)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(keys.of, ["AAAAAAAA"] * 64))
    assert None not in found
    assert platform.asked == 1
    clock.advance(RENEW_AFTER - timedelta(seconds=1))
    assert keys.of("AAAAAAAA") is not None
    assert platform.asked == 1
    clock.advance(timedelta(seconds=1))
    assert keys.of("AAAAAAAA") is not None
    assert platform.asked == 2


def test_those_who_waited_for_a_question_that_failed_slowly_do_not_ask_it_again(
    platform: Platform,
) -> None:
    """Else strangers' notices would keep the threads of all payments while the platform is away."""
    clock = SetClock(CLOCK.now())
    platform.away = True

    def slow() -> Mapping[str, Certificate]:
        clock.advance(PAUSE + timedelta(seconds=1))
        return platform.fetch()

    keys = PlatformKeys(fixed={}, fetch=slow, clock=clock)

    def ask(serial: str) -> bool:
        try:
            return keys.of(serial) is not None
        except ChannelUnavailable:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(ask, ["AAAAAAAA"] * 16))
    assert platform.asked == 1
