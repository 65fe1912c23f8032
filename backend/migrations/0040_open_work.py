"""Step 0040_open_work: the DDL is in 0040_open_work.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0040_open_work."""

    dependencies: list[tuple[str, str]] = [("models", "0039_settings_sent")]
    operations: list[Operation] = [RunSQL(sql("0040_open_work.sql"))]
