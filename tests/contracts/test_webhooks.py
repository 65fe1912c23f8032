"""News to a project's own system, as a receiver checks it; nothing is followed, nothing private is called."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from backend.alerts.webhook_rules import DELIVERY, SIGNATURE, TIMESTAMP, signature
from backend.integrations.webhook_sender import WebhookSender
from backend.kernel.errors import Unavailable

from .conftest import CLOCK
from .serving import control

SECRET = "0123456789abcdef"
NEWS: dict[str, Any] = {"event": "cut", "account": "100001"}
BODY = json.dumps(NEWS).encode()


def headers(*, secret: str = SECRET, age_s: int = 0) -> dict[str, str]:
    """What goes with a body."""
    stamp = str(int(CLOCK.now().timestamp()) - age_s)
    told = signature(secret=secret, timestamp=stamp, body=BODY)
    return {DELIVERY: "cut-1", TIMESTAMP: stamp, SIGNATURE: told}


@pytest.fixture
def receiver(sandbox: str) -> str:
    """The stand-in that knows the secret."""
    url = f"{sandbox}/webhook"
    control(f"{url}/control/secret", {"secret": SECRET})
    return url


def heard(url: str) -> Any:
    """What the receiver took, by delivery."""
    return httpx.get(f"{url}/control/heard", trust_env=False).json()["news"]


async def test_signed_news_is_taken_once_however_often_it_comes(receiver: str) -> None:
    for _ in range(2):
        await WebhookSender(local=True).post(f"{receiver}/news", body=BODY, headers=headers())
    assert heard(receiver) == {"cut-1": NEWS}


@pytest.mark.parametrize("wrong", [headers(secret="another secret 16"), headers(age_s=3600)])
async def test_a_wrong_secret_and_an_old_time_are_not_taken(
    receiver: str, wrong: dict[str, str]
) -> None:
    with pytest.raises(Unavailable, match="401"):
        await WebhookSender(local=True).post(f"{receiver}/news", body=BODY, headers=wrong)
    assert heard(receiver) == {}


@pytest.mark.parametrize(("fault", "says"), [("http_500", "500"), ("redirect", "307")])
async def test_what_is_not_taken_comes_again_and_a_redirect_leads_nowhere(
    receiver: str, fault: str, says: str
) -> None:
    control(f"{receiver}/control/faults", {fault: 1})
    sender = WebhookSender(local=True)
    with pytest.raises(Unavailable, match=says):
        await sender.post(f"{receiver}/news", body=BODY, headers=headers())
    assert heard(receiver) == {}
    await sender.post(f"{receiver}/news", body=BODY, headers=headers())
    assert heard(receiver) == {"cut-1": NEWS}


async def test_in_production_nothing_private_and_nothing_plain_is_called(
    receiver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = WebhookSender(local=False)
    with pytest.raises(Unavailable, match="https"):
        await sender.post(f"{receiver}/news", body=BODY, headers=headers())
    port = httpx.URL(receiver).port
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
        with pytest.raises(Unavailable, match="private"):
            await sender.post(f"https://{host}:{port}/news", body=BODY, headers=headers())

    # A name with a public and a private address: refused as a whole.
    def two_faced(*_: object, **__: object) -> list[Any]:
        return [(0, 0, 0, "", ("93.184.215.14", 443)), (0, 0, 0, "", ("10.0.0.8", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", two_faced)
    with pytest.raises(Unavailable, match="private"):
        await sender.post("https://two-faced.example/", body=BODY, headers=headers())
    assert heard_before(receiver, monkeypatch) == {}


def heard_before(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What was heard, with names looked up as ever."""
    monkeypatch.undo()
    return heard(url)


async def test_nobody_there_is_tried_again_later() -> None:
    with pytest.raises(Unavailable, match="did not answer"):
        await WebhookSender(local=True).post("http://127.0.0.1:9/", body=BODY, headers=headers())
