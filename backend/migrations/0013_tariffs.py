"""Step 0013_tariffs: the DDL is in 0013_tariffs.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0013_tariffs."""

    dependencies: list[tuple[str, str]] = [("models", "0012_channels")]
    operations: list[Operation] = [RunSQL(sql("0013_tariffs.sql"))]
