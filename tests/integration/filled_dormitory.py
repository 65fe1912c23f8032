"""A project with a calendar: rows of windows and marked days."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from backend.control import calendars
from backend.control.calendar_rules import DEFAULT, Mark
from backend.kernel.db import unit_of_work

from .world import World


async def fill_dormitory(world: World) -> None:
    """Set the window of cuts and mark a day."""
    at = world.clock.now()
    asked: dict[str, Any] = {"scope": world.scope, "project_id": world.project.id, "at": at}
    day = at.date() + timedelta(days=30)
    async with unit_of_work(world.group_id) as work:
        await calendars.set_cut_window(work, window=DEFAULT, **asked)
        await calendars.mark_days(work, days=[day], mark=Mark.EXAM, name="期末", **asked)
