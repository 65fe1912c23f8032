"""What will happen in a run, drawn from its seed before it begins. Pure.

Strikes are placed by progress (the share of the payments that were begun), not by the watch: the same
seed strikes the same work on a slow machine and on a fast one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

PROCESSES = {"worker-1": 3, "worker-2": 3, "api": 3, "site": 2}
METER_FAULTS = (
    "drop_answers",
    "drop_write_answers",
    "lose_requests",
    "corrupt_answers",
    "double_answers",
)
CHANNEL_FAULTS = ("http_500", "drop_answer", "unsigned_answer")
CHANNELS = {"WECHAT_PAY": 6, "ALIPAY": 2, "UNIONPAY": 2}
_LEAST_FEN, _MOST_FEN = 1_000, 9_000
# A refund is asked of what was paid before, and a channel that did not answer is asked again in its time.
_REFUNDS_BEGIN, _REFUNDS_END = 0.15, 0.5
# What a killed process held waits for its lease to run out. Had the last payments met the last kills, a
# run would end with half a minute in which nothing is proved.
_KILLS_END = 0.92


class Hit(StrEnum):
    """What a strike hits. `target` of a strike: the process, meter, gateway or account; `fault`: its switch.
    REFUND and LOOK break nothing: an operator gives money back, or has a meter read."""

    KILL = "KILL"
    PG_CRASH = "PG_CRASH"
    REDIS_FLUSH = "REDIS_FLUSH"
    REDIS_RESTART = "REDIS_RESTART"
    METER = "METER"
    OFFLINE = "OFFLINE"
    ONLINE = "ONLINE"
    CHANNEL = "CHANNEL"
    FORGE = "FORGE"
    REFUND = "REFUND"
    LOOK = "LOOK"


@dataclass(frozen=True, slots=True)
class Strike:
    """One blow, when `at` (0 to 1) of the payments have been begun."""

    at: float
    hit: Hit
    target: str = ""
    fault: str = ""


class Telling(StrEnum):
    """How the channel tells of a payment."""

    ONCE = "ONCE"
    NEVER = "NEVER"
    TWICE = "TWICE"
    OFTEN = "OFTEN"
    LATE = "LATE"


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment to be made: by which tenant (index), how much, at which channel and how that tells of it;
    `asks`: how often the payer's page sends the same request."""

    number: int
    tenant: int
    amount_fen: int
    telling: Telling
    asks: int
    channel: str = "WECHAT_PAY"


def payments(*, seed: int, tenants: int, count: int) -> list[Payment]:
    """Who pays what. No tenant pays the same amount twice: an equal order would be the same order."""
    draw = random.Random(f"payments {seed}")
    free = [list(range(_LEAST_FEN, _MOST_FEN)) for _ in range(tenants)]
    for amounts in free:
        draw.shuffle(amounts)
    tellings = tuple(Telling)
    made = []
    for number in range(count):
        tenant = draw.randrange(tenants)
        made.append(
            Payment(
                number=number,
                tenant=tenant,
                amount_fen=free[tenant].pop(),
                telling=draw.choices(tellings, weights=(60, 10, 12, 6, 12))[0],
                asks=draw.choices((1, 2), weights=(9, 1))[0],
                channel=draw.choices(list(CHANNELS), weights=list(CHANNELS.values()))[0],
            )
        )
    return made


def strikes(
    *,
    seed: int,
    kills: int,
    pg_crashes: int,
    forgeries: int,
    meters: Sequence[str],
    gateways: Sequence[str],
    clouds: Sequence[str],
) -> list[Strike]:
    """All blows of a run in their order. Other faults come in proportion to the kills; refunds and looks at
    meters of the accounts `clouds` to the forgeries."""
    draw = random.Random(f"strikes {seed}")
    names, weights = list(PROCESSES), list(PROCESSES.values())

    def places(count: int, end: float = 0.98, begin: float = 0.01) -> Iterator[float]:
        """As many places, evenly spread with a jitter: a crowd of blows at one instant is one blow."""
        for index in range(count):
            yield begin + (end - begin) * (index + draw.random()) / count

    found = [
        Strike(at, Hit.KILL, draw.choices(names, weights=weights)[0])
        for at in places(kills, _KILLS_END)
    ]
    found += [Strike(at, Hit.PG_CRASH) for at in places(pg_crashes)]
    found += [Strike(at, Hit.REDIS_FLUSH) for at in places(pg_crashes)]
    found += [Strike(at, Hit.REDIS_RESTART) for at in places(pg_crashes)]
    found += [
        Strike(at, Hit.METER, draw.choice(meters), draw.choice(METER_FAULTS))
        for at in places(max(len(METER_FAULTS), kills // 4))
    ]
    found += [
        Strike(at, Hit.CHANNEL, fault=draw.choice(CHANNEL_FAULTS))
        for at in places(max(1, kills // 20))
    ]
    found += [Strike(at, Hit.FORGE) for at in places(forgeries)]
    found += [
        Strike(at, Hit.REFUND, draw.choice(clouds))
        for at in places(forgeries, _REFUNDS_END, _REFUNDS_BEGIN)
    ]
    found += [Strike(at, Hit.LOOK, draw.choice(clouds)) for at in places(forgeries)]
    for at in places(max(1, kills // 40)):
        gateway = draw.choice(gateways)
        found.append(Strike(at, Hit.OFFLINE, gateway))
        found.append(Strike(min(at + 0.02, 1.0), Hit.ONLINE, gateway))
    return sorted(found, key=lambda strike: strike.at)
