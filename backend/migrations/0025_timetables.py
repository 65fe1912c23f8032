"""Step 0025_timetables: the DDL is in 0025_timetables.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0025_timetables."""

    dependencies: list[tuple[str, str]] = [("models", "0024_batches")]
    operations: list[Operation] = [RunSQL(sql("0025_timetables.sql"))]
