"""A look at forecasts, and a day of which it is known how far off they were."""

from __future__ import annotations

from datetime import timedelta

from backend.charges.forecast_rules import Miss
from backend.charges.forecasts import add_misses
from backend.journeys.forecast import tend_forecasts
from backend.kernel.db import unit_of_work

from .world import START, World


async def fill_forecast(world: World) -> None:
    """Rows in the tables of forecasts."""
    await tend_forecasts(group_id=world.group_id, at=START)
    day = (START - timedelta(days=1)).date()
    async with unit_of_work(world.group_id) as work:
        await add_misses(work, misses={(world.project.id, day): [Miss(1, 10)]})
