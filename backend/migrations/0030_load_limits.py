"""Step 0030_load_limits: the DDL is in 0030_load_limits.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0030_load_limits."""

    dependencies: list[tuple[str, str]] = [("models", "0029_batch_turns")]
    operations: list[Operation] = [RunSQL(sql("0030_load_limits.sql"))]
