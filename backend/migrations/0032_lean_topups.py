"""Step 0032_lean_topups: the DDL is in 0032_lean_topups.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0032_lean_topups."""

    dependencies: list[tuple[str, str]] = [("models", "0031_lean_money")]
    operations: list[Operation] = [RunSQL(sql("0032_lean_topups.sql"))]
