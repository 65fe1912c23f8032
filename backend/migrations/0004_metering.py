"""Step 0004_metering: the DDL is in 0004_metering.sql."""

from __future__ import annotations

from tortoise.migrations.migration import Migration as Step
from tortoise.migrations.operations import Operation, RunSQL

from backend.migrations import sql


class Migration(Step):
    """0004_metering."""

    dependencies: list[tuple[str, str]] = [("models", "0003_accounts")]
    operations: list[Operation] = [RunSQL(sql("0004_metering.sql"))]
