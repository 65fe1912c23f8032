"""The real system, really killed, in a size that a suite can bear; and the same judge on a system that
was really broken."""

from __future__ import annotations

import json
import sqlite3

import pytest

from backend.chaos.plan import TENANTS
from backend.chaos.run import Size, run_chaos
from backend.chaos.town import Town


@pytest.mark.timeout(400)
async def test_kills_and_a_crash_of_the_database_lose_and_double_nothing() -> None:
    verdict, figures = await run_chaos(Size(kills=6, pg_crashes=1, payments=30, seed=1))
    assert verdict.good, (verdict, figures)
    assert verdict.paid_fen == verdict.meter_fen > 0
    assert figures["payments"] == 30
    assert (figures["kills"], figures["pg_crashes"], figures["redis_flushes"]) == (6, 1, 1)
    assert figures["forged"] >= 12
    assert figures["refused"] == 0
    assert figures["calm_after_seconds"] is not None


async def _cheat(town: Town) -> None:
    """One meter's wallet gains ten yuan that nobody sold."""
    serial = TENANTS[0].home.meter
    await town.children.kill("site")
    file = sqlite3.connect(town.meter_store)
    (text,) = file.execute("select state from memory where serial = ?", (serial,)).fetchone()
    memory = json.loads(text)
    memory["remaining_hao"] += 100_000
    file.execute("update memory set state = ? where serial = ?", (json.dumps(memory), serial))
    file.commit()
    file.close()


@pytest.mark.timeout(400)
async def test_a_system_that_believes_forgers_and_a_meter_that_was_cheated_are_found_out() -> None:
    verdict, figures = await run_chaos(
        Size(kills=0, pg_crashes=0, payments=12, seed=2),
        preload=("tests.chaos.gullible",),
        before_judgement=_cheat,
    )
    assert not verdict.good, (verdict, figures)
    assert verdict.forged_accepted > 0
    assert "a forged notice was believed" in verdict.reasons
    assert "a wallet did not grow by its sales" in verdict.reasons
    assert "the four sums differ" in verdict.reasons
