"""`shuidian simulate --policy`: many sites on a virtual clock, judged by an oracle that does not decide.

A site is a project of forty meters for ten days; its fate is a seed of its own, so a breach is found again by
its site alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from backend.control.command_rules import CommandKind
from backend.control.supply_rules import MoneyIn
from backend.kernel.clock import CHINA

from .policy_clock import Lane, Loop
from .policy_engine import Engine
from .policy_fate import Fate, Fault
from .policy_life import Life
from .policy_oracle import Found, Oracle
from .policy_worker import Worker
from .policy_world import DAY_S, HOUR_S, PERIOD_S, Gateway, Meter, Purse, Site

METERS, GATEWAYS, DAYS = 40, 4, 10
_FIRST = datetime(2026, 9, 1, tzinfo=CHINA)
_YUAN = 10_000
_HABITS = ("early",) * 4 + ("late",) * 8 + ("racing",) * 4 + ("never",) * 2
_CHANNELS: Sequence[tuple[str, ...]] = (
    ("WECHAT", "SMS"), ("WECHAT",), ("ALIPAY", "SMS"), ("SMS",), ("WECHAT", "ALIPAY", "SMS"), (),
)  # fmt: skip


@dataclass
class Tally:
    """What all sites of a run found, and how often each fault struck."""

    found: Found = field(default_factory=Found)
    struck: Counter[Fault] = field(default_factory=Counter)
    sites: int = 0
    seconds: float = 0.0

    @property
    def never_struck(self) -> list[str]:
        """Faults of which this run proves nothing."""
        return sorted(set(Fault) - self.struck.keys())

    @property
    def breaches(self) -> int:
        """Everything that may not happen, together."""
        found = self.found
        return (
            found.wrongful_trips
            + found.missed_trips
            + found.late_commands
            + found.keep_power_broken
            + found.others.total()
        )

    @property
    def good(self) -> bool:
        """Whether the run may pass: no breach, every fault struck, and there was something to judge."""
        return not (self.breaches or self.never_struck) and bool(
            self.found.trips and self.found.restores
        )


def play_site(seed: int, number: int) -> tuple[Found, Counter[Fault]]:
    """One site from its first midnight to its last."""
    fate, loop = Fate(f"{seed}/{number}"), Loop()
    site = _site(fate.draw, loop)
    oracle = Oracle(site, f"seed {seed} site {number}")
    engine = Engine(site, loop, fate, oracle)
    worker = Worker(engine, loop, fate, oracle)
    life = Life(engine, worker, loop, fate, oracle)
    oracle.on_asked, oracle.on_cut = life.asked, life.cut
    for gateway in site.gateways:
        first = fate.draw.uniform(1, PERIOD_S)
        loop.at(first, partial(worker.sweep, gateway))
    for meter in site.meters:
        if meter.off_from is not None:
            fate.note(Fault.TIMETABLE)
            for day in range(site.days):
                for second in (meter.off_from, meter.off_to):
                    loop.at(day * DAY_S + second, partial(engine.mark, meter))
    life.begin()
    loop.run(site.days * DAY_S)
    return oracle.found, fate.struck


def _site(draw: Random, loop: Loop) -> Site:
    gateways = [Gateway(no, no % 2 == 1, Lane(loop)) for no in range(GATEWAYS)]
    meters: list[Meter] = []
    purses: list[Purse] = []
    for no in range(METERS):
        money = MoneyIn.CLOUD
        if no % 10 == 9:
            money = MoneyIn.METER if no % 20 == 9 else MoneyIn.NONE
        purse = None
        if money is MoneyIn.CLOUD:
            if no % 8 != 1:
                purses.append(_purse(draw, len(purses)))
            purse = purses[-1]  # each eighth household has two meters
        gateway = gateways[no % GATEWAYS]
        closes = CommandKind.CLOSE if draw.random() < 0.7 else CommandKind.KEEP_POWER
        meter = Meter(no, gateway, purse, money, draw.randint(200, 1800), closes)
        if draw.random() < 0.06:
            meter.off_from, meter.off_to = draw.choice(
                ((23 * HOUR_S, 6 * HOUR_S), (13 * HOUR_S, 14 * HOUR_S))
            )
        gateway.meters.append(meter)
        meters.append(meter)
        if purse is not None:
            purse.meters.append(meter)
    return Site(
        begins=_FIRST + timedelta(days=draw.randrange(27)),
        days=DAYS,
        opens=draw.choice((8, 9, 10)) * HOUR_S,
        closes=draw.choice((16, 17, 20)) * HOUR_S,
        notice=draw.choice((4, 12, 24)) * HOUR_S,
        alarm=draw.choice((5, 10)) * _YUAN,
        gateways=gateways,
        meters=meters,
        purses=purses,
    )


def _purse(draw: Random, no: int) -> Purse:
    balance = draw.randint(5, 60) * _YUAN
    overdraft = draw.choice((0, 0, 5 * _YUAN, 10 * _YUAN))
    return Purse(no, balance, draw.choice(_HABITS), draw.choice(_CHANNELS), overdraft, balance)


def play(*, seed: int, meter_days: int) -> Tally:
    """As many whole sites as make up the meter-days, one after another: the same each time."""
    begun = time.monotonic()
    tally = Tally(sites=-(-meter_days // (METERS * DAYS)))
    for number in range(tally.sites):
        found, struck = play_site(seed, number)
        tally.found.add(found)
        tally.struck.update(struck)
    tally.seconds = time.monotonic() - begun
    return tally


def policy_command(*, seed: int, meter_days: int, as_json: bool) -> int:
    """Run and print; 0 only when nothing was breached, every fault struck, and there was what to judge."""
    tally = play(seed=seed, meter_days=meter_days)
    told = _told(tally, seed)
    sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=None if as_json else 1) + "\n")
    return 0 if tally.good else 1


def _told(tally: Tally, seed: int) -> dict[str, Any]:
    found = tally.found
    took = sorted(found.restore_s)
    return {
        "wrongful_trips": found.wrongful_trips,
        "missed_trips_over_2_cycles": found.missed_trips,
        "late_commands_acted": found.late_commands,
        "keep_power_broken": found.keep_power_broken,
        "trips": found.trips,
        "restores": found.restores,
        "restore_p95_s": round(took[len(took) * 95 // 100], 2) if took else None,
        "other_breaches": dict(found.others),
        "seed": seed,
        "sites": tally.sites,
        "meter_days": tally.sites * METERS * DAYS,
        "faults": {fault.value: tally.struck[fault] for fault in sorted(Fault)},
        "never_struck": tally.never_struck,
        "breaches": found.words,
        "seconds": round(tally.seconds, 1),
    }
