"""Step 0029_batch_turns: the DDL is in 0029_batch_turns.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0029_batch_turns."""

    dependencies: list[tuple[str, str]] = [("models", "0028_lean_commands")]
    operations: list[Operation] = [RunSQL(sql("0029_batch_turns.sql"))]
