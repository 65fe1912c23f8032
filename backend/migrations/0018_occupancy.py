"""Step 0018_occupancy: the DDL is in 0018_occupancy.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0018_occupancy."""

    dependencies: list[tuple[str, str]] = [("models", "0017_reconcile")]
    operations: list[Operation] = [RunSQL(sql("0018_occupancy.sql"))]
