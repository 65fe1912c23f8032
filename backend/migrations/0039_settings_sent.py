"""Step 0039_settings_sent: the DDL is in 0039_settings_sent.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0039_settings_sent."""

    dependencies: list[tuple[str, str]] = [("models", "0038_unfinished_commands")]
    operations: list[Operation] = [RunSQL(sql("0039_settings_sent.sql"))]
