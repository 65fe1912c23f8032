"""Step 0019_alerts: the DDL is in 0019_alerts.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0019_alerts."""

    dependencies: list[tuple[str, str]] = [("models", "0018_occupancy")]
    operations: list[Operation] = [RunSQL(sql("0019_alerts.sql"))]
