"""Step 0030_lean_topups: the DDL is in 0030_lean_topups.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0030_lean_topups."""

    dependencies: list[tuple[str, str]] = [("models", "0029_lean_money")]
    operations: list[Operation] = [RunSQL(sql("0030_lean_topups.sql"))]
