"""`shuidian simulate`: many seeds of the simulation on one embedded PostgreSQL, two groups a seed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import asyncpg

from backend.kernel.db import Database
from backend.kernel.errors import DomainError
from backend.kernel.failpoints import SimulatedCrash
from backend.kernel.migrate import migrate
from backend.metering.retention import prepare
from backend.sandbox.embedded.services import EmbeddedServices

from .fate import REGISTRY, Fate
from .sim_world import START, Shared
from .simulation import Simulation


@dataclass
class Tally:
    """What a run found. `failed`: seeds with what broke; `traces`: a digest of all that happened, by
    seed, the same each time the seed is played."""

    failed: list[dict[str, Any]] = field(default_factory=list)
    traces: dict[int, str] = field(default_factory=dict)
    passed: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    payments: int = 0
    paid_fen: int = 0
    refunded_fen: int = 0
    crashes: int = 0
    forged_refused: int = 0

    def add(self, other: Tally) -> None:
        """Take in what another process found, of other seeds."""
        self.failed = sorted([*self.failed, *other.failed], key=lambda one: int(one["seed"]))
        self.traces |= other.traces
        self.passed.update(other.passed)
        self.struck.update(other.struck)
        self.payments += other.payments
        self.paid_fen += other.paid_fen
        self.refunded_fen += other.refunded_fen
        self.crashes += other.crashes
        self.forged_refused += other.forged_refused

    @property
    def never_hit(self) -> list[str]:
        """Places of the registry where no process has died."""
        return sorted(REGISTRY - self.struck.keys())

    @property
    def unregistered(self) -> list[str]:
        """Places that were reached and that the registry does not know."""
        return sorted(self.passed.keys() - REGISTRY)

    @property
    def good(self) -> bool:
        """Whether the run may pass."""
        return not (self.failed or self.never_hit or self.unregistered)


async def play_seeds(
    *, app_dsn: str, owner_dsn: str, seeds: range, steps: int, name: str = "s"
) -> Tally:
    """Play every seed on a migrated database; `name` begins the codes of the groups it makes."""
    tally = Tally()
    await Database.open(app_dsn, pool_max=4)
    try:
        await prepare(at=START)  # the database may be of a later day than the seeds
        async with Shared.fresh(owner_dsn=owner_dsn, app_dsn=app_dsn) as shared:
            for seed in seeds:
                await _play(tally, shared, seed, steps, f"{name}{seed}")
    finally:
        await Database.close()
    return tally


async def _play(tally: Tally, shared: Shared, seed: int, steps: int, code: str) -> None:
    played = Simulation(seed, steps, shared, Fate(seed))
    try:
        verdict = await played.play(code=code)
        tally.paid_fen += verdict.paid_fen
        tally.refunded_fen += verdict.refunded_fen
        tally.payments += played.wanted - len(played.wishes)
    except (DomainError, SimulatedCrash, AssertionError, asyncpg.PostgresError) as broken:
        repro = f"shuidian simulate --seed {seed} --seeds 1 --steps {steps}"
        why = f"{type(broken).__name__}: {broken}"
        tally.failed.append({"seed": seed, "why": why, "repro": repro})
    tally.traces[seed] = played.trace.hexdigest()
    tally.passed.update(played.fate.passed)
    tally.struck.update(played.fate.struck)
    tally.crashes += played.crashes
    tally.forged_refused += played.refused


def _play_some(app_dsn: str, owner_dsn: str, seeds: range, steps: int, name: str) -> Tally:
    """What one of several processes does."""
    logging.disable(logging.ERROR)  # crashes and lost answers are the point, their logs are not
    return asyncio.run(
        play_seeds(app_dsn=app_dsn, owner_dsn=owner_dsn, seeds=seeds, steps=steps, name=name)
    )


def _play_all(services: EmbeddedServices, seeds: range, steps: int) -> Tally:
    """Every seed, by as many processes as there are cores; a seed is the same in any company."""
    jobs = min(len(seeds), os.cpu_count() or 1)
    tally = Tally()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(
                _play_some,
                services.app_dsn(),
                services.owner_dsn(),
                seeds[job::jobs],
                steps,
                f"s{job}x",
            )
            for job in range(jobs)
        ]
        for part in parts:
            tally.add(part.result())
    return tally


async def simulate_command(*, first: int, seeds: int, steps: int, as_json: bool) -> int:
    """Run and print; 0 only when no seed broke and every failpoint was struck."""
    logging.disable(logging.ERROR)
    begun = time.monotonic()
    data = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="shuidian-simulate-"))
    await asyncio.to_thread(data.chmod, 0o755)
    services = EmbeddedServices(data, durable=False)
    try:
        await asyncio.to_thread(services.start)
        await services.prepare_database()
        await migrate(services.owner_dsn(), at=START)
        tally = await asyncio.to_thread(_play_all, services, range(first, first + seeds), steps)
    finally:
        await asyncio.to_thread(services.stop)
        await asyncio.to_thread(EmbeddedServices.erase, data)
        await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)
    told = _told(tally, seeds, steps, time.monotonic() - begun)
    sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=None if as_json else 1) + "\n")
    return 0 if tally.good else 1


def _told(tally: Tally, seeds: int, steps: int, seconds: float) -> dict[str, Any]:
    """The line that is printed."""
    return {
        "seeds": seeds,
        "steps": seeds * steps,
        "failed": tally.failed,
        "payments": tally.payments,
        "paid_fen": tally.paid_fen,
        "refunded_fen": tally.refunded_fen,
        "crashes": tally.crashes,
        "forged_refused": tally.forged_refused,
        "failpoints": {name: tally.struck[name] for name in sorted(REGISTRY)},
        "never_hit": tally.never_hit,
        "unregistered": tally.unregistered,
        "seconds": round(seconds, 1),
        "steps_per_second": round(seeds * steps / seconds),
    }
