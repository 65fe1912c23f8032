"""The final bill of an account whose money is in the cloud: charged to the last reading, what is owing
stays in the book and is told (A13, C7, C15)."""

from __future__ import annotations

from datetime import timedelta

from backend.accounts.closings import ClosingState, closing
from backend.journeys.closing import close_account
from backend.journeys.closing_steps import advance
from backend.journeys.takedown import Ask
from backend.journeys.takedown_steps import go_on
from backend.kernel.db import unit_of_work
from backend.kernel.money import ZERO
from backend.ledger.purses import arrears_of
from backend.metering.readings import store_readings
from workers.models import meter_models

from .charged import make_home
from .world import World


async def test_use_up_to_the_last_reading_is_charged_before_the_account_closes(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await make_home(ours)
    await home.read(home.reading(1, 1_000))
    before = len(await home.charges())
    at = home.at(2)
    ask = Ask(ours.scope.actor, "they move out", "final-bill-1", meter_models(), at)
    begun = await close_account(scope=ours.scope, account_id=home.account.id, cut=False, ask=ask)
    last = home.reading(2, 5_000)._replace(received_at=at + timedelta(seconds=5))
    async with unit_of_work(ours.group_id) as work:
        await store_readings(work, readings=[last])
        takedown_id = await work.fetchval("SELECT id FROM metering_takedown")
    later = at + timedelta(minutes=1)
    await go_on(group_id=ours.group_id, takedown_id=takedown_id, at=later)
    models = meter_models()
    await advance(group_id=ours.group_id, closing_id=begun.id, models=models, at=later)
    async with unit_of_work(ours.group_id) as work:
        ended = await closing(work, scope=ours.scope, closing_id=begun.id)
        owing = (await arrears_of(work, purses=[home.account.id]))[home.account.id]
        cases = await work.fetch("SELECT kind FROM alerts_case WHERE resolved_at IS NULL")
    charges = await home.charges()
    assert len(charges) > before
    assert charges[-1].to_total == 1_005_000
    assert ended.state is ClosingState.CLOSED
    assert ended.owing == owing > ZERO
    assert "CLOSED_OWING" in {row["kind"] for row in cases}
    async with unit_of_work(theirs.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM accounts_closing") == 0


async def test_an_account_with_use_that_cannot_be_charged_is_not_closed(
    worlds: tuple[World, World],
) -> None:
    ours, _ = worlds
    home = await make_home(ours)
    await home.read(home.reading(1, 5_000))
    at = home.at(2)
    ask = Ask(ours.scope.actor, "they move out", "final-bill-2", meter_models(), at)
    begun = await close_account(scope=ours.scope, account_id=home.account.id, cut=False, ask=ask)
    back = home.reading(2, 3_000)._replace(received_at=at + timedelta(seconds=5))
    async with unit_of_work(ours.group_id) as work:
        await store_readings(work, readings=[back])
        takedown_id = await work.fetchval("SELECT id FROM metering_takedown")
    later, models = at + timedelta(minutes=1), meter_models()
    await go_on(group_id=ours.group_id, takedown_id=takedown_id, at=later)
    again = await advance(group_id=ours.group_id, closing_id=begun.id, models=models, at=later)
    assert again is not None
    async with unit_of_work(ours.group_id) as work:
        waiting = await closing(work, scope=ours.scope, closing_id=begun.id)
        cases = await work.fetch("SELECT kind FROM alerts_case WHERE resolved_at IS NULL")
    assert waiting.state is ClosingState.METERS
    assert "CLOSING_STUCK" in {row["kind"] for row in cases}
