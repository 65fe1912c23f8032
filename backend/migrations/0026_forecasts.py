"""Step 0026_forecasts: the DDL is in 0026_forecasts.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0026_forecasts."""

    dependencies: list[tuple[str, str]] = [("models", "0025_timetables")]
    operations: list[Operation] = [RunSQL(sql("0026_forecasts.sql"))]
