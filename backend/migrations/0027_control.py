"""Step 0027_control: the DDL is in 0027_control.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0027_control."""

    dependencies: list[tuple[str, str]] = [("models", "0026_forecasts")]
    operations: list[Operation] = [RunSQL(sql("0027_control.sql"))]
