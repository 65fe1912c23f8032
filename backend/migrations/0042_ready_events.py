"""Step 0042_ready_events: the DDL is in 0042_ready_events.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0042_ready_events."""

    dependencies: list[tuple[str, str]] = [("models", "0041_calendars")]
    operations: list[Operation] = [RunSQL(sql("0042_ready_events.sql"))]
