"""`shuidian demo-check`: the main job without a person, through the public edges only.

A tenant binds, asks the balance, asks for a top-up and pays; then the channel, the book, the meter's
own wallet and the tenant's chat must agree. Prints one JSON line; exit 0 only if they do.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from backend.kernel.errors import Unavailable
from backend.kernel.money import Money
from backend.sandbox.embedded.child import free_port
from backend.sandbox.embedded.services import EmbeddedServices

from .plan import HQ

SITE = HQ.sites[0]
HOME = SITE.homes[0]
AMOUNT = Money.of_fen(5000)
_WAIT_S = 60.0
_STEP_S = 0.2


async def run_check(*, data: Path | None) -> int:
    """Start a demo of its own (in `data`, or a folder that is removed), do the job, stop it."""
    folder = data or Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="shuidian-check-"))
    if data is None:
        await asyncio.to_thread(folder.chmod, 0o755)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backend.cli", "demo", "--json"),
        *("--data", str(folder), "--port", str(free_port())),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if not line:
            raise Unavailable("the demo did not start")
        figures = await _main_job(json.loads(line))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        if data is None:
            await asyncio.to_thread(EmbeddedServices.erase, folder)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0 if agrees(figures) else 1


def agrees(figures: Mapping[str, Any]) -> bool:
    """Whether channel, book, meter and message say the same."""
    return (
        figures["paid_fen"] == figures["ledger_fen"] == figures["meter_fen"] == AMOUNT.fen
        and figures["purchase_count"] == 1
        and figures["relay"] == "closed"
        and figures["message_sent"] is True
    )


async def _main_job(world: Mapping[str, Any]) -> dict[str, Any]:
    begun = time.monotonic()
    async with httpx.AsyncClient(timeout=15) as client:
        person = _Person(client, world)
        before = await person.meter()
        await person.bind()
        await person.say("余额")
        link = await person.ask_for_link()
        order_no = await person.pay(link)
        await person.until_credited(order_no)
        after = await person.meter()
        return {
            "paid_fen": await person.paid_fen(order_no),
            "ledger_fen": await person.ledger_fen(),
            "meter_fen": sum(Money.parse(sale["amount"]).fen for sale in after["sales"]),
            "purchase_count": after["purchase_count"] - before["purchase_count"],
            "relay": after["relay"].lower(),
            "message_sent": await person.was_told(),
            "seconds": round(time.monotonic() - begun, 1),
        }


class _Person:
    """A tenant with a phone, and an operator who looks."""

    def __init__(self, client: httpx.AsyncClient, world: Mapping[str, Any]) -> None:
        self._client = client
        self._world = world

    async def say(self, text: str) -> str:
        """Write to the official account; returns what it answers."""
        body = {"appid": HQ.app_id, "openid": HOME.openid, "text": text}
        answer = await self._post(f"{self._world['sandbox']}/wechat/control/say", body)
        return str(answer["reply"] or "")

    async def bind(self) -> None:
        """户号, then the code from the SMS box."""
        await self.say(f"绑定 {HOME.no}")
        url = f"{self._world['sandbox']}/sms/control/inbox"

        async def code() -> str | None:
            answer = await self._client.get(url, params={"phone": HOME.phone})
            messages = answer.json()["messages"]
            return messages[-1]["params"]["code"] if messages else None

        await self.say(await _until(code, "the binding code by SMS"))

    async def ask_for_link(self) -> str:
        """充值 50: the answer holds a link and charges nothing."""
        reply = await self.say("充值 50")
        found = re.search(r"https?://\S+/p/(\S+)", reply)
        if found is None:
            raise Unavailable(f"no pay link in the answer: {reply}")
        return found.group(1)

    async def pay(self, link: str) -> str:
        """Start the order on the pay page's own query and pay at the stand-in; returns its number."""
        started = await self._graphql(
            "mutation($token: String!, $key: String!) {"
            ' startTopUpByLink(token: $token, amount: "50.00", method: H5, idempotencyKey: $key) {'
            " __typename ... on TopUpStarted { topUp { orderNo } page { key value } }"
            " ... on Problem { message } } }",
            {"token": link, "key": f"demo-check-{link[-8:]}"},
        )
        order_no = str(started["startTopUpByLink"]["topUp"]["orderNo"])
        url = f"{self._world['sandbox']}/wechat-pay/control/pay"
        await self._post(url, {"out_trade_no": order_no, "openid": HOME.openid})
        return order_no

    async def until_credited(self, order_no: str) -> None:
        """Wait until GraphQL says that the meter is credited and the power is on."""

        async def credited() -> bool | None:
            account = await self._account()
            tops = [edge["node"] for edge in account["topUps"]["edges"]]
            mine = next((top for top in tops if top["orderNo"] == order_no), None)
            return True if mine and mine["meterCredit"] == "CREDITED" else None

        await _until(credited, "the meter's credit")

    async def paid_fen(self, order_no: str) -> int:
        """What the channel says was paid."""
        answer = await self._client.get(f"{self._world['sandbox']}/wechat-pay/control/orders")
        orders = [o for o in answer.json()["orders"] if o["out_trade_no"] == order_no]
        return sum(int(order["total"]) for order in orders if order["paid_at"])

    async def ledger_fen(self) -> int:
        """What the book says the account's meters hold."""
        return Money.parse((await self._account())["ledger"]["atMeters"]).fen

    async def meter(self) -> dict[str, Any]:
        """The meter on the wall, from its own memory."""
        answer = await self._client.get(f"{self._world['site']}/meters/{HOME.meter}")
        found: dict[str, Any] = answer.json()
        return found

    async def was_told(self) -> bool:
        """Whether 充值到账 reached the tenant's chat."""
        url = f"{self._world['sandbox']}/wechat/control/inbox"
        params = {"appid": HQ.app_id, "openid": HOME.openid}

        async def told() -> bool | None:
            messages = (await self._client.get(url, params=params)).json()["messages"]
            return any("充值到账" in str(message.get("text")) for message in messages) or None

        return bool(await _until(told, "the message"))

    async def _account(self) -> dict[str, Any]:
        operator = self._world["operators"][0]
        token = await self._graphql(
            "mutation($login: String!, $password: String!) {"
            " login(login: $login, password: $password) { ... on SignedIn { token } } }",
            {"login": operator["login"], "password": operator["password"]},
        )
        answer = await self._graphql(
            "query($no: String!) { account(no: $no) { ledger { atMeters }"
            " topUps(first: 5) { edges { node { orderNo meterCredit } } } } }",
            {"no": HOME.no},
            bearer=token["login"]["token"],
        )
        found: dict[str, Any] = answer["account"]
        return found

    async def _graphql(
        self, query: str, variables: Mapping[str, str], bearer: str | None = None
    ) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        answer = await self._client.post(
            self._world["graphql"],
            json={"query": query, "variables": dict(variables)},
            headers=headers,
        )
        body = answer.json()
        if body.get("errors"):
            raise Unavailable(f"GraphQL: {body['errors'][0]['message']}")
        data: dict[str, Any] = body["data"]
        return data

    async def _post(self, url: str, body: Mapping[str, object]) -> dict[str, Any]:
        answer = await self._client.post(url, json=dict(body))
        if answer.status_code >= 400:
            raise Unavailable(f"{url}: {answer.text[:300]}")
        told: dict[str, Any] = answer.json()
        return told


async def _until(ask: Any, what: str) -> Any:
    """Ask until there is an answer. Raises Unavailable after a minute."""
    for _ in range(int(_WAIT_S / _STEP_S)):
        found = await ask()
        if found is not None:
            return found
        await asyncio.sleep(_STEP_S)
    raise Unavailable(f"{what} did not come within {_WAIT_S:.0f} s")
