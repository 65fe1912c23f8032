"""`shuidian chaos`: break the real system while tenants pay, heal it, and let four witnesses compare."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.kernel import logs
from backend.kernel.db import DATABASE_AWAY
from backend.kernel.errors import Unavailable
from backend.sandbox.answers import NO_ANSWER
from backend.sandbox.embedded.services import EmbeddedServices

from . import sums
from .breaker import Breaker
from .payers import Crowd
from .plan import CLOUDS, TENANTS
from .schedule import Hit, payments, strikes
from .town import Town, running_town, until
from .verdict import Verdict, Witnesses, judge, unsettled

_STUCK_AFTER_S = 60.0
_CALM_EVERY_S = 0.3
_PAYERS = 16
METERS = tuple(tenant.home.meter for tenant in TENANTS)
GATEWAYS = tuple(sorted({tenant.site.gateway for tenant in TENANTS}))


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it: kills, crashes of PostgreSQL (as many flushes and restarts of Redis), payments."""

    kills: int
    pg_crashes: int
    payments: int
    seed: int


async def run_chaos(
    size: Size,
    *,
    preload: Sequence[str] = (),
    before_judgement: Callable[[Town], Awaitable[None]] | None = None,
    keep: Path | None = None,
) -> tuple[Verdict, dict[str, Any]]:
    """One run on throw-away data: the verdict, and the figures beside it.

    `preload` and `before_judgement` are for tests that prove that the judge can fail. `keep`: an empty
    folder for data and logs that is not removed.
    """
    data = keep or Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="shuidian-chaos-"))
    await asyncio.to_thread(data.chmod, 0o755)  # as root the servers run as another user
    begun = time.monotonic()
    try:
        async with running_town(data, preload=preload) as town:
            ready = time.monotonic()
            verdict, figures = await _break_and_judge(town, size, before_judgement)
    finally:
        if keep is None:
            await asyncio.to_thread(EmbeddedServices.erase, data)
            await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)
    figures["start_seconds"] = round(ready - begun, 1)
    figures["seconds"] = round(time.monotonic() - begun, 1)
    return verdict, figures


async def _break_and_judge(
    town: Town, size: Size, before_judgement: Callable[[Town], Awaitable[None]] | None
) -> tuple[Verdict, dict[str, Any]]:
    planned = payments(seed=size.seed, tenants=len(TENANTS), count=size.payments)
    blows = strikes(
        seed=size.seed,
        kills=size.kills,
        pg_crashes=size.pg_crashes,
        forgeries=max(12, size.payments // 25),
        meters=METERS,
        gateways=GATEWAYS,
        clouds=[tenant.home.no for tenant in CLOUDS],
    )
    crowd = Crowd(town, planned, payers=_PAYERS)
    breaker = Breaker(town, crowd)
    since, begun = town.ports.clock.now(), time.monotonic()
    await asyncio.gather(crowd.run(), breaker.run(blows))
    broken_for = time.monotonic() - begun
    await until(lambda: _site_up(town), "the site")
    await breaker.heal(meters=METERS, gateways=GATEWAYS)
    healed_after = await calm(town)
    if before_judgement is not None:
        await before_judgement(town)
    grown, sold = await sums.wallets(town)
    paid, back_fen = await sums.channels(town)
    seen = Witnesses(
        paid=paid,
        refunded_fen=back_fen,
        book=await sums.read_book(town.services.app_dsn(), list(town.group_ids.values())),
        grown_fen=grown,
        sold=sold,
        registers_wh=await sums.registers(town),
        bill_fen=await sums.read_bill(town, since),
        baits=frozenset(breaker.forger.orders),
        believed=breaker.forger.believed,
    )
    verdict = judge(seen)
    done = breaker.done
    refused = [*crowd.refused, *breaker.failed]
    figures = {
        "kills": done[Hit.KILL],
        "pg_crashes": done[Hit.PG_CRASH],
        "redis_flushes": done[Hit.REDIS_FLUSH],
        "redis_restarts": done[Hit.REDIS_RESTART],
        "field_faults": done[Hit.METER] + done[Hit.OFFLINE],
        "channel_faults": done[Hit.CHANNEL],
        "payments": len(seen.paid),
        "refunds": breaker.office.refunds,
        "refunds_refused": dict(breaker.office.refused),
        "looks": done[Hit.LOOK],
        "charged_hao": seen.book.charged_hao,
        "forged": breaker.forger.sent,
        "refused": len(refused),
        "ended_alone": town.children.ended_alone,
        "unfinished": dict(seen.book.unfinished),
        "cases": dict(seen.book.cases),
        "broken_seconds": round(broken_for, 1),
        "calm_after_seconds": healed_after,
        "reasons": [*verdict.reasons, *refused[:5]],
    }
    return verdict, figures


async def _site_up(town: Town) -> bool | None:
    try:
        return (await town.http.get(f"{town.site}/gateways")).status_code == 200 or None
    except NO_ANSWER:
        return None


async def calm(town: Town) -> float | None:
    """Seconds from healing until nothing waits any more; None when something still does after a minute."""
    begun = time.monotonic()
    paid, _ = await sums.channels(town)
    group_ids = list(town.group_ids.values())

    async def quiet() -> bool | None:
        try:
            book = await sums.read_book(town.services.app_dsn(), group_ids)
        except DATABASE_AWAY:
            return None
        return unsettled(paid, book) == 0 or None

    try:
        await until(quiet, "calm", within_s=_STUCK_AFTER_S, every_s=_CALM_EVERY_S)
    except Unavailable:
        return None
    return round(time.monotonic() - begun, 1)


async def chaos_command(size: Size, *, as_json: bool, keep: Path | None) -> int:
    """Run and print; the exit code: 0 only at zero difference with nothing lost, doubled or stuck."""
    logs.configure("ERROR")
    verdict, figures = await run_chaos(size, keep=keep)
    told = asdict(verdict) | figures
    good = verdict.good and not figures["refused"]
    sys.stdout.write((json.dumps(told) if as_json else _page(told, good=good)) + "\n")
    return 0 if good else 1


def _page(told: dict[str, Any], *, good: bool) -> str:
    lines = [f"{name:>20}  {value}" for name, value in told.items()]
    return "\n".join([*lines, "", "nothing lost, nothing doubled" if good else "FAILED"])
