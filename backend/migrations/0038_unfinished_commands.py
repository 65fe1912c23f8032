"""Step 0038_unfinished_commands: the DDL is in 0038_unfinished_commands.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0038_unfinished_commands."""

    dependencies: list[tuple[str, str]] = [("models", "0037_newest_commands")]
    operations: list[Operation] = [RunSQL(sql("0038_unfinished_commands.sql"))]
