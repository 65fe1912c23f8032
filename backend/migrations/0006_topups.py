"""Step 0006_topups: the DDL is in 0006_topups.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0006_topups."""

    dependencies: list[tuple[str, str]] = [("models", "0005_ledger")]
    operations: list[Operation] = [RunSQL(sql("0006_topups.sql"))]
