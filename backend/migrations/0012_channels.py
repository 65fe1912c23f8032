"""Step 0012_channels: the DDL is in 0012_channels.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0012_channels."""

    dependencies: list[tuple[str, str]] = [("models", "0011_commands")]
    operations: list[Operation] = [RunSQL(sql("0012_channels.sql"))]
