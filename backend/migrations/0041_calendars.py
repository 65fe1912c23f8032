"""Step 0041_calendars: the DDL is in 0041_calendars.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0041_calendars."""

    dependencies: list[tuple[str, str]] = [("models", "0040_open_work")]
    operations: list[Operation] = [RunSQL(sql("0041_calendars.sql"))]
