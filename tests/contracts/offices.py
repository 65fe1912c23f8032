"""An official account at the WeChat stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from backend.alerts.template_rules import MessageTemplate
from backend.integrations.wechat_account import (
    ProcessTokenStore,
    TokenStore,
    WechatAccountConfig,
)
from backend.integrations.wechat_message import WechatMessenger
from backend.kernel.clock import SystemClock

from .serving import control

LOW = MessageTemplate("T-LOW", {"thing1": "place", "amount2": "balance"}, url="https://a.example/t")


@dataclass(frozen=True)
class Office:
    """An official account at the stand-in."""

    url: str
    config: WechatAccountConfig

    def control(self, name: str, **body: Any) -> Any:
        """POST to a control endpoint of the WeChat stand-in."""
        return control(f"{self.url}/control/{name}", body)

    def get(self, name: str, **query: str) -> Any:
        """GET a control endpoint."""
        return httpx.get(f"{self.url}/control/{name}", params=query, trust_env=False).json()

    def fetches(self) -> dict[str, int]:
        """Token fetches so far: plain and forced."""
        counts: dict[str, int] = self.get("stats")["token_fetches"][self.config.appid]
        return counts

    def inbox(self, openid: str = "o-zhang") -> list[dict[str, Any]]:
        """What the person received."""
        found: list[dict[str, Any]] = self.get("inbox", openid=openid)["messages"]
        return found

    def opens_chat(self) -> None:
        """The person writes, so a chat text may be sent (the callback is not there: no reply)."""
        self.control("say", openid="o-zhang", text="余额")

    def messenger(self, store: TokenStore | None = None) -> WechatMessenger:
        """A messenger, with a token store of its own unless one is given."""
        return WechatMessenger(
            self.config, token_store=store or ProcessTokenStore(clock=SystemClock())
        )
