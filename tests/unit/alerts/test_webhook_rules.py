"""A webhook's address leads to the public internet, and its signature is what receivers compute."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from backend.alerts.webhook_rules import check_webhook, is_public, signature
from backend.kernel.errors import InvalidInput

SECRET = "0123456789abcdef"


def test_the_signature_is_hmac_sha256_of_time_and_body() -> None:
    # By `printf '1764000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef`.
    told = signature(secret=SECRET, timestamp="1764000000", body=b'{"a":1}')
    assert told == "sha256=19b692a3b3faad0515d4b643aa46cb06d55d8258053f2ffb472c2134aa59171c"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.8", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fd00::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::"),
    ],
)
def test_an_inner_address_is_not_public_however_it_is_written(address: str) -> None:
    assert not is_public(ip_address(address))
    url = f"https://[{address}]/" if ":" in address else f"https://{address}/"
    with pytest.raises(InvalidInput, match="private"):
        check_webhook(url=url, secret=SECRET, local=False)
    check_webhook(url=url, secret=SECRET, local=True)


@pytest.mark.parametrize("address", ["8.8.8.8", "2400:3200::1", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("http://a.example/n", "ftp://a.example/n", "https:///n", "a.example", ""),
        *("https://u:p@a.example/", "https://a.example/#x", "https://a.example:0/"),
        *("https://a.example:99999/", "https://a.example/a b", "https://a.example/\r\nX: 1"),
        *("https://localhost/n",),
    ],
)
def test_what_is_no_public_https_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_webhook(url=url, secret=SECRET, local=False)
    assert refused.value.field == "url"


def test_a_short_secret_is_refused_and_a_sandbox_may_use_http() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_webhook(url="https://a.example/n", secret="short", local=False)
    assert refused.value.field == "secret"
    check_webhook(url="https://a.example:8443/n?x=1", secret=SECRET, local=False)
    check_webhook(url="http://127.0.0.1:8000/n", secret=SECRET, local=True)
