"""Step 0037_newest_commands: the DDL is in 0037_newest_commands.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0037_newest_commands."""

    dependencies: list[tuple[str, str]] = [("models", "0036_order_age")]
    operations: list[Operation] = [RunSQL(sql("0037_newest_commands.sql"))]
