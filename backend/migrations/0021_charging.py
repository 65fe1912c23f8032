"""Step 0021_charging: the DDL is in 0021_charging.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0021_charging."""

    dependencies: list[tuple[str, str]] = [("models", "0020_supply")]
    operations: list[Operation] = [RunSQL(sql("0021_charging.sql"))]
