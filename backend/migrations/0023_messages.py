"""Step 0023_messages: the DDL is in 0023_messages.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0023_messages."""

    dependencies: list[tuple[str, str]] = [("models", "0022_alarms")]
    operations: list[Operation] = [RunSQL(sql("0023_messages.sql"))]
