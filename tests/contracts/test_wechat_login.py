"""Login by WeChat: the browser's code becomes an openid, once."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from backend.integrations.wechat_oauth import LoginRefused, WechatLogin
from backend.kernel.errors import Unavailable

from .offices import Office


def _visit(login: WechatLogin, **more: str) -> dict[str, list[str]]:
    """What comes back to the shop when somebody opens the page."""
    url = login.authorize_url(redirect_uri="https://shop.example/back?t=1", state="s-1")
    answer = httpx.get(f"{url.split('#')[0]}&{urlencode(more)}", trust_env=False)
    assert answer.status_code == 302
    target = urlsplit(answer.headers["location"])
    assert (target.netloc, target.path) == ("shop.example", "/back")
    return parse_qs(target.query)


async def test_a_visitor_is_known_by_openid_and_the_state_comes_back(office: Office) -> None:
    login = WechatLogin(office.config)
    came = _visit(login, **{"as": "o-li"})
    assert came["state"] == ["s-1"]
    assert came["t"] == ["1"]
    assert await login.openid(came["code"][0]) == "o-li"


async def test_a_code_works_once(office: Office) -> None:
    login = WechatLogin(office.config)
    code = _visit(login, **{"as": "o-li"})["code"][0]
    await login.openid(code)
    with pytest.raises(LoginRefused, match="40163"):
        await login.openid(code)
    with pytest.raises(LoginRefused, match="40029"):
        await login.openid("made-up")


async def test_a_snapshot_visitor_is_nobody(office: Office) -> None:
    office.control("faults", snapshot_user=1)
    login = WechatLogin(office.config)
    code = _visit(login, **{"as": "o-li"})["code"][0]
    with pytest.raises(LoginRefused, match="snapshot"):
        await login.openid(code)


async def test_a_new_browser_is_asked_who_it_is(office: Office) -> None:
    url = WechatLogin(office.config).authorize_url(redirect_uri="https://a.example/", state="")
    async with httpx.AsyncClient(trust_env=False) as browser:
        page = await browser.get(url.split("#")[0])
    assert page.status_code == 200
    assert "o-sandbox-zhang" in page.text


async def test_an_outage_shows_no_secret(office: Office) -> None:
    login = WechatLogin(replace(office.config, base_url="http://127.0.0.1:9"))
    with pytest.raises(Unavailable) as unavailable:
        await login.openid("c")
    error: BaseException | None = unavailable.value
    assert office.config.secret not in str(error)
    assert error is not None
    assert error.__cause__ is None
    assert error.__suppress_context__
