"""Step 0022_alarms: the DDL is in 0022_alarms.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0022_alarms."""

    dependencies: list[tuple[str, str]] = [("models", "0021_charging")]
    operations: list[Operation] = [RunSQL(sql("0022_alarms.sql"))]
