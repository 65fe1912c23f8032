"""Step 0020_supply: the DDL is in 0020_supply.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0020_supply."""

    dependencies: list[tuple[str, str]] = [("models", "0019_alerts")]
    operations: list[Operation] = [RunSQL(sql("0020_supply.sql"))]
