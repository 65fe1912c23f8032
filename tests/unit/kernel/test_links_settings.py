"""Where lines are held: loopback and DTUs by default, the weak protocols only when asked for."""

from __future__ import annotations

import base64
import os

import pytest

from backend.kernel.errors import InvalidInput
from backend.kernel.settings import read_settings

GOOD = {
    "SHUIDIAN_ENV": "test",
    "SHUIDIAN_PUBLIC_URL": "http://127.0.0.1:8000",
    "SHUIDIAN_DATABASE_URL": "postgresql://db/shuidian",
    "SHUIDIAN_REDIS_URL": "redis://cache/0",
    "SHUIDIAN_SECRET_KEYS": f"1:{base64.b64encode(os.urandom(32)).decode()}",
}


def test_without_a_word_the_door_is_on_loopback_and_acrels_ports_are_closed() -> None:
    settings = read_settings(GOOD)
    assert settings.links_door == ("127.0.0.1", 7100)
    assert settings.dtu_listen == ("0.0.0.0", 7101)
    assert (settings.acrel_gateway_listen, settings.acrel_4g_listen) == (None, None)
    assert settings.links_token == ""


def test_places_are_read_and_emptied_and_the_token_is_not_shown() -> None:
    places = {
        "SHUIDIAN_LINKS_DOOR": "links:9000",
        "SHUIDIAN_LINKS_TOKEN": "a-token-of-some-length",
        "SHUIDIAN_DTU_LISTEN": "",
        "SHUIDIAN_ACREL_GATEWAY_LISTEN": "[::]:9001",
        "SHUIDIAN_ACREL_4G_LISTEN": "0.0.0.0:0",
    }
    settings = read_settings(GOOD | places)
    assert settings.links_door == ("links", 9000)
    assert settings.dtu_listen is None
    assert settings.acrel_gateway_listen == ("::", 9001)
    assert settings.acrel_4g_listen == ("0.0.0.0", 0)
    assert "a-token" not in repr(settings)


@pytest.mark.parametrize(
    "text", ["9000", ":9000", "host:", "host:-1", "host:65536", "host:²", "[]:1"]
)
@pytest.mark.parametrize("name", ["SHUIDIAN_LINKS_DOOR", "SHUIDIAN_ACREL_4G_LISTEN"])
def test_what_is_no_place_is_named(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=name) as refused:
        read_settings(GOOD | {name: text})
    assert refused.value.field == name
