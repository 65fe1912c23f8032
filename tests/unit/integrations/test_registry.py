"""The registry of adapters."""

from __future__ import annotations

import pytest

from backend.integrations.registry import DuplicateAdapter, Registry
from backend.kernel.errors import NotFound


def test_a_channel_registered_twice_stops_the_start() -> None:
    registry: Registry[object] = Registry()
    registry.register(name="WECHAT", adapter=object())
    with pytest.raises(DuplicateAdapter):
        registry.register(name="wechat", adapter=object())


def test_a_channel_is_found_by_name_in_any_case_or_not_found() -> None:
    registry: Registry[str] = Registry()
    registry.register(name="SMS", adapter="sms")
    assert registry.get("sms") == "sms"
    assert list(registry) == ["SMS"]
    assert "WECHAT" not in registry
    with pytest.raises(NotFound):
        registry.get("WECHAT")
