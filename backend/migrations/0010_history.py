"""Step 0010_history: the DDL is in 0010_history.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0010_history."""

    dependencies: list[tuple[str, str]] = [("models", "0009_dial_in")]
    operations: list[Operation] = [RunSQL(sql("0010_history.sql"))]
