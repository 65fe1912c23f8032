"""What the bot says to somebody whose account was closed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from bots.view import ClosedView, View


def test_who_was_bound_to_an_account_that_was_closed_is_told_so_and_may_bind_another(
    chat_with: Callable[..., Any], now: datetime
) -> None:
    closed = ClosedView("10010023", now - timedelta(hours=2))
    chat = chat_with(View(service_phone="021-12345678", closed=(closed,)))
    said = chat.say("充值 50")
    assert said.startswith("户号 10010023 已于 08:40 销户")
    assert "绑定户号" in said
    assert chat.effects == []
