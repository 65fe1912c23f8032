"""A wrong setting is named; production takes no plain-http address; secrets stay out of repr."""

from __future__ import annotations

import base64
import os

import pytest

from backend.kernel.errors import InvalidInput
from backend.kernel.settings import parse_keys, read_settings

KEY = base64.b64encode(os.urandom(32)).decode()
GOOD = {
    "SHUIDIAN_ENV": "production",
    "SHUIDIAN_PUBLIC_URL": "https://sd.example.com/",
    "SHUIDIAN_DATABASE_URL": "postgresql://app:db-pass@db/shuidian",
    "SHUIDIAN_REDIS_URL": "redis://cache/0",
    "SHUIDIAN_SECRET_KEYS": f"1:{KEY}",
}


def test_good_settings_are_read() -> None:
    settings = read_settings(GOOD)
    assert settings.production
    assert settings.public_url == "https://sd.example.com"
    assert settings.secret_keys == {1: base64.b64decode(KEY)}
    assert (settings.owner_database_url, settings.log_level) == (None, "INFO")


def test_how_many_connections_a_process_holds_is_its_own_measure_unless_it_is_told() -> None:
    assert read_settings(GOOD).pool_max is None
    assert read_settings(GOOD | {"SHUIDIAN_POOL_MAX": ""}).pool_max is None
    assert read_settings(GOOD | {"SHUIDIAN_POOL_MAX": "6"}).pool_max == 6


def test_without_a_word_the_environment_is_production() -> None:
    assert read_settings({k: v for k, v in GOOD.items() if k != "SHUIDIAN_ENV"}).production


def test_settings_show_no_secret() -> None:
    shown = repr(
        read_settings(GOOD | {"SHUIDIAN_OWNER_DATABASE_URL": "postgresql://o:own-pass@db"})
    )
    for secret in ("db-pass", "own-pass", KEY, repr(base64.b64decode(KEY))):
        assert secret not in shown


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"SHUIDIAN_ENV"}))
def test_a_missing_variable_is_named(name: str) -> None:
    for environ in ({k: v for k, v in GOOD.items() if k != name}, GOOD | {name: ""}):
        with pytest.raises(InvalidInput, match=name) as refused:
            read_settings(environ)
        assert refused.value.field == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHUIDIAN_ENV", "staging"),
        ("SHUIDIAN_PUBLIC_URL", "http://sd.example.com"),
        ("SHUIDIAN_WECHAT_PAY_URL", "http://127.0.0.1:9000"),
        ("SHUIDIAN_WECHAT_URL", "ftp://x"),
        ("SHUIDIAN_SMS_URL", "localhost"),
        ("SHUIDIAN_POOL_MAX", "1"),
        ("SHUIDIAN_POOL_MAX", "201"),
        ("SHUIDIAN_POOL_MAX", "many"),
        pytest.param("SHUIDIAN_SECRET_KEYS", KEY, id="keys without a version"),
    ],
)
def test_a_wrong_variable_is_named_and_production_refuses_plain_http(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=name) as refused:
        read_settings(GOOD | {name: value})
    assert refused.value.field == name


@pytest.mark.parametrize("environment", ["demo", "test"])
def test_stand_ins_on_plain_http_are_fine_outside_production(environment: str) -> None:
    http = {"SHUIDIAN_ENV": environment, "SHUIDIAN_SMS_URL": "http://127.0.0.1:9000/"}
    settings = read_settings(GOOD | http | {"SHUIDIAN_PUBLIC_URL": "http://127.0.0.1:8000"})
    assert not settings.production
    assert settings.provider_urls == {"SMS": "http://127.0.0.1:9000"}


def test_versioned_keys_are_read() -> None:
    other = base64.b64encode(os.urandom(32)).decode()
    keys = parse_keys(f"1:{KEY}, 12:{other}")
    assert keys == {1: base64.b64decode(KEY), 12: base64.b64decode(other)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        KEY,
        f"one:{KEY}",
        f"0:{KEY}",
        f"-1:{KEY}",
        f"²:{KEY}",
        f"65536:{KEY}",
        f"1:{KEY},1:{KEY}",
        f"1:{KEY},",
        "1:",
        "1:钥匙",
        "1:" + base64.b64encode(os.urandom(31)).decode(),
        "1:" + base64.b64encode(os.urandom(16)).decode(),
    ],
    ids=[
        *("empty", "no version", "a word for a version", "version zero", "negative", "superscript"),
        *("too high", "twice", "trailing comma", "no key", "not base64", "31 bytes", "16 bytes"),
    ],
)
def test_keys_of_another_shape_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InvalidInput, match="SHUIDIAN_SECRET_KEYS") as refused:
        parse_keys(text)
    assert KEY not in refused.value.message
