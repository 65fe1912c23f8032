"""Who opened our page inside WeChat: a code is exchanged for the openid (snsapi_base, silent)."""

from __future__ import annotations

import asyncio
from typing import Any

import requests
from wechatpy.exceptions import WeChatOAuthException
from wechatpy.oauth import WeChatOAuth

from backend.integrations.http_session import BoundedSession
from backend.integrations.wechat_account import WechatAccountConfig
from backend.journeys.ports import LoginRefused as LoginRefused
from backend.kernel.errors import Unavailable

_LATER = frozenset({-1, 40013, 40125, 40164, 45009, 45011, 50002})


class WechatLogin:
    """OAuth of one official account; base addresses come from its config."""

    def __init__(self, config: WechatAccountConfig, /) -> None:
        self._config = config

    def authorize_url(self, *, redirect_uri: str, state: str) -> str:
        """Where to send the browser; it comes back to `redirect_uri` with `code` and `state`."""
        return str(self._oauth(redirect_uri=redirect_uri, state=state).authorize_url)

    async def openid(self, code: str, /) -> str:
        """The openid behind a code (single use, five minutes). Raises LoginRefused, Unavailable.

        The call's address holds the app secret, so provider errors are not chained into ours.
        """
        oauth = self._oauth(redirect_uri="", state="")
        try:
            answer = await asyncio.to_thread(oauth.fetch_access_token, code)
        except WeChatOAuthException as error:
            if error.errcode is None or error.errcode in _LATER:
                raise Unavailable(f"WeChat cannot log in now (errcode {error.errcode})") from None
            raise LoginRefused(f"WeChat refused the code (errcode {error.errcode})") from None
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"WeChat did not answer ({type(error).__name__})") from None
        # A snapshot page (快照页) comes with a virtual openid that is nobody's.
        if answer.get("is_snapshotuser") in (1, "1", True):
            raise LoginRefused("a snapshot visitor has no openid")
        found = answer.get("openid")
        if not isinstance(found, str) or not found:
            raise Unavailable("WeChat named no openid")
        return found

    def _oauth(self, *, redirect_uri: str, state: str) -> Any:
        """wechatpy's OAuth object, pointed to the configured addresses."""
        config = self._config
        oauth = WeChatOAuth(
            config.appid, config.secret, redirect_uri, scope="snsapi_base", state=state
        )
        oauth.API_BASE_URL = config.base_url.rstrip("/") + "/"
        oauth.OAUTH_BASE_URL = config.oauth_base_url.rstrip("/") + "/connect/"
        oauth._http = BoundedSession()
        return oauth
