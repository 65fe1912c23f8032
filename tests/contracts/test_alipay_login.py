"""Who opened our page inside Alipay: one code, one answer, and only what Alipay signed."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from backend.integrations.alipay_oauth import AlipayLogin
from backend.journeys.ports import LoginRefused
from backend.kernel.errors import Unavailable
from backend.topups.ports import PayMethod

from .alipay_till import APP, CLOCK, MODES, AlipayTill
from .conftest import an_order

BACK = "https://shop.example/p/shop.abc/alipay"


def login_of(till: AlipayTill) -> AlipayLogin:
    """The login of the till's app."""
    return AlipayLogin(till.config, clock=CLOCK)


def granted(login: AlipayLogin, *, user: str) -> dict[str, str]:
    """What Alipay brings back to our address when `user` opens it."""
    url = httpx.URL(login.authorize_url(redirect_uri=BACK, state="5a5a"))
    answer = httpx.get(url.copy_merge_params({"as": user}), trust_env=False)
    assert answer.status_code == 302, answer.text
    address = urlsplit(answer.headers["location"])
    assert f"https://{address.netloc}{address.path}" == BACK
    return {name: values[0] for name, values in parse_qs(address.query).items()}


@MODES
@pytest.mark.parametrize(
    "user", ["2088000000000007", "074a1CcTG1LelxKe4xQC0zgNdId0nxi95b5lsNpazWYo"]
)
async def test_a_code_names_the_user_and_with_it_the_trade_is_his(
    alipay: AlipayTill, user: str
) -> None:
    login = login_of(alipay)
    told = granted(login, user=user)
    assert (told["state"], told["app_id"], told["scope"]) == ("5a5a", APP, "auth_base")
    assert await login.openid(told["auth_code"]) == user
    order = an_order(PayMethod.JSAPI)
    page = (await alipay.channel.prepay(replace(order, payer_id=user))).page
    assert set(page) == {"tradeNO"}
    alipay.pay(order.order_no)
    assert (await alipay.channel.query(order.order_no)).payer_id == user


async def test_a_code_is_good_once_and_only_when_it_is_one(alipay: AlipayTill) -> None:
    login = login_of(alipay)
    code = granted(login, user="2088000000000007")["auth_code"]
    assert await login.openid(code)
    for wrong in (code, "0" * 32, "", "x", "a b", "c" * 100, "code&app_id=1"):
        with pytest.raises(LoginRefused):
            await login.openid(wrong)


@pytest.mark.parametrize(
    "fault", ["http_500", "drop_answer", "unsigned_answer", "bad_answer_signature"]
)
async def test_an_answer_that_proves_nothing_names_nobody(alipay: AlipayTill, fault: str) -> None:
    login = login_of(alipay)
    code = granted(login, user="2088000000000007")["auth_code"]
    alipay.control("faults", {fault: 1})
    with pytest.raises(Unavailable):
        await login.openid(code)


async def test_a_code_that_alipay_refuses_names_nobody(alipay: AlipayTill) -> None:
    login = login_of(alipay)
    alipay.control("faults", {"code_refused": 1})
    with pytest.raises(LoginRefused):
        await login.openid(granted(login, user="2088000000000007")["auth_code"])
