"""Step 0024_batches: the DDL is in 0024_batches.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0024_batches."""

    dependencies: list[tuple[str, str]] = [("models", "0023_messages")]
    operations: list[Operation] = [RunSQL(sql("0024_batches.sql"))]
