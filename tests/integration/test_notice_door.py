"""The door for notices: the real adapter behind it, the stand-in that signs before it (C5)."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette

from backend.callbacks.payment_notice import notice_routes
from backend.journeys.notice import settle_notice
from backend.kernel import failpoints
from backend.kernel.db import unit_of_work
from backend.kernel.failpoints import Moment, Place, SimulatedCrash
from backend.topups.queries import Order
from backend.topups.rules import Channel

from .test_ask_channel import Shop, shop_of
from .test_settle import NOTHING, ONE_SALE, effects
from .world import World

Headers = dict[str, str]
PATH = "/notice/{group_id:int}/{credential_id:uuid}"


@dataclass(frozen=True, slots=True)
class Door:
    """The door of a group's merchant account, and a true notice of a payment of 50 yuan."""

    shop: Shop
    order: Order
    headers: Headers
    body: bytes

    async def post(self, headers: Headers, body: bytes) -> int:
        """The status of what the door answers. Raises SimulatedCrash."""
        routes = notice_routes(self.shop.ports, paths={Channel.WECHAT_PAY: PATH})
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            path = f"/notice/{self.shop.world.group_id}/{self.order.credential_id}"
            return (await client.post(path, content=body, headers=headers)).status_code

    async def inbox(self) -> list[UUID]:
        """The notices that are kept."""
        async with unit_of_work(self.shop.world.group_id) as work:
            return [row["id"] for row in await work.fetch("SELECT id FROM outbox_inbox")]

    async def settle(self) -> None:
        """Settle the one notice that is kept, as the worker does. Raises SimulatedCrash."""
        (inbox_id,) = await self.inbox()
        await settle_notice(self.shop.ports, group_id=self.shop.world.group_id, inbox_id=inbox_id)


@pytest.fixture
async def door(worlds: tuple[World, World]) -> AsyncIterator[Door]:
    """An order that was paid; its notice is not sent yet."""
    async with shop_of(worlds[0]) as shop:
        order = await shop.order()
        named: dict[str, object] = {"out_trade_no": order.order_no}
        await shop.control("/faults", {"lost_notice": 1})
        await shop.control("/pay", named)
        async with httpx.AsyncClient(base_url=f"{shop.sandbox}/control") as client:
            made = (await client.post("/notice", json=named)).json()
        headers = {name.lower(): value for name, value in made["headers"].items()}
        yield Door(shop, order, headers, made["body"].encode())
    assert await effects(worlds[1]) == NOTHING


@contextmanager
def killed(function: str, moment: Moment) -> Iterator[None]:
    """The process dies where `function` commits."""

    def strike(place: Place, reached: Moment) -> None:
        if (place.function, reached) == (function, moment):
            raise SimulatedCrash(str(place))

    with failpoints.armed(strike), pytest.raises(SimulatedCrash):
        yield


@pytest.mark.parametrize("moment", Moment)
async def test_killed_at_the_commit_of_a_notice_it_is_told_again_and_sold_for_once(
    door: Door, moment: Moment
) -> None:
    """Right after it: kept, and the channel has heard no answer, so it says the same again."""
    world = door.shop.world
    with killed("store_notice", moment):
        await door.post(door.headers, door.body)
    assert len(await door.inbox()) == (moment is Moment.COMMITTED)
    for _ in range(2):
        assert await door.post(door.headers, door.body) == 204
    with killed("_settle_all", moment):
        await door.settle()
    for _ in range(2):
        await door.settle()
    assert await effects(world) == ONE_SALE


def _without(name: str) -> Callable[[Headers, bytes], tuple[Headers, bytes]]:
    return lambda headers, body: ({k: v for k, v in headers.items() if k != name}, body)


def _with(name: str, value: str) -> Callable[[Headers, bytes], tuple[Headers, bytes]]:
    return lambda headers, body: (headers | {name: value}, body)


_SIGNATURE = "wechatpay-signature"
_FORGED: dict[str, Callable[[Headers, bytes], tuple[Headers, bytes]]] = {
    "missing": _without(_SIGNATURE),
    "empty": _with(_SIGNATURE, ""),
    "another's": _with(_SIGNATURE, "A" * 344),
    "right, over a body written anew": lambda headers, body: (
        headers,
        json.dumps(json.loads(body), indent=1).encode(),
    ),
}


def _counted(outcome: str) -> float:
    labels = {"channel": "WECHAT_PAY", "outcome": outcome}
    return REGISTRY.get_sample_value("shuidian_payment_notices_total", labels) or 0.0


async def test_an_unproved_notice_is_refused_kept_nowhere_and_alarms_unless_it_is_a_probe(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    rejected, probes = _counted("rejected"), _counted("probe")
    for change in _FORGED.values():
        assert await door.post(*change(door.headers, door.body)) == 401
    assert (_counted("rejected") - rejected, len(caplog.records)) == (len(_FORGED),) * 2
    probe = _with(_SIGNATURE, "WECHATPAY/SIGNTEST/" + door.headers[_SIGNATURE])
    assert await door.post(*probe(door.headers, door.body)) == 401
    assert (_counted("probe") - probes, _counted("rejected") - rejected) == (1, len(_FORGED))
    assert len(caplog.records) == len(_FORGED), "nobody is told of a probe"
    assert await door.inbox() == []
    assert await effects(door.shop.world) == NOTHING
    assert await door.post(door.headers, door.body) == 204
