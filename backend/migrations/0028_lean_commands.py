"""Step 0028_lean_commands: the DDL is in 0028_lean_commands.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0028_lean_commands."""

    dependencies: list[tuple[str, str]] = [("models", "0027_control")]
    operations: list[Operation] = [RunSQL(sql("0028_lean_commands.sql"))]
