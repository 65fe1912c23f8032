"""The hand that breaks things, strike by strike, and mends them at the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

import httpx
import redis

from backend.kernel.errors import Unavailable
from backend.sandbox.answers import NO_ANSWER

from .operators import Office
from .payers import Crowd, Forger
from .schedule import CHANNEL_FAULTS, METER_FAULTS, Hit, Strike
from .tills import TILLS, WECHAT
from .town import Town

_TEND_S = 0.5


class Breaker:
    """Carries out a schedule against a town while a crowd pays."""

    def __init__(self, town: Town, crowd: Crowd) -> None:
        self._town = town
        self._crowd = crowd
        self.forger = Forger(town)
        self.office = Office(town)
        self.done: Counter[Hit] = Counter()
        self.failed: list[str] = []
        self._beside: set[asyncio.Task[None]] = set()

    async def run(self, strikes: Sequence[Strike]) -> None:
        """All strikes, each at its place; payments wait for a strike as strikes wait for payments."""
        tending = asyncio.create_task(self._tend())
        try:
            for strike in strikes:
                await self._crowd.allow(strike.at)
                await self._crowd.reached(strike.at)
                await self._strike(strike)
                self.done[strike.hit] += 1
            await self._crowd.allow(1.0)
            await asyncio.gather(*self._beside)
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND_S)
            await self._town.children.tend()

    async def _strike(self, strike: Strike) -> None:
        town = self._town
        match strike.hit:
            case Hit.KILL:
                await town.children.kill(strike.target)
                await town.children.restart(strike.target)
            case Hit.PG_CRASH:
                await town.crash_postgres()
            case Hit.REDIS_FLUSH:
                await asyncio.to_thread(flush_redis, town.services.valkey.url)
            case Hit.REDIS_RESTART:
                await town.restart_redis()
            case Hit.METER:
                await self._site(f"meters/{strike.target}", {strike.fault: 1})
            case Hit.OFFLINE | Hit.ONLINE:
                offline = strike.hit is Hit.OFFLINE
                await self._site(f"gateways/{strike.target}", {"offline": offline})
            case Hit.CHANNEL:
                url = f"{town.sandbox}/wechat-pay/control/faults"
                await town.tell(url, {strike.fault: 1})
            case Hit.FORGE:
                self._begin(self.forger.forge())
            case Hit.REFUND:
                self._begin(self.office.give_back(strike.target))
            case Hit.LOOK:
                self._begin(self.office.look(strike.target))

    def _begin(self, doing: Coroutine[Any, Any, None]) -> None:
        """Beside what follows: it has to get through the blows like everything else."""

        async def through() -> None:
            try:
                await doing
            except (Unavailable, *NO_ANSWER) as error:
                self.failed.append(str(error))

        self._beside.add(asyncio.create_task(through()))

    async def _site(self, path: str, faults: dict[str, object]) -> None:
        """Turn a switch of the site; one that was killed a moment ago has none to turn."""
        try:
            await self._town.tell(f"{self._town.site}/{path}/faults", faults)
        except httpx.HTTPStatusError:
            raise  # a switch that the site does not know is a mistake of ours
        except NO_ANSWER:
            return

    async def heal(self, *, meters: Sequence[str], gateways: Sequence[str]) -> None:
        """Everything runs, nothing is faulty any more."""
        await self._town.children.tend()
        site = self._town.site
        for serial in meters:
            await self._town.tell(f"{site}/meters/{serial}/faults", dict.fromkeys(METER_FAULTS, 0))
        for serial in gateways:
            await self._town.tell(f"{site}/gateways/{serial}/faults", {"offline": False})
        for till in TILLS.values():
            faults = ("lost_notice",) if till is not WECHAT else (*CHANNEL_FAULTS, "lost_notice")
            control = f"{self._town.sandbox}/{till.path}/control"
            await self._town.tell(f"{control}/faults", dict.fromkeys(faults, 0))


def flush_redis(url: str) -> None:
    """Everything Redis holds is gone."""
    client = redis.Redis.from_url(url)
    try:
        client.flushall()
    finally:
        client.close()
