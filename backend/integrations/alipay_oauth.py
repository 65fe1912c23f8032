"""Who opened our page inside Alipay: an auth code is exchanged for the user's id (auth_base, silent).

Newer apps get an open id, which is the app's own, older ones the user id (2088..); both are taken as
they come (reference/channels.md section 3.2 [mirror]).
"""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlencode

from backend.integrations.alipay_config import AlipayConfig
from backend.integrations.alipay_wire import AlipayWire
from backend.journeys.ports import LoginRefused
from backend.kernel.clock import Clock
from backend.kernel.errors import Unavailable

# What Alipay gives out; anything else would be sent back to Alipay as a payer.
_CODE = re.compile(r"^[0-9A-Za-z_-]{8,64}$")
_ID = re.compile(r"^[0-9A-Za-z_-]{8,128}$")


class AlipayLogin:
    """Implements backend.journeys.ports.VisitorLogin for one app."""

    def __init__(self, config: AlipayConfig, /, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._wire = AlipayWire(config)

    def authorize_url(self, *, redirect_uri: str, state: str) -> str:
        """Where to send the browser; it comes back to `redirect_uri` with `auth_code` and `state`."""
        asked = {
            "app_id": self._config.app_id,
            "scope": "auth_base",
            "redirect_uri": redirect_uri,
            "state": state,
        }
        root = self._config.oauth_base_url.rstrip("/")
        return f"{root}/oauth2/publicAppAuthorize.htm?{urlencode(asked)}"

    async def openid(self, code: str, /) -> str:
        """The open id or user id behind a code (single use). Raises LoginRefused, Unavailable."""
        if _CODE.match(code) is None:
            raise LoginRefused("this is no code of Alipay's")
        at = self._clock.now()
        told = await asyncio.to_thread(self._wire.visitor, code, at=at)
        if told is None:
            raise LoginRefused("Alipay refused the code")
        found = told.get("open_id") or told.get("user_id")
        if not isinstance(found, str) or _ID.match(found) is None:
            raise Unavailable("Alipay named no user")
        return found
