"""Waiting: longer each time, never all at once, and a clock that is set is noticed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from tests.integration.gateway.simulated_time import SimulatedTime
from workers.gateway.pace import Backoff, JumpGuard, ring_or_sleep
from workers.gateway.poll import Health

START = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def test_waits_double_up_to_the_limit_and_are_spread() -> None:
    backoff = Backoff(1.0, 300.0)
    waits = [backoff.next_s() for _ in range(40)]
    for number, wait in enumerate(waits):
        whole = min(300.0, 2.0**number)
        assert whole / 2 <= wait <= whole
    assert len(set(waits[10:])) > 10, "not all in the same second"
    assert backoff.next_s(most_s=3600.0) > 1800.0
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_time_that_passes_is_no_jump_and_a_clock_that_is_set_is_one() -> None:
    pace = SimulatedTime(START)
    guard = JumpGuard(pace)
    pace.advance(timedelta(days=3))
    assert not guard.jumped_s
    pace.jump(timedelta(seconds=30))
    assert not guard.jumped_s
    pace.jump(timedelta(seconds=1))
    assert guard.jumped_s == 31.0
    guard.trust()
    assert not guard.jumped_s
    pace.jump(timedelta(hours=-1))
    assert guard.jumped_s == -3600.0


async def test_a_bell_wakes_before_its_time_and_silence_does_not_wake_at_all() -> None:
    pace, bell = SimulatedTime(START), asyncio.Event()
    waiting = asyncio.create_task(ring_or_sleep(bell, pace, 60.0))
    await asyncio.sleep(0)
    bell.set()
    assert await waiting is True
    bell.clear()
    waiting = asyncio.create_task(ring_or_sleep(bell, pace, 60.0))
    for _ in iter(lambda: pace.sleeping, 1):
        await asyncio.sleep(0)
    pace.advance(timedelta(seconds=59))
    await asyncio.sleep(0)
    assert not waiting.done()
    pace.advance(timedelta(seconds=1))
    assert await waiting is False


def test_a_dead_meter_rests_one_two_four_then_eight_sweeps_and_an_answer_ends_it() -> None:
    health, tries = Health(), []
    for sweep in range(40):
        if health.may_try():
            tries.append(sweep)
            health.failed("NO_ANSWER", at=START)
    assert tries == [0, 1, 3, 6, 11, 20, 29, 38]
    health.answered()
    assert health.may_try()
    assert (health.missed, health.since) == (0, None)
